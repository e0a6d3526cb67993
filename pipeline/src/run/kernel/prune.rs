//! Leaves out the pairs that the answer does not depend on.

use std::io::{Read, Write};

use super::Task;
use super::record::{Record, RecordWriter, for_each_record};
use super::stream::{Incoming, Outgoing};
use crate::dedup::{Part, Pruning};
use crate::{Error, Result};

/// Key of the metadata that says in how many tasks it is decided who is dropped.
const PARTS: &str = "tamis.parts";

/// Takes the records of all buckets, or of a part of the pairs, in any order.
pub(super) fn prune(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let context = task.with.context;
    let mut writer = RecordWriter::begin(output)?;
    let mut pruning = Pruning::new(task.deduplicate()?, task.job.rows, part_of(input)?, context);
    let mut n_records = 0;
    for_each_record(input, |record| {
        context.cancel.check()?;
        task.with.progress.add_rows(1);
        n_records += 1;
        record.into_handed()?.map_or(Ok(()), |handed| pruning.push(&handed, context))
    })?;
    pruning.finish(context, |handed| {
        let record = Record::of_handed(handed, false, |row| task.job.unit_of(row))?;
        writer.push(&record.with_count(n_records))
    })?;
    writer.finish()
}

/// What of the pairs comes in a stream.
pub(super) fn part_of(input: &Incoming<impl Read>) -> Result<Part> {
    match input.metadata(PARTS).unwrap_or("1").parse::<u32>() {
        Ok(1) => Ok(Part::All),
        Ok(2..) => Ok(Part::Some),
        _ => Err(Error::config(format!("`{PARTS}` is no number of tasks"))),
    }
}
