//! Finds the pairs among the fingerprints of all rows.

use std::io::{Read, Write};

use super::Task;
use super::columns::{binaries, int64_lists, int64s};
use super::record::{Record, RecordWriter};
use super::stream::{Incoming, Outgoing};
use crate::Result;
use crate::dedup::{NearDuplicates, fingerprints_of_wire};
use crate::stage::BarrierStage;

/// Compares the rows of a stream, which come in the order of their positions.
pub(super) fn compare(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let (settings, context) = (task.deduplicate()?, task.with.context);
    let mut writer = RecordWriter::begin(output)?;
    let (mut barrier, _) = NearDuplicates::new(settings, context)?;
    while let Some(batch) = input.next()? {
        context.cancel.check()?;
        let fingerprints = fingerprints_of_wire(
            settings,
            &int64s(&batch, "row")?,
            &binaries(&batch, "exact_key")?,
            &int64s(&batch, "n_shingles")?,
            &int64s(&batch, "length")?,
            &binaries(&batch, "sketch")?,
            &int64_lists(&batch, "keys")?,
        )?;
        task.with.progress.add_rows(fingerprints.num_rows() as u64);
        barrier.observe(&fingerprints, context)?;
    }
    barrier
        .hand_over(context, |handed| writer.push(&Record::of_handed(handed, false, |row| task.job.unit_of(row))?))?;
    writer.finish()
}
