//! The index over runs: what earlier runs kept, so that a new run is compared with it without reading it all.
//!
//! ```text
//! URL/index.json                    parameters, segments with size and SHA-256 of every file; replaced by a conditional put
//! URL/segments/<name>/rows.parquet  a row each: id, exact key, sketch, normalized text
//!                     keys.parquet  key -> row, sorted by key
//!                     checksums     of every block of both
//!                     expired-*     rows that have expired, if any
//!
//! run:  keys of its rows, sorted --merge--> keys.parquet of each segment -> rows that share one -> fingerprints
//!       -> the search for near-duplicates takes them for rows that come before its own, and that stay
//!       rows that it keeps -> new segment -> manifest of the run -> index.json
//! ```
//!
//! Files of a segment never change. Rows expire by leaving the ranges that `index.json` lists, or by a list of rows; a
//! compaction writes the others anew. Read in this order: [`Place`](crate::place::Place), [`Addition`], [`Lookup`], [`maintain`].

mod blocks;
mod catalog;
mod keys;
mod lookup;
pub mod maintain;
mod parameters;
mod rows;
mod segment;
#[cfg(test)]
mod tests;
mod write;

pub use catalog::Catalog;
pub use lookup::{Lookup, LookupCounts};
pub use parameters::parameters;
pub use rows::IndexRows;
pub(crate) use write::remove_other_segments;
pub use write::{Addition, StagedSegment, Stamp};

pub(super) use lookup::{Matches, Part};
