//! The readings of `tamis tune`: all rows once for the draw, then the rows drawn and their neighbours.

use std::sync::Arc;

use arrow::array::AsArray;
use tamis_schemas::columns;
use tamis_schemas::config::{DeduplicateConfig, InputConfig};

use super::ids::{column, ids_of, rows_of};
use super::plan::{id_source, near_duplicate_settings, parse_text, source_options};
use super::{NAMES_COLUMNS, pass, with_flags};
use crate::Result;
use crate::context::Context;
use crate::dedup::Reader;
use crate::progress::Progress;
use crate::source::{Columns, Inputs, Request, Types};
use crate::store::Stores;
use crate::tune::{Draw, Netted, Sample, SampledRow};

/// Draws `n_wanted` rows of the input and their neighbours, and reads them. The second value counts rows that cannot be read.
///
/// # Errors
/// `Error::Config` for the first setting that cannot work.
pub fn draw_sample(
    input: &InputConfig,
    deduplicate: &DeduplicateConfig,
    n_wanted: usize,
    stores: &Stores,
    context: &Context,
    progress: &Progress,
) -> Result<(Sample, u64)> {
    let settings = near_duplicate_settings(deduplicate)?;
    let mut draw = Draw::new(n_wanted, settings.seed, context)?;
    let inputs = Inputs::discover(&input.paths, &source_options(input)?, stores, context)?;
    let text = Some(parse_text(&input.text)?);
    let every_row = Request { columns: Columns::Named(Vec::new()), text, id: None, rows: None };

    progress.begin("reading");
    let mut types = Types::default();
    let mut n_rejected = 0;
    let scan = inputs.survey(&every_row)?;
    progress.watch(inputs.total_bytes(), scan.bytes_read());
    pass::for_each(
        scan,
        context,
        |decoded| {
            let netted = decoded.batches.iter().map(|batch| {
                let texts = column(batch, columns::TEXT)?.as_string::<i32>();
                let texts = texts.iter().map(Option::unwrap_or_default);
                Ok(Netted::new(&settings, rows_of(batch)?.values(), texts))
            });
            Ok((netted.collect::<Result<Vec<_>>>()?, decoded.rejects.len() as u64, decoded.types))
        },
        |(netted, n_rejects, next_types)| {
            n_rejected += n_rejects;
            types.merge(next_types);
            netted.into_iter().try_for_each(|netted| {
                progress.add_rows(netted.n_rows());
                draw.observe(netted, context)
            })
        },
    )
    .map_err(|error| with_flags(error, NAMES_COLUMNS))?;
    let schema = inputs.resolve(types).map_err(|error| with_flags(error, NAMES_COLUMNS))?;
    let chosen = draw.choose(context)?;

    progress.begin("reading the sample");
    let rows = Some(Arc::new(chosen.rows.clone()));
    let sampled_rows = Request { id: Some(id_source(input.id.as_deref())), rows, ..every_row };
    let mut sample = Sample::new(settings.clone(), chosen, context);
    let scan = inputs.scan(&schema, &sampled_rows)?;
    progress.watch(inputs.total_bytes(), scan.bytes_read());
    pass::for_each(
        scan,
        context,
        |decoded| {
            let mut reader = Reader::new(&settings);
            let mut sampled = Vec::new();
            for batch in &decoded.batches {
                let texts = column(batch, columns::TEXT)?.as_string::<i32>();
                for ((&row, id), text) in rows_of(batch)?.values().iter().zip(ids_of(batch)?).zip(texts) {
                    let (id, text) = (id.unwrap_or_default(), text.unwrap_or_default());
                    sampled.push(SampledRow::new(&mut reader, row, id, text));
                }
            }
            Ok(sampled)
        },
        |sampled| {
            progress.add_rows(sampled.len() as u64);
            sampled.into_iter().try_for_each(|row| sample.push(row))
        },
    )?;
    sample.check()?;
    Ok((sample, n_rejected))
}
