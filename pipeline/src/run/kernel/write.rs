//! The last reading of units: their rows go to the tables.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tamis_schemas::columns::DUPLICATES;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::FileRecord;

use super::columns::{int64_lists, numbers_of};
use super::cuts::{Cuts, CutsOfBatch};
use super::fate::{rows_of_units, verdicts_of};
use super::record::{Kind, Record, RecordWriter};
use super::stream::{Incoming, Outgoing};
use super::units::PlacedUnit;
use super::{Surroundings, Task};
use crate::dedup::index::IndexRows;
use crate::dedup::{DuplicateCounts, Verdict};
use crate::run::grain::CutRows;
use crate::run::guards::Guards;
use crate::run::plan::Plan;
use crate::run::verdict::Verdicts;
use crate::run::write::{CarriedTables, Router};
use crate::run::{pass, rejects};
use crate::sink::{TableWriter, part_writer};
use crate::source::{InputSchema, Request};
use crate::{Error, Result, RowSet};

/// A file that was written.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WrittenFile {
    pub(super) table: Table,
    pub(super) record: FileRecord,
}

/// Where the rows of a unit went.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct WrittenRows {
    pub(super) kept: u64,
    pub(super) dropped: u64,
    pub(super) rejected: u64,
    pub(super) reasons: BTreeMap<String, u64>,
    /// Rows that something was cut out of, spans, and their bytes.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub(super) cuts: [u64; 3],
    /// Hash of what the task was told to cut.
    #[serde(default)]
    pub(super) told: u64,
}

fn is_nothing(counts: &[u64; 3]) -> bool {
    *counts == [0; 3]
}

/// Writes the units of a stream.
pub(super) fn write(
    task: Task<'_>,
    attempt: &str,
    input: &mut Incoming<impl Read>,
    output: Outgoing<impl Write>,
) -> Result<()> {
    let mut writer = RecordWriter::begin(output)?;
    while let Some(batch) = input.next()? {
        let (kept, counts) = (int64_lists(&batch, "kept")?, int64_lists(&batch, "counts")?);
        let control = task.plan.quality.as_ref().map(|_| rows_of_units(&batch, "control")).transpose()?;
        let (units, cuts) = (PlacedUnit::of_batch(&batch)?, CutsOfBatch::new(task, &batch)?);
        for (index, (unit, verdicts)) in units.iter().zip(verdicts_of(task, &batch, &units)?).enumerate() {
            let [kept, counts] = [&kept, &counts].map(|lists| numbers_of(lists, index));
            let control = control.as_ref().map(|of_units| Arc::new(of_units[index].clone()));
            let fate = Fate { verdicts, kept, counts, control, cuts: cuts.of_unit(task, unit, index)? };
            let stem = task.job.stem(unit.number, attempt);
            write_unit(task, unit, fate, &stem, |record| writer.push(&record))?;
        }
    }
    writer.finish()
}

/// What becomes of the rows of a unit.
struct Fate {
    verdicts: Verdicts,
    /// Rows that others are dropped for, and how many.
    kept: Vec<u64>,
    counts: Vec<u64>,
    /// Rows drawn to compare with what quality keeps.
    control: Option<Arc<RowSet>>,
    cuts: Cuts,
}

fn write_unit(
    task: Task<'_>,
    unit: &PlacedUnit,
    fate: Fate,
    stem: &str,
    mut to: impl FnMut(Record) -> Result<()>,
) -> Result<()> {
    let (config, Surroundings { context, progress, .. }) = (task.config, task.with);
    let (inputs, schema) = unit.open(task)?;
    let has_ids = task.plan.needs_text(config);
    let dropped = fate.verdicts.near_duplicates.as_ref().map(Verdict::dropped).unwrap_or_default();
    let named: RowSet = dropped.iter().chain(fate.kept.iter().copied()).chain(unit.contaminated.iter()).collect();
    let carried = CarriedTables::new(task.plan, config, &schema, has_counts(task.plan));
    let duplicates = has_counts(task.plan)
        .then(|| DuplicateCounts::of(fate.kept.iter().copied().zip(fate.counts.iter().copied()), context))
        .transpose()?;
    let run = task.run(&inputs);
    let source = Guards::new(run).and_then(|guards| guards.source());
    let index = task.job.index.as_ref();
    let index_rows = index.map(|_| IndexRows::new(task.deduplicate()?)).transpose()?;
    let mut addition = index.map(|index| index.addition(stem, task)).transpose()?;
    let router = Router::of_verdicts(&inputs, fate.verdicts, source, duplicates, &carried, task.plan, context)
        .indexing(index_rows.as_ref())
        .controlling(fate.control)
        .cutting(fate.cuts.grain.cutter.as_ref());
    let request = Request {
        columns: router.columns(),
        // A rejected row of a table shows what it was to be made of.
        text: (index_rows.is_some() || fate.cuts.grain.cutter.is_some() || has_ids && unit.has_rejected())
            .then(|| task.plan.text.clone()),
        id: has_ids.then(|| task.plan.id.clone()),
        rows: None,
    };
    let mut tables = Tables::open(task, &carried, stem)?;
    let mut rows = WrittenRows::default();
    let mut cut_rows = CutRows::new(run, &fate.cuts.grain);
    let (holders, ids_of_holders) = fate.cuts.holders();
    cut_rows.observe_ids(&holders, &ids_of_holders)?;
    let scan = inputs.scan(&schema, &request)?;
    progress.watch(inputs.total_bytes(), scan.bytes_read());
    pass::for_each(
        scan,
        context,
        |decoded| {
            let rejects = rejects::to_batch(&decoded.rejects, &inputs)?;
            Ok((rejects, router.route(decoded)?))
        },
        |(rejects, routed)| {
            rows.rejected += rejects.num_rows() as u64;
            tables.write(Table::Rejected, &rejects)?;
            for routed in routed {
                progress.add_rows(routed.n_kept + routed.n_dropped);
                rows.kept += routed.n_kept;
                rows.dropped += routed.n_dropped;
                for (reason, n_rows) in routed.reasons {
                    *rows.reasons.entry(reason).or_default() += n_rows;
                }
                cut_rows.push(routed.spans)?;
                tables.write(Table::Kept, &routed.kept)?;
                tables.write(Table::Dropped, &routed.dropped)?;
                routed.control.iter().try_for_each(|rows| tables.write(Table::Control, rows))?;
                if let (Some(addition), Some(rows)) = (&mut addition, &routed.indexed) {
                    addition.write(rows, context)?;
                }
                if let Some(tallies) = routed.tallies {
                    let payload = tallies.to_bytes().map_err(|error| Error::Invariant(format!("no bytes: {error}")))?;
                    to(Record { unit: Some(unit.number), payload, ..Record::new(Kind::Sources) })?;
                }
                let Some((positions, ids)) = routed.ids else { continue };
                for (&position, id) in
                    positions.values().iter().zip(ids.iter()).filter(|(row, _)| named.contains(**row))
                {
                    let payload = id.unwrap_or_default().as_bytes().to_vec();
                    to(Record { unit: Some(unit.number), a: position, payload, ..Record::new(Kind::Id) })?;
                }
            }
            Ok(())
        },
    )?;
    let cut = cut_rows.finish_with(|spans| tables.write(Table::Spans, spans))?;
    rows.cuts = [cut.cut_rows, cut.cut_spans, cut.cut_bytes];
    rows.told = fate.cuts.hash;
    for (table, writer) in tables.0 {
        for record in writer.finish_part()?.files {
            to(Record { unit: Some(unit.number), ..Record::json(Kind::File, &WrittenFile { table, record })? })?;
        }
    }
    let staged = addition.map(|addition| addition.finish(context)).transpose()?.flatten();
    if let (Some(index), Some(staged)) = (index, staged) {
        to(Record {
            unit: Some(unit.number),
            a: unit.number,
            ..Record::json(Kind::Segment, &staged.record(index.now()))?
        })?;
        staged.keep();
    }
    to(Record { unit: Some(unit.number), a: unit.number, ..Record::json(Kind::Rows, &rows)? })
}

/// Whether kept rows say how many they stand for.
pub(super) fn has_counts(plan: &Plan) -> bool {
    (plan.deduplicate.is_some() || plan.semantic.is_some()) && plan.writes(Table::Kept)
}

/// The files of a unit, table by table.
struct Tables(BTreeMap<Table, TableWriter>);

impl Tables {
    fn open(task: Task<'_>, carried: &CarriedTables, stem: &str) -> Result<Self> {
        let Surroundings { stores, context, .. } = task.with;
        let open = |(table, schema)| {
            let unique_columns = task.plan.unique_columns();
            let runtime = context.runtime.handle();
            Ok((table, part_writer(task.config, table, stem, schema, &unique_columns, stores, runtime)?))
        };
        let wanted = carried.schemas().into_iter().filter(|(table, _)| task.plan.writes(*table));
        Ok(Self(wanted.map(open).collect::<Result<_>>()?))
    }

    fn write(&mut self, table: Table, batch: &arrow::array::RecordBatch) -> Result<()> {
        match self.0.get_mut(&table) {
            Some(writer) if batch.num_rows() > 0 => writer.write(batch),
            _ => Ok(()),
        }
    }
}

/// # Errors
/// `Error::Config` if the input says how many rows each of its rows stands for, and rows are dropped: those of a dropped row are not known
/// where the row is written that stays for it.
pub(super) fn check_counts(schema: &InputSchema, is_deduplicated: bool) -> Result<()> {
    let brings_counts = schema.schema().field_with_name(DUPLICATES).is_ok_and(|field| field.data_type().is_integer());
    if brings_counts && is_deduplicated {
        return Err(Error::Config {
            message: format!(
                "the input has counts of duplicates (`{DUPLICATES}`), which a cluster does not sum up yet"
            ),
            hint: Some("run on one machine, or take the column out".into()),
        });
    }
    Ok(())
}
