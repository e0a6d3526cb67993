//! A reading of units for embeddings, by which rows are compared.

use std::io::{Read, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};
use tamis_schemas::columns::{EMBEDDING, ROW};
use tamis_schemas::manifest::EmbeddingRecord;

use super::cuts::{Cuts, CutsOfBatch};
use super::fate::verdicts_so_far;
use super::pieces::slices;
use super::record::{Kind, Record, RecordWriter};
use super::scored::Work;
use super::stream::{Incoming, Outgoing};
use super::units::PlacedUnit;
use super::{Surroundings, Task};
use crate::Result;
use crate::dedup::LENGTH;
use crate::dedup::semantic::SemanticSettings;
use crate::run::embed::{Embedder, EmbeddingTally};
use crate::run::grain::Grain;
use crate::run::pass;
use crate::run::route::Carried;
use crate::run::semantic::{Compared, request};
use crate::run::verdict::Verdicts;
use crate::source::{Decoded, Inputs, batch_to_bytes};

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
    let columns = columns(settings, schema.schema(), embedder)?;
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
                for some in slices(&columns.project(&batch)?) {
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

/// What `fold` looks at: the columns of the keep order, and what tamis adds.
fn columns(settings: &SemanticSettings, input: &Schema, embedder: &Embedder) -> Result<Carried> {
    let names = settings.columns();
    let of_order = names.iter().map(|name| Ok(input.field_with_name(name)?.clone())).collect::<Result<Vec<_>>>()?;
    let embedding = embedder.schema().field(1).data_type().clone();
    let added = [(ROW, DataType::UInt64), (LENGTH, DataType::UInt64), (EMBEDDING, embedding)];
    let added = added.map(|(name, data_type)| Field::new(name, data_type, false));
    Ok(Carried::new(&Schema::new(of_order), &added))
}
