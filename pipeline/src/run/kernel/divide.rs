//! A reading of units for the paragraphs or lines of rows that stay so far.

use std::io::{Read, Write};

use arrow::array::{RecordBatch, StringArray};
use tamis_schemas::config::Table;

use super::Task;
use super::fate::verdicts_so_far;
use super::record::{Kind, Record, RecordWriter};
use super::stream::{Incoming, Outgoing};
use super::units::PlacedUnit;
use crate::Result;
use crate::dedup::Verdict;
use crate::dedup::grain::{UnitKeys, for_each_row};
use crate::run::ids::ids_of;
use crate::run::pass;
use crate::run::verdict::Verdicts;
use crate::source::{Columns, Decoded, Request};
use crate::stage::MapStage as _;

/// Reads the units of a stream.
pub(super) fn divide(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let (settings, _) = task.duplicate_units()?;
    let keys = UnitKeys::new(settings, Verdict::default());
    let mut writer = RecordWriter::begin(output)?;
    while let Some(batch) = input.next()? {
        let units = PlacedUnit::of_batch(&batch)?;
        for (unit, verdicts) in units.iter().zip(verdicts_so_far(task, &batch, &units)?) {
            read_unit(task, &keys, unit, &verdicts, |record| {
                writer.push(&Record { unit: Some(unit.number), ..record })
            })?;
        }
    }
    writer.finish()
}

fn read_unit(
    task: Task<'_>,
    keys: &UnitKeys,
    unit: &PlacedUnit,
    verdicts: &Verdicts,
    mut to: impl FnMut(Record) -> Result<()>,
) -> Result<()> {
    let (inputs, schema) = unit.open(task)?;
    // Of rows that hold what is cut elsewhere, the table of that names the ids.
    let id = task.plan.writes(Table::Spans).then(|| task.plan.id.clone());
    let request =
        Request { columns: Columns::Named(Vec::new()), text: Some(task.plan.text.clone()), id: id.clone(), rows: None };
    let scan = inputs.scan(&schema, &request)?;
    task.with.progress.watch(inputs.total_bytes(), scan.bytes_read());
    let divided = |batch: RecordBatch| {
        let batch = verdicts.staying(batch)?;
        let ids = id.is_some().then(|| ids_of(&batch).cloned()).transpose()?;
        Ok((ids, keys.apply(batch)?))
    };
    let (mut n_read, mut n_rows, mut n_paragraphs) = (0, 0, 0);
    pass::for_each(
        scan,
        task.with.context,
        |Decoded { batches, .. }| batches.into_iter().map(divided).collect::<Result<Vec<(Option<StringArray>, _)>>>(),
        |divided| {
            for (ids, batch) in divided {
                task.with.progress.add_rows(batch.num_rows() as u64);
                n_read += batch.num_rows() as u64;
                let mut ids = ids.iter().flatten();
                for_each_row(&batch, |row, n_chars, paragraphs| {
                    let id = ids.next().flatten().unwrap_or_default();
                    if paragraphs.is_empty() {
                        return Ok(());
                    }
                    n_rows += 1;
                    n_paragraphs += paragraphs.len() as u64;
                    let payload = id.as_bytes().to_vec();
                    to(Record { a: row, c: n_chars, payload, ..Record::new(Kind::DividedRow) })?;
                    for &[high, low, place] in paragraphs {
                        let payload = [high.to_be_bytes(), low.to_be_bytes()].concat();
                        to(Record { a: row, b: place, payload, ..Record::new(Kind::Paragraph) })?;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        },
    )?;
    to(Record { a: n_rows, b: n_paragraphs, c: n_read, ..Record::new(Kind::DividedUnit) })
}
