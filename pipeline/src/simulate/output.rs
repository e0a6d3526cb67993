//! The files of a simulation.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::curve::Point;
use super::plot::plot;
use super::report::Summary;
use crate::context::Context;
use crate::place::Place;
use crate::sink::Existing;
use crate::store::Stores;
use crate::{Error, Result};

/// The learning curves.
pub const CURVES: &str = "curves.parquet";
/// What they say.
pub const SUMMARY: &str = "summary.json";
/// How they look.
pub const PLOT: &str = "curves.svg";

/// Writes curves, plot and, last, the summary, into the folder or under the URL `output`.
///
/// # Errors
/// `Error::Config` if there is a summary already and `existing` refuses it; `Error::Io` or that of the store.
pub(crate) fn write(
    points: &[Point],
    summary: &Summary,
    output: &str,
    existing: Existing,
    stores: &Stores,
    context: &Context,
) -> Result<()> {
    let place = Place::new(output, stores, context.runtime.handle())?;
    check_free(&place, existing)?;
    place.put(CURVES, parquet(points)?)?;
    place.put(PLOT, plot(points)?.into_bytes())?;
    let json = serde_json::to_vec_pretty(summary).map_err(|error| Error::Invariant(error.to_string()))?;
    place.put(SUMMARY, json)
}

/// # Errors
/// `Error::Config` if there is a summary already and `existing` refuses it.
pub(crate) fn check_free(place: &Place, existing: Existing) -> Result<()> {
    if existing == Existing::Refuse && place.is_there(SUMMARY)? {
        return Err(Error::Config {
            message: format!("`{}` is there already", place.display(SUMMARY)),
            hint: Some("choose another output, or replace it with --overwrite".into()),
        });
    }
    Ok(())
}

fn parquet(points: &[Point]) -> Result<Vec<u8>> {
    let float = |of: fn(&Point) -> f64| Arc::new(points.iter().map(of).collect::<Float64Array>()) as ArrayRef;
    let integer = |of: fn(&Point) -> u32| {
        Arc::new(points.iter().map(|point| of(point).cast_signed()).collect::<Int32Array>()) as ArrayRef
    };
    let strategies: ArrayRef = Arc::new(StringArray::from_iter_values(points.iter().map(|point| &point.strategy)));
    let seeds: ArrayRef = Arc::new(points.iter().map(|point| point.seed.cast_signed()).collect::<Int64Array>());
    let batch = RecordBatch::try_from_iter([
        ("strategy", strategies),
        ("seed", seeds),
        ("round", integer(|point| point.round)),
        ("labels", integer(|point| point.labels)),
        ("accuracy", float(|point| point.accuracy)),
        ("macro_f1", float(|point| point.macro_f1)),
        ("seconds", float(|point| point.seconds)),
    ])?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let encode = || {
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
        writer.write(&batch)?;
        writer.close()?;
        Ok::<_, ParquetError>(bytes)
    };
    encode().map_err(|error| Error::Invariant(format!("the curves could not be encoded: {error}")))
}
