//! What is said of runs: pure functions of rows of the ledger, each with a result that has a type.
//!
//! | function | answers |
//! | --- | --- |
//! | [`report`] | what did a run use, and each stage, for each unit of work |
//! | [`compare`] | is it better than that one |
//! | [`audit`] | does it get worse from run to run |
//! | [`gate`] | is it within its budget |
//! | [`shift`] | what did its start save |
//! | [`what_if`] | what would it be elsewhere, or on another processor |
//! | [`avoid`] | what may it save later: a scenario, never taken off |
//! | [`doctor`] | which meters are there |
//!
//! [`text`] writes each of them for people; [`markdown`], [`json`], [`boamps`], [`codecarbon`] and [`prometheus`] write reports for
//! others.

mod audit;
mod avoid;
pub mod boamps;
pub mod codecarbon;
mod comparable;
mod compare;
mod doctor;
mod gate;
pub mod json;
pub mod markdown;
mod place;
pub mod prometheus;
mod right_sized;
mod shift;
#[cfg(test)]
mod tests;
pub mod text;
mod totals;
mod unit;
mod what_if;

pub(in crate::footprint) use audit::median;
pub use audit::{Audit, AuditOptions, Trend, audit};
pub use avoid::{
    Applies, AvoidQuestion, Avoided, AvoidedItem, BoundBy, LabelQuestion, StorageQuestion, TrainingQuestion, avoid,
};
pub use compare::{Comparison, Pair, StageChange, compare};
pub use doctor::{Doctor, doctor};
pub use gate::{Breach, Budget, Verdict, gate, gate_plan, judge};
pub use right_sized::{LessWork, RightSized};
pub use shift::{Saved, Shift, shift};
pub use totals::{ComponentTotal, Report, StageReport, Totals, report, runs};
pub use unit::{PerUnit, Unit};
pub use what_if::{Change, what_if};
