//! Factors that tamis ships, each with its source.
//!
//! The files beside this one are compiled in. `SOURCES.toml` says where each figure comes from; [`Tables::lint`] finds rows that
//! it does not cover and figures that no machine has.

mod lint;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tamis_schemas::footprint::Interval;

pub use rows::{
    CloudRegion, Coefficient, Country, CpuFamily, CpuTdp, EmbodiedItem, GcpRegion, NetworkPath, SitePue, StorageTier,
};

use super::activity::Cpu;
use crate::sink::hex;
use crate::{Error, Result};

/// Name and text of each table, as shipped.
const SHIPPED: [(&str, &str); 11] = [
    ("country_intensity.csv", include_str!("country_intensity.csv")),
    ("gcp_regions.csv", include_str!("gcp_regions.csv")),
    ("cloud_region_country.csv", include_str!("cloud_region_country.csv")),
    ("cpu_family_watts.csv", include_str!("cpu_family_watts.csv")),
    ("cpu_tdp.csv", include_str!("cpu_tdp.csv")),
    ("storage.csv", include_str!("storage.csv")),
    ("network.csv", include_str!("network.csv")),
    ("embodied.csv", include_str!("embodied.csv")),
    ("pue.csv", include_str!("pue.csv")),
    ("coefficients.csv", include_str!("coefficients.csv")),
    ("train_calibration.csv", include_str!("train_calibration.csv")),
];

const SOURCES: &str = include_str!("SOURCES.toml");

static TABLES: LazyLock<Tables> =
    LazyLock::new(|| Tables::parse(&SHIPPED, SOURCES).expect("tables are compiled in, and a test reads them"));

/// All tables.
#[derive(Debug, Clone)]
pub struct Tables {
    /// Yearly carbon intensity by country.
    pub countries: Vec<Country>,
    /// The same by region of Google Cloud.
    pub gcp_regions: Vec<GcpRegion>,
    /// Countries of the regions of other clouds.
    pub cloud_regions: Vec<CloudRegion>,
    /// Watts per thread.
    pub cpu_families: Vec<CpuFamily>,
    /// Thermal design power by name.
    pub cpu_tdp: Vec<CpuTdp>,
    /// Storage.
    pub storage: Vec<StorageTier>,
    /// Network.
    pub network: Vec<NetworkPath>,
    /// Embodied emissions.
    pub embodied: Vec<EmbodiedItem>,
    /// PUE by site.
    pub pue: Vec<SitePue>,
    /// All other coefficients.
    pub coefficients: Vec<Coefficient>,
    /// Energy of training.
    pub training: Vec<Coefficient>,
    /// Sources by name.
    pub sources: BTreeMap<String, Source>,
    /// SHA-256 over all tables and sources: rows of the ledger name it.
    pub hash: String,
    files: Vec<TableFile>,
}

/// Where figures come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Who says so.
    pub title: String,
    /// Where.
    pub url: String,
    /// Year of the edition.
    pub year: u32,
    /// On which terms it is shipped or cited.
    pub licence: String,
    /// When it was read, `YYYY-MM-DD`.
    pub retrieved: String,
    /// What was done with it.
    #[serde(default)]
    pub note: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    file: String,
    #[serde(rename = "holds")]
    _holds: String,
    sha256: String,
    /// Source of all rows, of a table without a column for it.
    #[serde(default)]
    source: Option<String>,
    /// Of each row: its source and its year, if it has columns for them. Filled from the table.
    #[serde(skip)]
    origins: Vec<Origin>,
    /// Filled from the table.
    #[serde(skip)]
    actual_sha256: String,
}

/// Source and year of a row; empty if it says neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Origin {
    line: u64,
    source: String,
    year: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourcesFile {
    table: Vec<TableFile>,
    source: BTreeMap<String, Source>,
}

impl Tables {
    /// Those that tamis ships.
    pub fn shipped() -> &'static Self {
        &TABLES
    }

    /// Reads tables by name and text.
    ///
    /// # Errors
    /// `Error::Corrupt` for a table that is missing or cannot be read, with its line.
    pub fn parse(texts: &[(&str, &str)], sources: &str) -> Result<Self> {
        let SourcesFile { mut table, source } =
            toml::from_str(sources).map_err(|error| damaged("SOURCES.toml", &error.to_string()))?;
        let mut hasher = Sha256::new();
        hasher.update(sources);
        for file in &mut table {
            let text = find(texts, &file.file)?;
            hasher.update(text);
            file.actual_sha256 = hex(&Sha256::digest(text));
            file.origins = origins(&file.file, text, file.source.as_deref())?;
        }
        let country_rows = rows_of::<Country>(texts, "country_intensity.csv")?;
        Ok(Self {
            countries: country_rows,
            gcp_regions: rows_of(texts, "gcp_regions.csv")?,
            cloud_regions: rows_of(texts, "cloud_region_country.csv")?,
            cpu_families: rows_of(texts, "cpu_family_watts.csv")?,
            cpu_tdp: rows_of(texts, "cpu_tdp.csv")?,
            storage: rows_of(texts, "storage.csv")?,
            network: rows_of(texts, "network.csv")?,
            embodied: rows_of(texts, "embodied.csv")?,
            pue: rows_of(texts, "pue.csv")?,
            coefficients: rows_of(texts, "coefficients.csv")?,
            training: rows_of(texts, "train_calibration.csv")?,
            sources: source,
            hash: hex(&hasher.finalize()),
            files: table,
        })
    }

    /// Yearly intensity of a country, by three letters.
    pub fn country(&self, iso3: &str) -> Option<&Country> {
        self.countries.iter().find(|row| row.iso3.eq_ignore_ascii_case(iso3))
    }

    /// Watts per thread of a processor, by the numbers it gives itself.
    ///
    /// Desktop processors share numbers with servers of their generation; their names say `Ryzen`.
    pub fn cpu_family(&self, cpu: &Cpu) -> Option<&CpuFamily> {
        if cpu.name.contains("Ryzen") {
            return None;
        }
        self.cpu_families.iter().find(|row| {
            row.vendor == cpu.vendor
                && row.family == cpu.family
                && (row.model_first..=row.model_last).contains(&cpu.model)
        })
    }

    /// Thermal design power of a processor by its name, watts; trademarks, clock and core counts in the name do not matter.
    pub fn tdp_w(&self, name: &str) -> Option<f64> {
        let name = plain_cpu_name(name);
        let found = self.cpu_tdp.iter().find(|row| !name.is_empty() && plain_cpu_name(&row.name) == name)?;
        Some(found.tdp_w)
    }

    /// A coefficient.
    ///
    /// # Errors
    /// `Error::Invariant` if there is none: names are written in the code.
    pub fn coefficient(&self, name: &str) -> Result<&Coefficient> {
        let rows = self.coefficients.iter().chain(&self.training);
        rows.into_iter()
            .find(|row| row.name == name)
            .ok_or_else(|| Error::Invariant(format!("there is no coefficient `{name}`")))
    }

    /// PUE of a kind of site.
    pub fn site_pue(&self, site: &str) -> Option<&SitePue> {
        self.pue.iter().find(|row| row.site == site)
    }

    /// A tier of storage.
    ///
    /// # Errors
    /// `Error::Config` if it is not in the table, with those that are.
    pub fn storage_tier(&self, tier: &str) -> Result<&StorageTier> {
        self.storage.iter().find(|row| row.tier == tier).ok_or_else(|| {
            let known: Vec<&str> = self.storage.iter().map(|row| row.tier.as_str()).collect();
            Error::Config {
                message: format!("there is no storage tier `{tier}` in the tables"),
                hint: Some(format!("one of {}", known.join(", "))),
            }
        })
    }

    /// The title of a source, or its name if it has none.
    pub fn title<'a>(&'a self, source: &'a str) -> &'a str {
        self.sources.get(source).map_or(source, |source| &source.title)
    }
}

/// The parts of a processor's name that tell models apart.
fn plain_cpu_name(name: &str) -> String {
    let name = name.split('@').next().unwrap_or(name).to_lowercase();
    let name = name.replace("(r)", "").replace("(tm)", "");
    let words = name.split_whitespace().filter(|word| {
        let is_filler = matches!(*word, "cpu" | "processor");
        !is_filler && !word.ends_with("-core")
    });
    words.collect::<Vec<_>>().join(" ")
}

fn find<'a>(texts: &[(&str, &'a str)], name: &str) -> Result<&'a str> {
    let found = texts.iter().find(|(file, _)| *file == name);
    found.map(|(_, text)| *text).ok_or_else(|| damaged(name, "it is missing"))
}

fn rows_of<T: DeserializeOwned>(texts: &[(&str, &str)], name: &str) -> Result<Vec<T>> {
    let mut reader = csv::Reader::from_reader(find(texts, name)?.as_bytes());
    reader.deserialize().collect::<Result<_, _>>().map_err(|error| damaged(name, &error.to_string()))
}

fn origins(name: &str, text: &str, default: Option<&str>) -> Result<Vec<Origin>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|error| damaged(name, &error.to_string()))?;
    let column = |wanted: &str| headers.iter().position(|header| header == wanted);
    let (source, year) = (column("source"), column("year"));
    let mut origins = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| damaged(name, &error.to_string()))?;
        let cell = |column: Option<usize>| column.and_then(|column| record.get(column)).unwrap_or_default();
        let named = cell(source);
        origins.push(Origin {
            line: record.position().map_or(0, csv::Position::line),
            source: if named.is_empty() { default.unwrap_or_default() } else { named }.to_owned(),
            year: cell(year).parse().ok(),
        });
    }
    Ok(origins)
}

fn damaged(name: &str, message: &str) -> Error {
    Error::Corrupt { location: name.to_owned(), format: "a table of factors", message: message.to_owned() }
}

/// Bounds of a row of a table: those of the lint hold.
fn interval(low: f64, mid: f64, high: f64) -> Interval {
    Interval::around(low, mid, high)
}
