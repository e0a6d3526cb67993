//! The first reading of units: types, ids, and the fingerprints that near-duplicates are found by.

use std::io::{Read, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type};
use xxhash_rust::xxh3::xxh3_128;

use super::Task;
use super::columns::int64_list;
use super::job::survey_request;
use super::stream::{Incoming, Outgoing};
use super::summary::Summary;
use super::units::{PlacedUnit, units_of_batch};
use crate::Result;
use crate::dedup::{Fingerprint, FingerprintsOnWire, N_SHINGLES};
use crate::run::ids::{IdKey, column};
use crate::run::survey::{Stages, Work, with_file};
use crate::run::{NAMES_COLUMNS, pass, with_flags};
use crate::source::{self, Columns, Decoded, IdSource, Request, Types, TypesOnWire, Unit, UnitPlace};
use crate::stage::MapStage;

/// Scans the units of a stream: for what is in them; or once their places and the types of the whole input are known, for the
/// fingerprints that depend on columns.
pub(super) fn scan(task: Task<'_>, input: &mut Incoming<impl Read>, mut output: Outgoing<impl Write>) -> Result<()> {
    let schema = output.begin(&schema(), &[])?;
    let settings = task.plan.deduplicate.as_ref();
    let is_typed = task.job.schema.is_some();
    let fingerprint = settings.filter(|settings| is_typed || !settings.reads_columns());
    let scan = Scan {
        task,
        request: survey_request(task.plan, task.config),
        fingerprint: fingerprint.map(Fingerprint::new).transpose()?,
        schema,
    };
    while let Some(batch) = input.next()? {
        if is_typed {
            for unit in PlacedUnit::of_batch(&batch)? {
                scan.placed_unit(&unit, |batch| output.write(batch))?;
            }
            continue;
        }
        for (number, unit) in units_of_batch(&batch)? {
            let summary = scan.unit(number, &unit, |batch| output.write(batch))?;
            output.write(&scan.summary(number, &summary)?)?;
        }
    }
    output.finish().map(drop)
}

fn schema() -> Schema {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    Schema::new(vec![
        Field::new("unit", DataType::Int64, false),
        field("row", DataType::Int64),
        field("id_key", DataType::Binary),
        field("exact_key", DataType::Binary),
        field("n_shingles", DataType::Int64),
        field("length", DataType::Int64),
        field("sketch", DataType::Binary),
        field("keys", int64_list()),
        field("group", DataType::Binary),
        field("source", DataType::Binary),
        field("order", DataType::Binary),
        field("summary", DataType::Binary),
    ])
}

struct Scan<'a> {
    task: Task<'a>,
    request: Request,
    fingerprint: Option<Fingerprint>,
    schema: SchemaRef,
}

impl Scan<'_> {
    /// Reads a unit, and hands on its fingerprints.
    fn unit(&self, number: u64, unit: &Unit, to: impl FnMut(&RecordBatch) -> Result<()>) -> Result<Summary> {
        let super::Surroundings { stores, context, .. } = self.task.with;
        let inputs = unit.open(UnitPlace::default(), &self.task.plan.source, stores, context)?;
        let scan = inputs.survey(&self.request)?;
        self.read(number, unit, UnitPlace::default(), inputs.total_bytes(), scan, to)
    }

    /// Reads a unit with the types of the whole input, and hands on its fingerprints.
    fn placed_unit(&self, unit: &PlacedUnit, to: impl FnMut(&RecordBatch) -> Result<()>) -> Result<Summary> {
        let (inputs, schema) = unit.open(self.task)?;
        let columns = Columns::Named(self.task.deduplicate()?.columns());
        let scan = inputs.scan(&schema, &Request { columns, ..self.request.clone() })?;
        self.read(unit.number, &unit.unit, unit.place, inputs.total_bytes(), scan, to)
    }

    fn read(
        &self,
        number: u64,
        unit: &Unit,
        place: UnitPlace,
        n_bytes: u64,
        scan: source::Scan,
        mut to: impl FnMut(&RecordBatch) -> Result<()>,
    ) -> Result<Summary> {
        let super::Surroundings { context, progress, .. } = self.task.with;
        progress.watch(n_bytes, scan.bytes_read());
        let map = self.fingerprint.as_ref().map(|map| map as &dyn MapStage);
        let stages = Stages { map, ..Stages::default() };
        let wants_ids = self.request.id.is_some() && self.task.plan.id != IdSource::Row;
        let needs_file = self.task.plan.deduplicate.as_ref().is_some_and(|settings| settings.scope.needs_file());
        let mut types = Types::default();
        let (mut rejected, mut text_bytes, mut compared, mut without_tokens) = (0, 0, 0, 0);
        pass::for_each(
            scan,
            context,
            |decoded| {
                let decoded = Decoded { file: unit.file_index, ..decoded };
                Work::new(with_file(decoded, needs_file)?, stages, wants_ids)
            },
            |work| {
                rejected += work.rejects.len() as u64;
                text_bytes += work.text_bytes;
                types.merge(work.types);
                progress.add_rows(work.decoded_rows);
                let mut ids = wants_ids.then_some(work.ids.as_slice());
                for batch in &work.mapped {
                    compared += batch.num_rows() as u64;
                    without_tokens += n_without_tokens(batch)?;
                    let of_batch = ids.map(|ids| ids.split_at(batch.num_rows()));
                    ids = of_batch.map(|(_, rest)| rest);
                    to(&self.fingerprints(number, unit, place, batch, of_batch.map(|(ids, _)| ids))?)?;
                }
                Ok(())
            },
        )
        .map_err(|error| with_flags(error, NAMES_COLUMNS))?;
        Ok(Summary { types: TypesOnWire::new(types)?, rejected, text_bytes, compared, without_tokens })
    }

    fn fingerprints(
        &self,
        number: u64,
        unit: &Unit,
        place: UnitPlace,
        batch: &RecordBatch,
        ids: Option<&[IdKey]>,
    ) -> Result<RecordBatch> {
        let n_rows = batch.num_rows();
        let FingerprintsOnWire { row, exact_key, n_shingles, length, sketch, keys, group, source, order } =
            FingerprintsOnWire::new(batch, self.task.deduplicate()?)?;
        let first_row = (place.base_row + place.first_row).cast_signed();
        let id_keys = match ids {
            Some(ids) => ids.iter().map(|key| given_id(key, unit, place)).collect(),
            None => BinaryArray::new_null(n_rows),
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![number.cast_signed(); n_rows])),
            Arc::new(row.unary::<_, Int64Type>(|row| row - first_row)),
            Arc::new(id_keys),
            Arc::new(exact_key),
            Arc::new(n_shingles),
            Arc::new(length),
            Arc::new(sketch),
            Arc::new(keys),
            Arc::new(group),
            Arc::new(source),
            Arc::new(order),
            new_null_array(&DataType::Binary, n_rows),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn summary(&self, number: u64, summary: &Summary) -> Result<RecordBatch> {
        let summary: ArrayRef = Arc::new(BinaryArray::from_iter_values([summary.to_bytes()?]));
        let unit: ArrayRef = Arc::new(Int64Array::from(vec![number.cast_signed()]));
        let columns = self.schema.fields().iter().map(|field| match field.name().as_str() {
            "unit" => Ok(Arc::clone(&unit)),
            "summary" => Ok(Arc::clone(&summary)),
            _ => Ok(new_null_array(field.data_type(), 1)),
        });
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_>>()?)?)
    }
}

fn n_without_tokens(batch: &RecordBatch) -> Result<u64> {
    let n_shingles = column(batch, N_SHINGLES)?.as_primitive::<UInt32Type>();
    Ok(n_shingles.values().iter().filter(|&&n| n == 0).count() as u64)
}

/// The hash of an id. A row that is named after its place has none: in the whole input, its place is another, and nobody else's.
fn given_id((hash, row): &IdKey, unit: &Unit, place: UnitPlace) -> Option<[u8; 16]> {
    let of_place = xxh3_128(format!("{}#{}", unit.file.name, row - place.base_row).as_bytes());
    (*hash != of_place).then(|| hash.to_be_bytes())
}
