//! Finer grain: paragraphs or lines that occur in several rows, and repetition within one row.
//!
//! ```text
//! text -> Repetition              which rows repeat themselves too much; before near-duplicates are looked for
//! text -> UnitKeys, a map stage   of the rows that near-duplicate removal keeps
//!      -> DuplicateUnits          which of their units an earlier row holds: rows to drop, or units to cut
//! text -> Cutter, a map stage     takes them out -> SpanTable: what was taken -> rebuild: the text as it was
//! ```
//!
//! A unit is held by the first row, in row order, that has it and stays. A unit is only cut where its holder keeps it, a
//! row is only dropped for rows that stay, and a row that stays for near-duplicates is not dropped: nothing is lost, and no
//! row of evidence names a row that is not there.

mod cut;
mod duplicates;
mod holders;
mod rebuild;
mod repetition;
mod spans;
#[cfg(test)]
mod tests;
mod unit;

pub(crate) use cut::HeldWriter;
pub use cut::{Cutter, Held, Span};
pub use duplicates::{DuplicateAction, DuplicateUnits, DuplicateUnitsFound, UNITS, UnitKeys};
pub(crate) use duplicates::{UnitCounts, UnitDecision, for_each_row};
pub use rebuild::{Piece, rebuild};
pub use repetition::{Repetition, RepetitionLimits};
pub use spans::{SpanBatches, SpanTable};
pub use unit::{Unit, UnitSettings};
