//! Answers out of what a tool exports.

mod argilla;
mod detect;
mod doccano;
mod found;
mod label_studio;
mod prodigy;
mod records;
mod rows;
mod value;

use arrow::array::RecordBatch;
use tamis_schemas::columns;

use super::{LABEL_KEY, LabelTool, TEXT_KEY};
use crate::Result;
use found::Found;
use records::{Entry, Record};

/// How the answers of a file are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportSettings {
    /// Whose file it is; `None` finds that out from its first row.
    pub tool: Option<LabelTool>,
    /// Which question, if several were asked: `from_name` in Label Studio, the name of the question in Argilla.
    pub question: Option<String>,
    /// CSV, JSON Lines, Parquet: where the label is.
    pub label_column: String,
    /// CSV, JSON Lines, Parquet: where the id is; `id` if that is not there.
    pub id_column: String,
    /// Key of the text in tasks, by which the offsets of spans are converted.
    pub text_key: String,
    /// doccano: whether the file was exported with "Export only approved documents". Without it, no label is taken for no
    /// answer, and the suggested one for a draft: doccano does not say who has looked at what.
    pub is_approved_only: bool,
}

impl Default for ImportSettings {
    fn default() -> Self {
        Self {
            tool: None,
            question: None,
            label_column: LABEL_KEY.into(),
            id_column: columns::ID.into(),
            text_key: TEXT_KEY.into(),
            is_approved_only: false,
        }
    }
}

/// What a file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// One row per answer, `tamis_schemas::tables::labels_schema`, in the order of the file.
    ///
    /// Tasks that nobody has answered have none. Of answers that the tool names alike, the one changed last is here.
    pub labels: RecordBatch,
    /// Rows that could not be read: their ordinal in the file from 0, and why.
    pub rejected: Vec<(u64, String)>,
    /// Rows with an answer but without a `tamis_id`: not from an export of ours.
    pub unmatched: u64,
    /// Rows of the file.
    pub rows: u64,
    /// Whose file its first row makes it; `None` without a row that can be read.
    pub looks_like: Option<LabelTool>,
}

/// Reads the file `name` that a tool exported.
///
/// JSON lists, JSON Lines, CSV, TSV, Parquet, and zips of these are told apart by their bytes, tools by the keys of the first
/// row. A name inside a zip, or that of a file of doccano, is the annotator, unless it is `all`.
///
/// # Errors
///
/// `Error::Corrupt` if the bytes are none of these formats; `Error::Config` if several questions were asked and none is
/// chosen, or the one chosen has no answer; `Error::Column` if no row has the label column.
pub fn import(name: &str, bytes: &[u8], settings: &ImportSettings) -> Result<Imported> {
    let (mut looks_like, mut n_rows) = (None, 0);
    let mut found = Found::default();
    records::visit(name, bytes, &mut |entry: Entry<'_>| {
        // One file needs no name, several in a zip do.
        n_rows += 1;
        let place = entry.is_archived.then_some(entry.file);
        let record = match entry.record {
            Ok(record) => record,
            Err(reason) => return found.reject(entry.row, place, &reason),
        };
        let seen = *looks_like.get_or_insert_with(|| detect::tool(&record, entry.format, entry.is_archived));
        if let Err(reason) = read(settings.tool.unwrap_or(seen), &record, entry.file, settings, &mut found) {
            found.reject(entry.row, place, &reason);
        }
    })?;
    // A file without rows is of no tool.
    let tool = settings.tool.or(looks_like).unwrap_or(LabelTool::Jsonl);
    Ok(Imported { rows: n_rows, looks_like, ..found.into_imported(tool, settings)? })
}

/// Adds the answers of a record; the error says why it has none that can be read.
fn read(
    tool: LabelTool,
    record: &Record,
    file: &str,
    settings: &ImportSettings,
    found: &mut Found,
) -> Result<(), String> {
    match tool {
        LabelTool::LabelStudio => label_studio::read(record, settings, found),
        LabelTool::Argilla => argilla::read(record, settings, found),
        LabelTool::Doccano => doccano::read(record, file, settings, found),
        LabelTool::Prodigy => prodigy::read(record, settings, found),
        LabelTool::Csv | LabelTool::Jsonl | LabelTool::Parquet => rows::read(record, settings, found),
    }
}
