//! The tiers of a config, each where it lies, with the tables that a run writes to it.

use tamis_schemas::config::{Config, OutputMode, Table};
use tamis_schemas::tier::TierConfig;

use super::settings::DEFAULT_TIER;
use crate::{Result, run};

/// A tier in its place.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub(super) name: &'a str,
    pub(super) tier: TierConfig,
    /// Without a slash at its end.
    pub(super) url: &'a str,
    pub(super) tables: Vec<Table>,
    /// Whether the manifest lies here.
    pub(super) is_home: bool,
    /// Whether runs are added to the output.
    pub(super) is_added_to: bool,
}

/// Every tier, the manifest's place first.
///
/// # Errors
/// `Error::Config` if the config cannot be run.
pub(super) fn placed(config: &Config) -> Result<Vec<Placed<'_>>> {
    let tables = run::tables(config)?;
    let tables_of = |tier: &str| -> Vec<Table> {
        let is_here = |table: &&Table| config.routes.get(table).map_or(DEFAULT_TIER, String::as_str) == tier;
        tables.iter().filter(is_here).copied().collect()
    };
    let home = config.output.path.trim_end_matches('/');
    let is_added_to = config.output.mode == OutputMode::Append;
    let default = config.tiers.get(DEFAULT_TIER).cloned().unwrap_or_default();
    let mut found = vec![Placed {
        name: DEFAULT_TIER,
        tables: if default.url.is_none() { tables_of(DEFAULT_TIER) } else { Vec::new() },
        tier: TierConfig { url: None, ..default },
        url: home,
        is_home: true,
        is_added_to,
    }];
    for (name, tier) in config.tiers.iter().filter(|(name, tier)| *name != DEFAULT_TIER || tier.url.is_some()) {
        let url = tier.url.as_deref().map_or(home, |url| url.trim_end_matches('/'));
        found.push(Placed { name, tier: tier.clone(), url, tables: tables_of(name), is_home: false, is_added_to });
    }
    Ok(found)
}
