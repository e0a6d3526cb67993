//! A round's batch as files of a label tool.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use bytes::Bytes;
use tamis_schemas::columns;

use super::{Known, Ledger, Verdict, round_of};
use crate::context::Context;
use crate::label_tools::{ExportSettings, LabelTool};
use crate::place::Place;
use crate::run::parse_text;
use crate::score::append::append_columns;
use crate::source::{TextExpression, TextPart};
use crate::store::Stores;
use crate::{Error, Result, label_tools};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The round.
    pub round: u32,
    /// Its rows.
    pub rows: u64,
    /// The files.
    pub files: Vec<String>,
}

/// Writes a round's batch, the last one's if `round` is none, to a folder or URL, as files that `tool` imports.
///
/// # Errors
/// `Error::Config` if there is no such round, or if there is another file of the same name and `overwrite` is not set.
pub fn export(
    ledger: &Ledger,
    round: Option<u32>,
    tool: LabelTool,
    output: &str,
    overwrite: bool,
    stores: &Stores,
    context: &Context,
) -> Result<Exported> {
    let record = round_of(ledger, round)?;
    let settings = ledger.settings();
    let (batch, text_column) = with_text(ledger.table(&record.batch)?, &parse_text(&settings.pool.text)?)?;
    let export = ExportSettings {
        classes: classes(ledger)?,
        round: record.round,
        model_version: format!("tamis-r{:03}", record.round),
        strategy: record.selection.strategy.clone(),
        seed: record.seed,
        ..ExportSettings::new(tool, text_column)
    };
    let place = Place::new(output, stores, context.runtime.handle())?;
    let mut files = Vec::new();
    for file in label_tools::export(&batch, &export)? {
        if overwrite {
            place.put(&file.name, file.bytes)?;
        } else if !place.put_new(&file.name, &Bytes::from(file.bytes))? {
            return Err(Error::Config {
                message: format!("`{}` is there already, and it is another file", place.display(&file.name)),
                hint: Some("choose another folder with -o, or replace it with --overwrite".into()),
            });
        }
        files.push(place.display(&file.name));
    }
    Ok(Exported { round: record.round, rows: batch.num_rows() as u64, files })
}

/// Classes to choose from: those that the loop expects, or else those that were given so far.
fn classes(ledger: &Ledger) -> Result<Vec<String>> {
    if !ledger.settings().classes.is_empty() {
        return Ok(ledger.settings().classes.clone());
    }
    let known = Known::of(ledger)?;
    let given = known.verdicts().into_values().filter_map(|verdict| match verdict {
        Verdict::Labelled(labels) => Some(labels),
        Verdict::Disagreeing | Verdict::Skipped => None,
    });
    let mut classes: Vec<String> = given.flatten().collect();
    classes.sort_unstable();
    classes.dedup();
    Ok(classes)
}

/// A batch with a column of the text, and its name: the input's own one, unless the text is made of several.
pub(super) fn with_text(batch: RecordBatch, text: &TextExpression) -> Result<(RecordBatch, String)> {
    if let [TextPart::Column(name)] = text.parts.as_slice() {
        return Ok((batch, name.clone()));
    }
    let mut texts = vec![String::new(); batch.num_rows()];
    for part in &text.parts {
        match part {
            TextPart::Literal(literal) => texts.iter_mut().for_each(|text| text.push_str(literal)),
            TextPart::Column(name) => {
                let missing = || Error::Column { message: format!("the batch has no column `{name}`"), hint: None };
                let values = cast(batch.column_by_name(name).ok_or_else(missing)?, &DataType::Utf8)?;
                let values = values.as_string::<i32>();
                for (row, text) in texts.iter_mut().enumerate().filter(|(row, _)| values.is_valid(*row)) {
                    text.push_str(values.value(row));
                }
            }
        }
    }
    let texts: ArrayRef = Arc::new(StringArray::from(texts));
    let field = Arc::new(Field::new(columns::TEXT, DataType::Utf8, false));
    Ok((append_columns(&batch, &[field], vec![texts])?, columns::TEXT.to_owned()))
}
