//! The stages of tamis and the executor that runs them: reads rows, removes near-duplicates with proof, scores what is
//! left, selects the next labelling batch, writes compressed Parquet.
//!
//! Read in this order: [`stage`] (what a stage is), [`source`] (rows come in), [`decontaminate`], [`dedup`], [`score`],
//! [`quality`], [`select`] (what is decided about them), [`label_tools`] (batches to people who label, and back), [`sink`] (rows go out), [`dataset`] (runs that are added to one
//! output), [`run`] (who calls whom), [`tune`] (what other settings
//! would do), [`simulate`] (whether choosing what to label pays), [`active`] (rounds of labelling), [`finished`] and [`inspect`] (what a run did, looked at
//! afterwards), [`upkeep`] (fewer files, and none whose time is over).
//! This crate never prints, never reads the environment or the wall
//! clock, and never exits.

pub mod active;
mod batch_sort;
mod bloom;
pub mod budget;
pub mod context;
pub mod dataset;
pub mod decontaminate;
pub mod dedup;
mod error;
pub mod finished;
pub mod footprint;
pub mod inspect;
mod kmeans;
pub mod label_tools;
pub mod place;
mod points;
mod processor;
mod products;
pub mod progress;
pub mod quality;
mod row_bytes;
mod rows;
pub mod run;
pub mod score;
pub mod select;
pub mod simulate;
pub mod sink;
pub mod source;
pub mod spill;
pub mod stage;
pub mod store;
pub mod tiers;
pub mod tune;
pub mod upkeep;

pub use error::{Error, ErrorKind, Result};
pub use rows::RowSet;
