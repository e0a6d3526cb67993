//! Which rows stay by a score: a band, the best share, or a draw that prefers high scores.
//!
//! ```text
//! (row, score) ... -> sorted by score --+-- band, top ------------------------------> rows that stay
//!                                       +-- score / temperature + Gumbel noise, top -/       |
//!                     sorted by hash -- the first as many ------------------------------> control rows
//! ```

mod order;
mod rule;

pub use rule::{Best, Choice, Found, KeepByScore, Rule};

/// Why a row is dropped whose score does not keep it.
pub const REASON: &str = "quality";
