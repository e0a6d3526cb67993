//! Storage tiers: what providers offer, whether a config makes sense of it, and the rules that buckets need beside us.

mod check;
mod class;
mod lifecycle;
mod placed;
mod probe;
mod settings;
mod uploads;

pub use check::{Finding, Level, TierReport, check};
pub(crate) use class::{Provider, least_days, row_order, storage_class};
pub use lifecycle::{Lifecycle, RuleFormat, lifecycle};
pub(crate) use settings::{DEFAULT_TIER, check as check_settings};
