//! Storage tiers: what providers offer, and whether a config makes sense of it.

mod class;
mod settings;

pub(crate) use class::{Provider, storage_class};
pub(crate) use settings::{DEFAULT_TIER, check as check_settings};
