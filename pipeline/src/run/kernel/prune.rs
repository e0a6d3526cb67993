//! Leaves out the pairs that the answer does not depend on.

use std::io::{Read, Write};

use super::Task;
use super::record::{Record, RecordWriter, for_each_record};
use super::stream::{Incoming, Outgoing};
use crate::Result;
use crate::dedup::Pruning;

/// Takes the records of all buckets, in any order.
pub(super) fn prune(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let context = task.with.context;
    let mut writer = RecordWriter::begin(output)?;
    let mut pruning = Pruning::new(task.deduplicate()?, task.job.rows, context);
    for_each_record(input, |record| {
        context.cancel.check()?;
        task.with.progress.add_rows(1);
        record.into_handed()?.map_or(Ok(()), |handed| pruning.push(&handed, context))
    })?;
    pruning.finish(context, |handed| writer.push(&Record::of_handed(handed, false, |row| task.job.unit_of(row))?))?;
    writer.finish()
}
