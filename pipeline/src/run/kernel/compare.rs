//! Finds the pairs among the fingerprints of all rows.

use std::io::{Read, Write};

use super::Task;
use super::columns::{binaries, int64_lists, int64s};
use super::record::{Record, RecordWriter};
use super::stream::{Incoming, Outgoing};
use crate::Result;
use crate::dedup::{FingerprintsOnWire, NearDuplicates};
use crate::stage::BarrierStage;

/// Compares the rows of a stream, which come in the order of their positions.
pub(super) fn compare(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let (settings, context) = (task.deduplicate()?, task.with.context);
    let mut writer = RecordWriter::begin(output)?;
    let (mut barrier, _) = NearDuplicates::new(settings, context)?;
    if let Some(index) = &task.job.index {
        barrier = barrier.against(index.lookup(task)?)?;
    }
    while let Some(batch) = input.next()? {
        context.cancel.check()?;
        let fingerprints = FingerprintsOnWire {
            row: int64s(&batch, "row")?,
            exact_key: binaries(&batch, "exact_key")?,
            n_shingles: int64s(&batch, "n_shingles")?,
            length: int64s(&batch, "length")?,
            sketch: binaries(&batch, "sketch")?,
            keys: int64_lists(&batch, "keys")?,
            group: binaries(&batch, "group")?,
            source: binaries(&batch, "source")?,
            order: binaries(&batch, "order")?,
        };
        let fingerprints = fingerprints.to_batch(settings)?;
        task.with.progress.add_rows(fingerprints.num_rows() as u64);
        barrier.observe(&fingerprints, context)?;
    }
    barrier
        .at_end(task.job.n_rows)
        .hand_over(context, |handed| writer.push(&Record::of_handed(handed, false, |row| task.job.unit_of(row))?))?;
    writer.finish()
}
