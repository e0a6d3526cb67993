//! Units as rows of a stream, and what else such a row says.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::Task;
use super::columns::{int64_lists, int64s, number, numbers_of, strings};
use super::job::survey_request;
use crate::dedup::Verdict;
use crate::run::verdict::Verdicts;
use crate::source::{Compression, Format, InputFile, InputSchema, Inputs, Unit, UnitPlace};
use crate::{Error, Result, RowSet};

const FORMATS: [Format; 6] =
    [Format::JsonLines, Format::Csv, Format::Tsv, Format::Parquet, Format::Arrow, Format::Text];

/// Columns of units.
pub(super) fn units_schema() -> Schema {
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Schema::new(vec![
        number("unit"),
        number("file"),
        text("name", false),
        text("url", false),
        number("size"),
        text("e_tag", true),
        text("version", true),
        text("format", false),
        text("compression", true),
        number("start"),
        number("end"),
    ])
}

/// Units, numbered from `first` on.
pub(super) fn units_to_batch(first: usize, units: &[Unit], schema: &Arc<Schema>) -> Result<RecordBatch> {
    let numbers = |number: &dyn Fn(&Unit) -> u64| -> ArrayRef {
        Arc::new(units.iter().map(|unit| Some(number(unit).cast_signed())).collect::<Int64Array>())
    };
    let texts = |text: &dyn Fn(&Unit) -> Option<String>| -> ArrayRef {
        Arc::new(units.iter().map(text).collect::<StringArray>())
    };
    let columns = vec![
        Arc::new(Int64Array::from_iter_values((first..first + units.len()).map(|unit| unit as i64))) as ArrayRef,
        numbers(&|unit| unit.file_index as u64),
        texts(&|unit| Some(unit.file.name.clone())),
        texts(&|unit| Some(unit.file.url.clone())),
        numbers(&|unit| unit.file.size_bytes),
        texts(&|unit| unit.file.e_tag.clone()),
        texts(&|unit| unit.file.version.clone()),
        texts(&|unit| Some(unit.file.format.name().to_owned())),
        texts(&|unit| unit.file.compression.map(|compression| compression_name(compression).to_owned())),
        numbers(&|unit| unit.bytes.start),
        numbers(&|unit| unit.bytes.end),
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

/// The units of a batch, with their numbers.
pub(super) fn units_of_batch(batch: &RecordBatch) -> Result<Vec<(u64, Unit)>> {
    let unreadable = |what: &str, value: &str| Error::Config {
        message: format!("no unit has the {what} `{value}`"),
        hint: Some("hand on what the session has said".into()),
    };
    let [units, files, sizes, starts, ends] =
        ["unit", "file", "size", "start", "end"].map(|name| int64s(batch, name).map(|column| (name, column)));
    let columns = [units?, files?, sizes?, starts?, ends?];
    let [names, urls, formats] = ["name", "url", "format"].map(|name| strings(batch, name));
    let (names, urls, formats) = (names?, urls?, formats?);
    let [e_tags, versions, compressions] = ["e_tag", "version", "compression"].map(|name| strings(batch, name));
    let (e_tags, versions, compressions) = (e_tags?, versions?, compressions?);
    let optional =
        |texts: &StringArray, row: usize| -> Option<String> { texts.iter().nth(row).flatten().map(str::to_owned) };
    (0..batch.num_rows())
        .map(|row| {
            let [unit, file, size, start, end] = columns.each_ref().map(|(name, column)| number(column, row, name));
            let format = FORMATS.into_iter().find(|format| format.name() == formats.value(row));
            let compression = match optional(&compressions, row).as_deref() {
                None => None,
                Some("gzip") => Some(Compression::Gzip),
                Some("zstd") => Some(Compression::Zstd),
                Some(other) => return Err(unreadable("compression", other)),
            };
            let file_of_unit = InputFile {
                name: names.value(row).to_owned(),
                url: urls.value(row).to_owned(),
                size_bytes: size?,
                e_tag: optional(&e_tags, row),
                version: optional(&versions, row),
                format: format.ok_or_else(|| unreadable("format", formats.value(row)))?,
                compression,
            };
            Ok((unit?, Unit { file_index: file? as usize, file: file_of_unit, bytes: start?..end? }))
        })
        .collect()
}

/// A unit that is read with the types of the whole input.
#[derive(Debug)]
pub(super) struct PlacedUnit {
    pub(super) number: u64,
    pub(super) unit: Unit,
    pub(super) place: UnitPlace,
    n_rows: u64,
    rejected: RowSet,
    /// Positions of its rows that contain a held-out item.
    pub(super) contaminated: RowSet,
    /// Those of its rows that repeat themselves.
    pub(super) repeated: RowSet,
}

impl PlacedUnit {
    /// Those of a batch.
    pub(super) fn of_batch(batch: &RecordBatch) -> Result<Vec<Self>> {
        let (base_rows, first_rows) = (int64s(batch, "base_row")?, int64s(batch, "first_row")?);
        let (n_rows, rejected) = (int64s(batch, "n_rows")?, int64_lists(batch, "rejected")?);
        let (contaminated, repeated) = (int64_lists(batch, "contaminated")?, int64_lists(batch, "repeated")?);
        let units = units_of_batch(batch)?.into_iter().enumerate();
        units
            .map(|(row, (unit_number, unit))| {
                let base_row = number(&base_rows, row, "base_row")?;
                let first_row = number(&first_rows, row, "first_row")?;
                Ok(Self {
                    number: unit_number,
                    unit,
                    place: UnitPlace { base_row, first_row },
                    n_rows: number(&n_rows, row, "n_rows")?,
                    rejected: numbers_of(&rejected, row).into_iter().collect(),
                    contaminated: numbers_of(&contaminated, row).into_iter().collect(),
                    repeated: numbers_of(&repeated, row).into_iter().collect(),
                })
            })
            .collect()
    }

    /// Positions of its rows.
    pub(super) fn rows(&self) -> std::ops::Range<u64> {
        let first = self.place.base_row + self.place.first_row;
        first..first + self.n_rows
    }

    /// Rows that stay by these verdicts, which know of each row that goes why.
    pub(super) fn n_staying(&self, verdicts: &Verdicts) -> u64 {
        let near_duplicates = verdicts.near_duplicates.as_ref().map_or(0, Verdict::n_dropped);
        let by_quality = verdicts.quality.as_ref().map_or(0, |rows| rows.len());
        let contaminated = verdicts.contaminated.as_ref().map_or(0, |rows| rows.len());
        self.n_rows.saturating_sub(self.rejected.len() + contaminated + near_duplicates + by_quality)
    }

    pub(super) fn has_rejected(&self) -> bool {
        !self.rejected.is_empty()
    }

    /// The unit as an input, and its columns.
    pub(super) fn open(&self, task: Task<'_>) -> Result<(Inputs, InputSchema)> {
        let inputs = self.unit.open(self.place, &task.plan.source, task.with.stores, task.with.context)?;
        let request = survey_request(task.plan, task.config);
        let n_rows = self.place.first_row + self.n_rows;
        let schema = task.job.schema()?.of_unit(n_rows, self.rejected.clone(), &request)?;
        Ok((inputs, schema))
    }
}
