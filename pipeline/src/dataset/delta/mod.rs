//! The tables of an output as Delta Lake tables, so that any reader of such tables sees the rows of added runs and no others.
//!
//! `<table>/_delta_log/<version>.json` follows the commit log: one entry per run, in its order, created only if it is not
//! there. Whoever opens the output next writes the entries that a run could not write after its commit; since an entry
//! depends on the commit alone, it does not matter who does.
//!
//! # Source
//! Delta Transaction Log Protocol, reader version 1 and writer version 2.

mod log;
mod schema;

pub(super) use log::follow;
pub(crate) use log::{LOG, check_untouched, lags};
pub(crate) use schema::DeltaSchema;
