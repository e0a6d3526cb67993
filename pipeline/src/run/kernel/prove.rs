//! The second reading of units: the sets of rows in pairs that sketches left open.

use std::io::{Read, Write};
use std::sync::Arc;

use super::Task;
use super::columns::{int64_lists, numbers_of};
use super::record::{Record, RecordWriter};
use super::stream::{Incoming, Outgoing};
use super::units::PlacedUnit;
use crate::dedup::{Handed, ShingleSets, sets_of};
use crate::run::pass;
use crate::run::survey::{Stages, Work};
use crate::source::{Columns, Request};
use crate::{Error, Result, RowSet};

/// Reads the units of a stream, each once.
pub(super) fn prove(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let mut writer = RecordWriter::begin(output)?;
    while let Some(batch) = input.next()? {
        let wanted = int64_lists(&batch, "rows")?;
        for (index, unit) in PlacedUnit::of_batch(&batch)?.iter().enumerate() {
            let rows: RowSet = numbers_of(&wanted, index).into_iter().collect();
            let n_wanted = rows.len();
            let n_found = read_unit(task, unit, rows, |handed| {
                writer.push(&Record::of_handed(handed, false, |_| Some(unit.number))?)
            })?;
            if n_found != n_wanted {
                return Err(Error::Invariant(format!(
                    "`{}` has {n_found} of the {n_wanted} rows that it had before: did it change?",
                    unit.unit.file.name
                )));
            }
        }
    }
    writer.finish()
}

/// Hands on the sets of some rows; gives how many they are.
fn read_unit(task: Task<'_>, unit: &PlacedUnit, rows: RowSet, mut to: impl FnMut(Handed) -> Result<()>) -> Result<u64> {
    let (inputs, schema) = unit.open(task)?;
    let request = Request {
        columns: Columns::Named(Vec::new()),
        text: Some(task.plan.text.clone()),
        id: None,
        rows: Some(Arc::new(rows)),
    };
    let scan = inputs.scan(&schema, &request)?;
    task.with.progress.watch(inputs.total_bytes(), scan.bytes_read());
    let map = ShingleSets::new(task.deduplicate()?);
    let stages = Stages { map: Some(&map), ..Stages::default() };
    let mut n_rows = 0;
    pass::for_each(
        scan,
        task.with.context,
        |decoded| Work::new(decoded, stages, false),
        |work| {
            for batch in &work.mapped {
                task.with.progress.add_rows(batch.num_rows() as u64);
                for (row, set) in sets_of(batch)? {
                    n_rows += 1;
                    to(Handed::Set { row, shingles: set.to_vec() })?;
                }
            }
            Ok(())
        },
    )?;
    Ok(n_rows)
}
