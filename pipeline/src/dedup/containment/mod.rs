//! The search for texts that another text contains, all or most of.
//!
//! Bands of a sketch cannot find a short text in a long one: their Jaccard similarity is small. Here each row draws a
//! sample of its own set, and every larger row is asked how much of the sample it has.
//!
//! ```text
//! pass 1  distinct shingles counted, the least of them sampled        Fingerprint
//!         -> rows ranked by size, filter of all sampled shingles      Samples
//! pass 2  shingles of all rows that pass the filter                   SampledShingles, a map stage
//!         -> who has which sampled shingle -> Postings                Occurrences, a barrier
//!         -> each row: who of the larger rows has enough of its sample  look_up
//! pass 3  shingle sets of the rows in open pairs                      Proof
//! ```
//!
//! The sample of a set is its least elements: hashes are well mixed, so that they are drawn at random, and a reader of the
//! filtered shingles knows which of them are a row's own sample.

mod filter;
mod lookup;
mod occurrences;
mod parts;
mod postings;
mod sampling;

pub(super) use occurrences::Samples;
pub(super) use parts::{PartedSets, PartedSetsWriter};
pub use sampling::Sampling;
pub(super) use sampling::least_distinct;
