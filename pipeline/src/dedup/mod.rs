//! dedup
mod band;
mod columns;
mod fingerprint;
mod keep;
mod normalize;
mod settings;
mod shingle;
mod sketch;
mod tape;
mod token;
mod unicode;

pub use band::Bands;
pub use columns::{BAND_KEYS, EXACT_KEY, LENGTH, N_SHINGLES, SHINGLES, SKETCH};
pub use fingerprint::{Fingerprint, Reader};
pub use normalize::{Normalize, Normalizer};
pub use settings::{Direction, Gate, KeepOrder, Linkage, Search, Settings};
pub use shingle::{Shingler, jaccard, to_set};
pub use sketch::{N_SLOTS, Sketch, estimate, sketch};
pub use token::tokenize;
