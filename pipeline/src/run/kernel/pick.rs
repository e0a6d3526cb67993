//! A reading of units for the rows of the batch.

use std::io::{Read, Write};
use std::sync::Arc;

use tamis_schemas::config::Table;

use super::Task;
use super::columns::{int64_lists, numbers_of};
use super::cuts::CutsOfBatch;
use super::pieces::Pieces;
use super::record::{Record, RecordWriter};
use super::scorer::{Scorer, ScorersOfStream};
use super::stream::{Incoming, Outgoing};
use super::units::PlacedUnit;
use crate::run::grain::Grain;
use crate::run::pass;
use crate::run::select::{predicted, predicts};
use crate::source::{Columns, Decoded, Inputs, Request};
use crate::{Error, Result, RowSet};

/// Reads the units of a stream that have chosen rows.
pub(super) fn pick(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let mut writer = RecordWriter::begin(output)?;
    let no_inputs = Inputs::none(&task.plan.source, task.with.context);
    let (mut scorers, mut scorer) = (ScorersOfStream::default(), None);
    while let Some(batch) = input.next()? {
        let (wanted, of_batch) = (int64_lists(&batch, "rows")?, ScorersOfStream::column(&batch)?);
        let cuts = CutsOfBatch::new(task, &batch)?;
        for (index, unit) in PlacedUnit::of_batch(&batch)?.iter().enumerate() {
            let learnt = scorers.next(&of_batch, index)?;
            let scorer = match &mut scorer {
                Some(scorer) => scorer,
                none => none.insert(Scorer::open(task, &no_inputs, learnt)?),
            };
            let rows: RowSet = numbers_of(&wanted, index).into_iter().collect();
            let n_wanted = rows.len();
            let mut pieces = Pieces::new(unit.number, |record| writer.push(&record));
            let n_found = read_unit(task, unit, (rows, &cuts.of_unit(task, unit, index)?.grain), scorer, &mut pieces)?;
            if n_found != n_wanted {
                return Err(Error::Invariant(format!(
                    "`{}` has {n_found} of the {n_wanted} rows that were chosen: did it change?",
                    unit.unit.file.name
                )));
            }
        }
    }
    writer.finish()
}

/// Hands on chosen rows with all their columns; gives how many they are.
fn read_unit(
    task: Task<'_>,
    unit: &PlacedUnit,
    (rows, grain): (RowSet, &Grain),
    scorer: &Scorer<'_>,
    pieces: &mut Pieces<impl FnMut(Record) -> Result<()>>,
) -> Result<u64> {
    let (inputs, schema) = unit.open(task)?;
    let scorer = &*scorer.opened.scorer;
    let predicts = predicts(scorer)?;
    let request = Request {
        columns: Columns::All,
        text: (predicts || grain.cutter.is_some()).then(|| task.plan.text.clone()),
        id: Some(task.plan.id.clone()),
        rows: Some(Arc::new(rows)),
    };
    let scan = inputs.scan(&schema, &request)?;
    task.with.progress.watch(inputs.total_bytes(), scan.bytes_read());
    let mut n_rows = 0;
    let work = |decoded: Decoded| {
        let batches = grain.cut(decoded)?.batches.into_iter().filter(|batch| batch.num_rows() > 0);
        batches.map(|rows| if predicts { predicted(rows, scorer) } else { Ok(rows) }).collect::<Result<Vec<_>>>()
    };
    pass::for_each(scan, task.with.context, work, |batches| {
        for batch in batches {
            task.with.progress.add_rows(batch.num_rows() as u64);
            n_rows += batch.num_rows() as u64;
            pieces.push(Table::Batch, &batch)?;
        }
        Ok(())
    })?;
    Ok(n_rows)
}
