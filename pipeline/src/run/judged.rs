//! Rows that have labels already, as `tamis simulate` replays them.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use tamis_schemas::columns;
use tamis_schemas::config::InputConfig;
use tamis_schemas::manifest::InputRecord;

use super::ids::{column, ids_of};
use super::plan::{id_source, parse_text, source_options};
use super::simulate::JudgedColumns;
use super::{NAMES_COLUMNS, input_records, pass, with_flags};
use crate::context::Context;
use crate::progress::Progress;
use crate::score::embeddings_of;
use crate::select::text_column;
use crate::simulate::Judged;
use crate::source::{Columns, Inputs, Request, Types};
use crate::store::Stores;
use crate::{Error, Result};

/// Reads texts, ids, labels, and, if columns are named, embeddings and what tells test rows from others; and says of which files.
///
/// # Errors
/// `Error::Column` if a column is not there, or holds lists; whatever stops a reading; `Error::OverBudget`.
pub(super) fn read_judged(
    input: &InputConfig,
    named: JudgedColumns<'_>,
    embedding_column: Option<&str>,
    stores: &Stores,
    context: &Context,
    progress: &Progress,
) -> Result<(Judged, Vec<InputRecord>)> {
    let inputs = Inputs::discover(&input.paths, &source_options(input)?, stores, context)?;
    let (label_column, split_column) = (named.label, named.split);
    let names = [Some(label_column), split_column, embedding_column].into_iter().flatten().map(str::to_owned).collect();
    let request = Request {
        columns: Columns::Named(names),
        text: Some(parse_text(&input.text)?),
        id: Some(id_source(input.id.as_deref())),
        rows: None,
    };
    progress.begin("reading");
    let (mut types, mut judged) = (Types::default(), Judged::default());
    let scan = inputs.survey(&request)?;
    progress.watch(inputs.total_bytes(), scan.bytes_read());
    pass::for_each(scan, context, Ok, |decoded| {
        types.merge(decoded.types);
        judged.n_rejected += decoded.rejects.len() as u64;
        Ok(())
    })
    .map_err(|error| with_flags(error, NAMES_COLUMNS))?;
    let schema = inputs.resolve(types).map_err(|error| with_flags(error, NAMES_COLUMNS))?;
    let mut reservation = context.budget.reserve("judged rows");
    progress.begin("reading labels");
    let owned = |values: &StringArray, row: usize| values.is_valid(row).then(|| values.value(row).to_owned());
    pass::for_each(inputs.scan(&schema, &request)?, context, Ok, |decoded| {
        for batch in &decoded.batches {
            progress.add_rows(batch.num_rows() as u64);
            let texts = column(batch, columns::TEXT)?.as_string::<i32>();
            let ids = ids_of(batch)?;
            let labels = label_texts(batch, label_column)?;
            let embeddings = embedding_column.map(|name| embeddings_of(batch, name)).transpose()?;
            let splits = split_column.map(|name| text_column(batch, name)).transpose()?;
            for row in 0..batch.num_rows() {
                let label = owned(&labels, row).map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
                let Some(label) = label else {
                    judged.n_unlabelled += 1;
                    continue;
                };
                let text = texts.value(row);
                reservation.grow(2 * text.len() + ids.value(row).len() + label.len() + 96)?;
                if let Some((vectors, dimensions)) = &embeddings {
                    let held = judged.embeddings.get_or_insert_with(|| (Vec::new(), *dimensions));
                    if held.1 != *dimensions {
                        return Err(Error::Column {
                            message: format!("embeddings have {} components, and some {dimensions}", held.1),
                            hint: Some("all must come from one model".into()),
                        });
                    }
                    reservation.grow(dimensions * size_of::<f32>())?;
                    held.0.extend_from_slice(&vectors[row * dimensions..][..*dimensions]);
                }
                judged.ids.push(ids.value(row).to_owned());
                judged.texts.push(text.to_owned());
                judged.labels.push(label);
                judged.splits.push(splits.as_ref().and_then(|splits| owned(splits, row)));
            }
        }
        Ok(())
    })?;
    if judged.ids.is_empty() {
        return Err(Error::Config {
            message: format!("no row has a label in the column `{label_column}`: there is nothing to replay"),
            hint: Some("name the column of the labels with --label-column".into()),
        });
    }
    judged.reservation = Some(reservation);
    Ok((judged, input_records(&inputs, schema.file_rows())))
}

/// Labels as text.
///
/// # Errors
/// `Error::Column` for lists: a row is replayed with one label.
fn label_texts(batch: &RecordBatch, name: &str) -> Result<StringArray> {
    match batch.column_by_name(name).map(Array::data_type) {
        Some(DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)) => Err(Error::Column {
            message: format!("column `{name}` holds lists: rows with several labels cannot be replayed"),
            hint: Some("name a column with one label a row with --label-column".into()),
        }),
        _ => text_column(batch, name),
    }
}
