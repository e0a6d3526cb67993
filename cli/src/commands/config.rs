//! `tamis config show|check|schema`.

use std::io::Write;

use tamis_schemas::config::{self, Config};

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
    let whole = toml::Table::try_from(config)?;
    let mut shown = String::new();
    write_table(&mut shown, &whole, Some(&given), "", file);
    Ok(shown.trim_start().to_owned())
}

fn write_table(shown: &mut String, table: &toml::Table, given: Option<&toml::Table>, path: &str, file: &str) {
    let is_section = |value: &toml::Value| value.is_table();
    if !path.is_empty() && table.values().any(|value| !is_section(value)) {
        shown.push_str(&format!("\n[{path}]\n"));
    }
    for (key, value) in table.iter().filter(|(_, value)| !is_section(value)) {
        let origin = if given.is_some_and(|given| given.contains_key(key)) { file } else { "default" };
        shown.push_str(&format!("{key} = {value}  # {origin}\n"));
    }
    for (key, value) in table {
        if let toml::Value::Table(inner) = value {
            let given = given.and_then(|given| given.get(key)?.as_table());
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            write_table(shown, inner, given, &path, file);
        }
    }
}
