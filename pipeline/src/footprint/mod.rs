//! What a run used: activity, energy, emissions, each with bounds and with a label that says how it came about.
//!
//! Read in this order: [`activity`] (what the process did), [`meter`] (energy of it), [`tables`] and [`intensity`] (factors),
//! [`account`] (rows of a run), [`tasks`] (of one that many processes did), [`ledger`] (rows on disk), [`report`] (what is said of them), [`forecast`] (when to start),
//! [`planner`] (what a run will use). All after the ledger is a pure function of rows and tables, so that old runs are judged anew
//! when factors change.

pub mod account;
pub mod activity;
pub mod forecast;
pub mod intensity;
mod kept;
pub mod ledger;
pub mod meter;
pub mod planner;
pub mod report;
pub mod tables;
pub mod tasks;
#[cfg(test)]
mod tests;

pub use kept::KeptLedger;

/// Joules of a kWh.
pub const J_PER_KWH: f64 = 3.6e6;

/// A folder that stands for `/`, of those below `tests/fixtures/footprint`.
#[cfg(test)]
pub(crate) fn fixture(name: &str) -> activity::SystemRoot {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/footprint");
    activity::SystemRoot::new(std::path::Path::new(folder).join(name))
}
