//! The first reading of units: types, ids, and the fingerprints that near-duplicates are found by.

use std::io::{Read, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, UInt64Array, new_null_array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type};
use tamis_schemas::config::Config;
use xxhash_rust::xxh3::xxh3_128;

use super::Task;
use super::columns::int64_list;
use super::job::survey_request;
use super::stream::{Incoming, Outgoing};
use super::summary::Summary;
use super::units::{PlacedUnit, units_of_batch};
use crate::Result;
use crate::decontaminate::{Decontaminate, hits_of};
use crate::dedup::{Fingerprint, FingerprintsOnWire, N_SHINGLES};
use crate::run::held_out;
use crate::run::ids::{IdKey, column, rows_of};
use crate::run::plan::Plan;
use crate::run::survey::{Stages, Work, with_file, without};
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
    let super::Surroundings { stores, context, progress } = task.with;
    let held_out = if is_typed { None } else { held_out::load(task.plan, stores, context, progress)? };
    let scan = Scan {
        task,
        request: survey_request(task.plan, task.config),
        held_out: held_out.map(|items| items.stage),
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
    /// What is looked for before anything else; `None`: nothing, or it is known where it is.
    held_out: Option<Decontaminate>,
    fingerprint: Option<Fingerprint>,
    schema: SchemaRef,
}

impl Scan<'_> {
    /// Reads a unit, and hands on its fingerprints.
    fn unit(&self, number: u64, unit: &Unit, to: impl FnMut(&RecordBatch) -> Result<()>) -> Result<Summary> {
        let super::Surroundings { stores, context, .. } = self.task.with;
        let inputs = unit.open(UnitPlace::default(), &self.task.plan.source, stores, context)?;
        let scan = inputs.survey(&self.request)?;
        self.read(number, unit, None, inputs.total_bytes(), scan, to)
    }

    /// Reads a unit with the types of the whole input, and hands on its fingerprints.
    fn placed_unit(&self, unit: &PlacedUnit, to: impl FnMut(&RecordBatch) -> Result<()>) -> Result<Summary> {
        let (inputs, schema) = unit.open(self.task)?;
        let columns = Columns::Named(self.task.deduplicate()?.columns());
        let scan = inputs.scan(&schema, &Request { columns, ..self.request.clone() })?;
        self.read(unit.number, &unit.unit, Some(unit), inputs.total_bytes(), scan, to)
    }

    fn read(
        &self,
        number: u64,
        unit: &Unit,
        placed: Option<&PlacedUnit>,
        n_bytes: u64,
        scan: source::Scan,
        mut to: impl FnMut(&RecordBatch) -> Result<()>,
    ) -> Result<Summary> {
        let super::Surroundings { context, progress, .. } = self.task.with;
        progress.watch(n_bytes, scan.bytes_read());
        let map = self.fingerprint.as_ref().map(|map| map as &dyn MapStage);
        let repetition = self.task.plan.grain.as_ref().and_then(|plan| plan.repetition.as_ref());
        let repetition = repetition.filter(|_| placed.is_none());
        let stages = Stages { decontaminate: self.held_out.as_ref(), repetition, map };
        let wants_ids = placed.is_none() && tells_ids(self.task.plan, self.task.config);
        let needs_file = self.task.plan.deduplicate.as_ref().is_some_and(|settings| settings.scope.needs_file());
        let first_row = placed.map_or(0, |unit| unit.place.base_row + unit.place.first_row).cast_signed();
        let mut types = Types::default();
        let (mut rejected, mut text_bytes, mut compared, mut without_tokens) = (0, 0, 0, 0);
        let (mut hits, mut repeated) = (Vec::new(), Vec::new());
        pass::for_each(
            scan,
            context,
            |decoded| {
                let decoded = without(decoded, placed.map(|unit| &unit.contaminated))?;
                let decoded = without(decoded, placed.map(|unit| &unit.repeated))?;
                let decoded = Decoded { file: unit.file_index, ..decoded };
                Work::new(with_file(decoded, needs_file)?, stages, wants_ids)
            },
            |work| {
                rejected += work.rejects.len() as u64;
                text_bytes += work.text_bytes;
                types.merge(work.types);
                progress.add_rows(work.decoded_rows);
                for batch in &work.hits {
                    hits.extend(hits_of(batch)?);
                }
                repeated.extend(work.repeated);
                let mut ids = GivenIds::new(&work.ids, unit);
                for batch in &work.mapped {
                    compared += batch.num_rows() as u64;
                    without_tokens += n_without_tokens(batch)?;
                    let id_keys = ids.of_rows(rows_of(batch)?);
                    to(&self.fingerprints(number, first_row, batch, id_keys)?)?;
                }
                let others = ids.others();
                if others.is_empty() { Ok(()) } else { to(&self.ids(number, &others)?) }
            },
        )
        .map_err(|error| with_flags(error, NAMES_COLUMNS))?;
        Ok(Summary { types: TypesOnWire::new(types)?, rejected, text_bytes, compared, without_tokens, hits, repeated })
    }

    /// The fingerprints of a batch, of which the first row of the unit has the position `first_row`.
    fn fingerprints(
        &self,
        number: u64,
        first_row: i64,
        batch: &RecordBatch,
        id_keys: BinaryArray,
    ) -> Result<RecordBatch> {
        let n_rows = batch.num_rows();
        let FingerprintsOnWire { row, exact_key, n_shingles, length, sketch, keys, group, source, order } =
            FingerprintsOnWire::new(batch, self.task.deduplicate()?)?;
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

    /// Rows of which nothing but their ids is told.
    fn ids(&self, number: u64, ids: &[(i64, [u8; 16])]) -> Result<RecordBatch> {
        let units: ArrayRef = Arc::new(Int64Array::from(vec![number.cast_signed(); ids.len()]));
        let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.iter().map(|(row, _)| *row)));
        let keys: ArrayRef = Arc::new(BinaryArray::from_iter_values(ids.iter().map(|(_, key)| key)));
        self.with_nulls(ids.len(), &[("unit", units), ("row", rows), ("id_key", keys)])
    }

    fn summary(&self, number: u64, summary: &Summary) -> Result<RecordBatch> {
        let summary: ArrayRef = Arc::new(BinaryArray::from_iter_values([summary.to_bytes()?]));
        let unit: ArrayRef = Arc::new(Int64Array::from(vec![number.cast_signed()]));
        self.with_nulls(1, &[("unit", unit), ("summary", summary)])
    }

    /// Rows in which only some columns are there.
    fn with_nulls(&self, n_rows: usize, there: &[(&str, ArrayRef)]) -> Result<RecordBatch> {
        let columns = self.schema.fields().iter().map(|field| {
            let given = there.iter().find(|(name, _)| name == field.name());
            given.map_or_else(|| new_null_array(field.data_type(), n_rows), |(_, column)| Arc::clone(column))
        });
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())?)
    }
}

/// Whether scans tell the ids of rows: those that a column gives can be there twice.
pub(super) fn tells_ids(plan: &Plan, config: &Config) -> bool {
    plan.needs_text(config) && plan.id != IdSource::Row
}

/// The hashes of the ids of a block, in the order of the rows.
struct GivenIds<'a> {
    left: std::iter::Peekable<std::slice::Iter<'a, IdKey>>,
    unit: &'a Unit,
    others: Vec<(i64, [u8; 16])>,
}

impl<'a> GivenIds<'a> {
    fn new(ids: &'a [IdKey], unit: &'a Unit) -> Self {
        Self { left: ids.iter().peekable(), unit, others: Vec::new() }
    }

    /// Those of some rows, which come after all that were asked for before.
    fn of_rows(&mut self, rows: &UInt64Array) -> BinaryArray {
        let of_row = |row: u64| {
            while let Some(key) = self.left.next_if(|(_, of)| *of < row) {
                self.others.extend(given_id(key, self.unit).map(|id| (key.1.cast_signed(), id)));
            }
            self.left.next_if(|(_, of)| *of == row).and_then(|key| given_id(key, self.unit))
        };
        rows.values().iter().copied().map(of_row).collect()
    }

    /// Those of the rows that were not asked for.
    fn others(mut self) -> Vec<(i64, [u8; 16])> {
        self.others.extend(self.left.filter_map(|key| Some((key.1.cast_signed(), given_id(key, self.unit)?))));
        self.others
    }
}

fn n_without_tokens(batch: &RecordBatch) -> Result<u64> {
    let n_shingles = column(batch, N_SHINGLES)?.as_primitive::<UInt32Type>();
    Ok(n_shingles.values().iter().filter(|&&n| n == 0).count() as u64)
}

/// The hash of an id. A row that is named after its place has none: in the whole input, its place is another, and nobody else's.
fn given_id((hash, row): &IdKey, unit: &Unit) -> Option<[u8; 16]> {
    let of_place = xxh3_128(format!("{}#{row}", unit.file.name).as_bytes());
    (*hash != of_place).then(|| hash.to_be_bytes())
}
