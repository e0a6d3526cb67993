//! What near-duplicate removal would do at other thresholds, from a sample whose pairs are all compared exactly.
//!
//! ```text
//! every row  -> Netted -> Draw: rows drawn at random, and their neighbours      (first reading)
//! those rows -> SampledRow -> Sample -> Pairs: all pairs, by brute force        (second reading, of those rows only)
//!            -> Tuning: a line for each threshold, a histogram, a suggestion, examples
//! ```
//!
//! # What the figures mean
//!
//! Two near-duplicates hardly ever fall into one random sample. So the rows drawn bring their neighbours: rows that share two
//! or more of 32 keys with them, each key made of two slots of the sketch. A pair of similarity 0.5 is overlooked in 0.12 % of
//! the cases, one of 0.6 in 0.001 %, and an unrelated row of similarity 0.1 comes along in 4 %: the net is far wider than the
//! bands that are judged, so that it hardly flatters them. Then
//!
//! - pairs and dropped rows of the input are estimated from the rows drawn, each of which stands for the same number of rows:
//!   of a row drawn it is known whether an earlier row that stays is near enough, wherever in the input that row lies;
//! - the recall of bands is the share of the true pairs found that these bands find too;
//! - candidates that are no true pairs are expected values: similarities of the rows drawn among each other stand for those of
//!   all pairs of the input, and the formula of the S-curve says how many of them meet.
//!
//! If the sample is the whole input, pairs, dropped rows and recall are exact. Otherwise a row drawn brings at most eight
//! neighbours, by turns the nearest and the earliest, and all of them together at most as many as there are rows drawn. The
//! pairs of a row that has more are estimated from the rows drawn, which are a fair share of its many neighbours. Whether it
//! is dropped is judged by the neighbours that it has brought, so that at low thresholds slightly fewer rows seem to go.

mod draw;
mod pairs;
mod sample;
mod table;
#[cfg(test)]
mod tests;

pub use draw::{Chosen, Draw, Netted};
pub use pairs::{Pair, Pairs};
pub use sample::{Sample, SampledRow};
pub use table::{Suggestion, ThresholdLine, Tuning};
