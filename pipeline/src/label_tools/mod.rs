//! Batches to people who label, and their answers back.
//!
//! ```text
//!  batch --export--> files of a tool --people--> its export --import--> answers (`tamis_schemas::tables::labels_schema`)
//! ```
//!
//! Read in this order: [`LabelTool`] (which), [`export`], [`import`]. Every task carries `tamis_id`, which comes back with
//! each answer: in `data` (Label Studio), `metadata` and `id` (Argilla), a meta key (doccano), `meta` and at the top
//! (Prodigy), a column (CSV, JSON Lines, Parquet). Spans are bytes here; Label Studio and doccano count UTF-16 code units,
//! Argilla and Prodigy code points.

mod answer;
mod export;
mod import;
mod offsets;
#[cfg(test)]
mod tests;
mod tool;

pub use export::{ExportFile, ExportSettings, export};
pub use import::{ImportSettings, Imported, import};
pub use tool::LabelTool;

/// Key of the text in tasks of tools, whatever the column's name is.
const TEXT_KEY: &str = "text";
/// Key of the label, and name of the question, where no other is asked for.
const LABEL_KEY: &str = "label";
/// Key of the round of a task.
const ROUND_KEY: &str = "tamis_round";
/// Key of what made the suggestion, where the tool has no place of its own for it.
const MODEL_KEY: &str = "tamis_model";
/// Between the labels of a suggestion of several, as in the column `tamis_label`.
const LABEL_SEPARATOR: &str = ";";
