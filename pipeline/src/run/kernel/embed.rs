//! A reading of units for embeddings, by which rows are compared.

use std::io::{Read, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use serde::{Deserialize, Serialize};
use tamis_schemas::columns::{EMBEDDING, PREFIX, ROW};
use tamis_schemas::manifest::EmbeddingRecord;

use super::cuts::{Cuts, CutsOfBatch};
use super::fate::verdicts_so_far;
use super::pieces::slices;
use super::record::{Kind, Record, RecordWriter};
use super::scored::Work;
use super::stream::{Incoming, Outgoing};
use super::units::PlacedUnit;
use super::{Surroundings, Task};
use crate::dedup::LENGTH;
use crate::run::embed::{Embedder, EmbeddingTally};
use crate::run::grain::Grain;
use crate::run::pass;
use crate::run::semantic::{Compared, request};
use crate::run::verdict::Verdicts;
use crate::source::{Decoded, Inputs, batch_to_bytes};
use crate::{Error, Result};

/// What was embedded of a unit, but for the vectors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EmbeddedUnit {
    pub(super) rows: u64,
    /// Rows without a word that the encoder knows.
    pub(super) blank: u64,
    pub(super) work: Work,
    /// Of the first unit only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<EmbeddingRecord>,
}

/// Embeds the rows of the units of a stream that stay so far.
pub(super) fn embed(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let plan = task.semantic()?;
    let mut writer = RecordWriter::begin(output)?;
    let no_inputs = Inputs::none(&task.plan.source, task.with.context);
    let mut embedder = None;
    while let Some(batch) = input.next()? {
        let (units, cuts) = (PlacedUnit::of_batch(&batch)?, CutsOfBatch::new(task, &batch)?);
        for (index, (unit, verdicts)) in units.iter().zip(verdicts_so_far(task, &batch, &units)?).enumerate() {
            if embedder.is_none() {
                embedder = Embedder::open(task.run(&no_inputs), Some(&plan.embed), None, task.with.stores)?;
            }
            let Some(embedder) = &embedder else { continue };
            if let Some(of_run) = &task.job.semantic {
                of_run.check_model(&plan.embed.model, embedder.fingerprint())?;
            }
            let Cuts { grain, .. } = cuts.of_unit(task, unit, index)?;
            let embedded = read_unit(task, embedder, unit, (&verdicts, &grain), |record| writer.push(&record))?;
            writer.push(&embedded)?;
        }
    }
    writer.finish()
}

/// Hands on the vectors; gives what is said of the unit.
fn read_unit(
    task: Task<'_>,
    embedder: &Embedder,
    unit: &PlacedUnit,
    (verdicts, grain): (&Verdicts, &Grain),
    mut to: impl FnMut(Record) -> Result<()>,
) -> Result<Record> {
    let Surroundings { context, progress, .. } = task.with;
    let settings = &task.semantic()?.settings;
    let (inputs, schema) = unit.open(task)?;
    let scan = inputs.scan(&schema, &request(task.plan, settings))?;
    progress.watch(inputs.total_bytes(), scan.bytes_read());
    let columns =
        [ROW.to_owned(), LENGTH.to_owned()].into_iter().chain(settings.columns()).chain([EMBEDDING.to_owned()]);
    let columns: Vec<String> = columns.collect();
    let work = |batch: RecordBatch| Compared::new(&grain.cut_batch(verdicts.staying(batch)?)?, embedder, context);
    let mut tally = EmbeddingTally::new(embedder, context);
    let (mut rows, mut blank, mut n_pieces) = (0, 0, 0);
    pass::for_each(
        scan,
        context,
        |Decoded { batches, .. }| batches.into_iter().map(work).collect::<Result<Vec<_>>>(),
        |compared| {
            for Compared { n_blank, rows: batch, embedded } in compared {
                progress.add_rows(n_blank + batch.num_rows() as u64);
                rows += batch.num_rows() as u64;
                blank += n_blank;
                tally.observe(embedded)?;
                for some in slices(&columns_of(&batch, &columns)?) {
                    let payload = batch_to_bytes(&some)?;
                    to(Record { unit: Some(unit.number), a: n_pieces, payload, ..Record::new(Kind::Embedded) })?;
                    n_pieces += 1;
                }
            }
            Ok(())
        },
    )?;
    let record = tally.finish()?;
    let first = (unit.number == 0).then(|| record.clone());
    let embedded = EmbeddedUnit { rows, blank, work: Work::of_embedding(&record), first };
    Ok(Record {
        unit: Some(unit.number),
        a: rows,
        b: blank,
        c: n_pieces,
        ..Record::json(Kind::EmbeddedUnit, &embedded)?
    })
}

/// Columns of a batch. Where two share a name, the first one is the input's, the last one tamis's.
fn columns_of(batch: &RecordBatch, names: &[String]) -> Result<RecordBatch> {
    let place = |name: &String| {
        let mut fields = batch.schema_ref().fields().iter();
        let is_it = |field: &Arc<Field>| field.name() == name;
        let place = if name.starts_with(PREFIX) { fields.rposition(is_it) } else { fields.position(is_it) };
        place.ok_or_else(|| Error::Invariant(format!("there is no column `{name}` to compare by")))
    };
    Ok(batch.project(&names.iter().map(place).collect::<Result<Vec<_>>>()?)?)
}
