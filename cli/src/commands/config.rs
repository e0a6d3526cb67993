//! `tamis config show|check|schema`.

use std::borrow::Cow;
use std::io::Write;

use tamis_pipeline::dedup::Search;
use tamis_schemas::config::{self, Config};
use tamis_schemas::preset::Preset;

use crate::args::ConfigCommand;
use crate::exit::Exit;
use crate::settings;

pub(crate) fn run(args: &ConfigCommand) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    match args {
        ConfigCommand::Show(file) => {
            let (config, text) = settings::load(&file.config)?;
            tamis_pipeline::run::check(&config)?;
            out.write_all(show(&config, &text, &file.config.display().to_string())?.as_bytes())?;
        }
        ConfigCommand::Check(file) => {
            let (config, _) = settings::load(&file.config)?;
            tamis_pipeline::run::check(&config)?;
            writeln!(out, "{} is a valid config", file.config.display())?;
        }
        ConfigCommand::Schema => writeln!(out, "{:#}", config::json_schema())?,
    }
    Ok(Exit::Clean)
}

/// The whole config as TOML, each value with where it comes from.
fn show(config: &Config, text: &str, file: &str) -> anyhow::Result<String> {
    let given: toml::Table = text.parse()?;
    let resolved = config.resolved();
    let whole = toml::Table::try_from(&resolved)?;
    let origins = Origins {
        file,
        preset: resolved.deduplicate.as_ref().and_then(|config| config.preset),
        bands: bands(&resolved)?,
    };
    let mut shown = String::new();
    write_table(&mut shown, &whole, Some(&given), "", &origins);
    Ok(shown.trim_start().to_owned())
}

/// Where values come from.
struct Origins<'a> {
    file: &'a str,
    preset: Option<Preset>,
    /// What the near-duplicate settings come to.
    bands: Option<String>,
}

impl Origins<'_> {
    fn of(&self, path: &str, key: &str, is_given: bool) -> String {
        match self.preset {
            _ if is_given => self.file.to_owned(),
            Some(preset) if path == "deduplicate" && ["threshold", "ngram"].contains(&key) => {
                format!("preset {}", preset.name())
            }
            _ => "default".to_owned(),
        }
    }
}

/// How near-duplicates will be looked for, for people.
fn bands(resolved: &Config) -> anyhow::Result<Option<String>> {
    let (Some(search), Some(deduplicate)) = (tamis_pipeline::run::search(resolved)?, &resolved.deduplicate) else {
        return Ok(None);
    };
    let plan = match search {
        Search::Bands(bands) => format!("{} bands of {} slots find", bands.n_bands, bands.rows_per_band),
        Search::Samples(sampling) => match sampling.sizes() {
            Some((n_sampled, least_shared)) => {
                format!("sharing {least_shared} of {n_sampled} sampled shingles finds")
            }
            None => "comparing every row with all that share a shingle finds".to_owned(),
        },
        Search::Exhaustive => "comparing every pair that shares a shingle finds".to_owned(),
    };
    let found = 100.0 * search.probability(deduplicate.threshold_in_effect());
    Ok(Some(format!("{plan} {found:.1} % of the pairs at the threshold")))
}

fn write_table(
    shown: &mut String,
    table: &toml::Table,
    given: Option<&toml::Table>,
    path: &str,
    origins: &Origins<'_>,
) {
    let is_section = |value: &toml::Value| value.is_table();
    if !path.is_empty() && table.values().any(|value| !is_section(value)) {
        shown.push_str(&format!("\n[{path}]\n"));
    }
    for (key, value) in table.iter().filter(|(_, value)| !is_section(value)) {
        let origin = origins.of(path, key, given.is_some_and(|given| given.contains_key(key)));
        shown.push_str(&format!("{} = {value}  # {origin}\n", quoted(key)));
    }
    if let (Some(bands), "deduplicate") = (&origins.bands, path) {
        shown.push_str(&format!("# {bands}\n"));
    }
    for (key, value) in table {
        if let toml::Value::Table(inner) = value {
            let given = given.and_then(|given| given.get(key)?.as_table());
            let key = quoted(key);
            let path = if path.is_empty() { key.into_owned() } else { format!("{path}.{key}") };
            write_table(shown, inner, given, &path, origins);
        }
    }
}

/// A key as TOML takes it: names of tiers and columns may hold anything. A string of JSON is one of TOML.
fn quoted(key: &str) -> Cow<'_, str> {
    let is_bare = |char: char| char.is_ascii_alphanumeric() || "-_".contains(char);
    if !key.is_empty() && key.chars().all(is_bare) {
        key.into()
    } else {
        serde_json::Value::from(key).to_string().into()
    }
}
