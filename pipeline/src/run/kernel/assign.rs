//! Decides which rows are dropped for which.

use std::io::{Read, Write};

use super::Task;
use super::prune::part_of;
use super::record::{Record, RecordWriter, for_each_record};
use super::stream::{Incoming, Outgoing};
use crate::Result;
use crate::dedup::Assignment;

/// Decides by the records of a stream, which are sorted by kind, `a` and `b`.
pub(super) fn assign(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let context = task.with.context;
    let mut writer = RecordWriter::begin(output)?;
    let mut assignment = Assignment::new(task.deduplicate()?, part_of(input)?, context);
    let mut n_records = 0;
    for_each_record(input, |record| {
        context.cancel.check()?;
        task.with.progress.add_rows(1);
        n_records += 1;
        match record.into_handed()? {
            Some(handed) => assignment.push(handed, context),
            None => Ok(()),
        }
    })?;
    assignment.finish(context, |handed| {
        let record = Record::of_handed(handed, true, |row| task.job.unit_of(row))?;
        writer.push(&record.with_count(n_records))
    })?;
    writer.finish()
}
