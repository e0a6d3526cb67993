//! Texts that scorers learn from without labels: a sample of the rows that stay, or of reference files.

use std::sync::Arc;

use arrow::array::AsArray;
use tamis_schemas::columns;
use tamis_schemas::config::InputConfig;
use tamis_schemas::manifest::InputRecord;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::ids::column;
use super::plan::source_options;
use super::survey::Survey;
use super::{NAMES_COLUMNS, Run, about, input_records, pass, with_flags};
use crate::budget::Reservation;
use crate::context::Context;
use crate::source::{Columns, Decoded, Inputs, Request, Scan, Types};
use crate::store::Stores;
use crate::{Error, Result};

/// Bytes of text that are learnt from, as far as rows drawn at random tell.
const SAMPLE_BYTES: u64 = 32 << 20;
/// Bytes of one text that are learnt from: a long one must not be all there is.
const MOST_TEXT_BYTES: usize = 64 << 10;

/// Texts in memory.
#[derive(Debug)]
pub(super) struct DrawnTexts {
    pub(super) texts: Vec<String>,
    reservation: Reservation,
}

/// Texts of the rows that stay so far, as they will be written.
pub(super) fn of_rows(run: Run<'_>, survey: &Survey, seed: u64) -> Result<DrawnTexts> {
    let verdicts = survey.verdicts();
    let (n_rows, n_bytes) = (survey.schema.n_rows(), survey.rows.text_bytes);
    let drawn = (0..n_rows).filter(|&row| is_drawn(row, n_bytes, seed)).filter(|&row| verdicts.keeps(row));
    let request = Request { rows: Some(Arc::new(drawn.collect())), ..text_request(run) };
    run.begin("learning");
    read(run.scan(&survey.schema, &request)?, run.context, |decoded| survey.cut(decoded))
}

/// Texts of reference files, and what the manifest says of these.
///
/// # Errors
/// `Error::Config` if there is no text in them; whatever keeps a file from being read. A row that cannot be read is warned of.
pub(super) fn of_reference(
    run: Run<'_>,
    paths: &[String],
    seed: u64,
    stores: &Stores,
) -> Result<(DrawnTexts, Vec<InputRecord>)> {
    let input = InputConfig {
        text_documents: run.config.input.text_documents,
        max_row: run.config.input.max_row,
        ..InputConfig::new(paths.to_vec())
    };
    let in_reference = |error| about("reference texts", with_flags(error, NAMES_COLUMNS));
    let inputs = Inputs::discover(paths, &source_options(&input)?, stores, run.context).map_err(in_reference)?;
    let (mut types, mut n_bytes, mut n_rejects) = (Types::default(), 0, 0);
    run.begin("reading reference texts");
    let survey = inputs.survey(&text_request(run)).map_err(in_reference)?;
    run.progress.watch(inputs.total_bytes(), survey.bytes_read());
    pass::for_each(survey, run.context, Ok, |decoded| {
        types.merge(decoded.types);
        n_rejects += decoded.rejects.len();
        for batch in &decoded.batches {
            run.progress.add_rows(batch.num_rows() as u64);
            let offsets = column(batch, columns::TEXT)?.as_string::<i32>().value_offsets();
            n_bytes += (offsets[offsets.len() - 1] - offsets[0]) as u64;
        }
        Ok(())
    })
    .map_err(in_reference)?;
    if n_rejects > 0 {
        tracing::warn!(rows = n_rejects, "reference rows could not be read; they are left out");
    }
    if n_bytes == 0 {
        return Err(Error::Config {
            message: format!("reference texts: there is no text in {}", paths.join(", ")),
            hint: Some(format!("{NAMES_COLUMNS}, for the reference too")),
        });
    }
    let schema = inputs.resolve(types).map_err(in_reference)?;
    let rows = (0..schema.n_rows()).filter(|&row| is_drawn(row, n_bytes, seed)).collect();
    let request = Request { rows: Some(Arc::new(rows)), ..text_request(run) };
    let texts = read(inputs.scan(&schema, &request)?, run.context, Ok).map_err(in_reference)?;
    Ok((texts, input_records(&inputs, schema.file_rows())))
}

fn text_request(run: Run<'_>) -> Request {
    Request { columns: Columns::Named(Vec::new()), text: Some(run.plan.text.clone()), id: None, rows: None }
}

/// Whether a row is among those with texts of [`SAMPLE_BYTES`] together, if all rows have `n_bytes`.
pub(super) fn is_drawn(row: u64, n_bytes: u64, seed: u64) -> bool {
    let most = if n_bytes <= SAMPLE_BYTES { u64::MAX } else { (u64::MAX / n_bytes).saturating_mul(SAMPLE_BYTES) };
    xxh3_64_with_seed(&row.to_le_bytes(), seed) <= most
}

/// What is learnt from of a text.
pub(super) fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_TEXT_BYTES)]
}

impl DrawnTexts {
    /// None so far.
    pub(super) fn new(context: &Context) -> Self {
        Self { texts: Vec::new(), reservation: context.budget.reserve("texts to learn from") }
    }

    /// Takes a text, or its [`beginning`].
    pub(super) fn push(&mut self, text: &str) -> Result<()> {
        self.reservation.grow(text.len() + size_of::<String>())?;
        self.texts.push(text.to_owned());
        Ok(())
    }
}

fn read(scan: Scan, context: &Context, cut: impl Fn(Decoded) -> Result<Decoded> + Sync) -> Result<DrawnTexts> {
    let mut texts = DrawnTexts::new(context);
    pass::for_each(scan, context, cut, |decoded| {
        for batch in &decoded.batches {
            for text in column(batch, columns::TEXT)?.as_string::<i32>().iter().flatten() {
                texts.push(beginning(text))?;
            }
        }
        Ok(())
    })?;
    Ok(texts)
}
