//! A look at inputs without a config: what `tamis init` needs to know.

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::DataType;
use tamis_schemas::config::InputConfig;
use xxhash_rust::xxh3::xxh3_128;

use super::pass;
use super::plan::source_options;
use crate::Result;
use crate::context::Context;
use crate::progress::Progress;
use crate::source::{Columns, Inputs, Request, Types};
use crate::store::Stores;

/// Rows that values are looked at of.
const SAMPLE_ROWS: u64 = 1000;

/// What the inputs hold.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSummary {
    /// Files.
    pub n_files: u64,
    /// Stored bytes.
    pub size_bytes: u64,
    /// Rows, rejected ones too.
    pub rows: u64,
    /// Rows that cannot be read.
    pub rejected: u64,
    /// Columns over all files.
    pub columns: Vec<ColumnSummary>,
}

/// A column, as its first rows show it.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSummary {
    /// Name.
    pub name: String,
    /// Arrow type, for people.
    pub data_type: String,
    /// Whether it holds text.
    pub is_text: bool,
    /// Mean bytes of a text.
    pub mean_length: f64,
    /// Whether no value repeats.
    pub is_unique: bool,
}

/// Reads the whole input once for its types, and its first rows for their values.
pub fn look(input: &InputConfig, stores: &Stores, context: &Context, progress: &Progress) -> Result<InputSummary> {
    let inputs = Inputs::discover(&input.paths, &source_options(input)?, stores, context)?;
    progress.begin("reading");
    let nothing = Request { columns: Columns::Named(Vec::new()), text: None, id: None, rows: None };
    let mut types = Types::default();
    let survey = inputs.survey(&nothing)?;
    progress.watch(inputs.total_bytes(), survey.bytes_read());
    pass::for_each(survey, context, Ok, |decoded| {
        types.merge(decoded.types);
        Ok(())
    })?;
    let schema = inputs.resolve(types)?;
    let sample_rows = (0..schema.n_rows().min(SAMPLE_ROWS)).collect();
    let sample = Request { columns: Columns::All, rows: Some(std::sync::Arc::new(sample_rows)), ..nothing };
    let mut batches = Vec::new();
    pass::for_each(inputs.scan(&schema, &sample)?, context, Ok, |decoded| {
        batches.extend(decoded.batches);
        Ok(())
    })?;
    let columns = match batches.first() {
        Some(first) => summarize(&concat_batches(&first.schema(), &batches)?, schema.schema().fields().len())?,
        None => Vec::new(),
    };
    Ok(InputSummary {
        n_files: inputs.files().len() as u64,
        size_bytes: inputs.files().iter().map(|file| file.size_bytes).sum(),
        rows: schema.n_rows(),
        rejected: schema.rejected().len(),
        columns,
    })
}

fn summarize(sample: &RecordBatch, n_columns: usize) -> Result<Vec<ColumnSummary>> {
    let schema = sample.schema_ref();
    (0..n_columns)
        .map(|index| {
            let field = schema.field(index);
            let is_text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
            let has_text_form = is_text || field.data_type().is_integer();
            let (mut total_bytes, mut hashes) = (0, std::collections::HashSet::new());
            if has_text_form {
                let texts = cast(sample.column(index), &DataType::Utf8)?;
                for text in texts.as_string::<i32>().iter().flatten() {
                    total_bytes += text.len();
                    hashes.insert(xxh3_128(text.as_bytes()));
                }
            }
            Ok(ColumnSummary {
                name: field.name().clone(),
                data_type: field.data_type().to_string(),
                is_text,
                mean_length: if is_text { total_bytes as f64 / sample.num_rows().max(1) as f64 } else { 0.0 },
                is_unique: has_text_form && hashes.len() == sample.num_rows(),
            })
        })
        .collect()
}
