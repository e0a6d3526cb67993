//! Compares the rows that share keys, bucket by bucket.

use std::collections::HashSet;
use std::io::{Read, Write};

use super::Task;
use super::columns::{binaries, int64s, number};
use super::record::{Record, RecordWriter};
use super::stream::{Incoming, Outgoing};
use crate::dedup::{BucketStream, glance_of_bytes};
use crate::{Error, Result};

/// Key of the metadata that holds the keys of large buckets.
const HOT_KEYS: &str = "tamis.hot_keys";

/// Compares the rows of a stream, which are sorted by key and position.
pub(super) fn bucket(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let context = task.with.context;
    let mut writer = RecordWriter::begin(output)?;
    let hot_keys: Vec<i64> = serde_json::from_str(input.metadata(HOT_KEYS).unwrap_or("[]"))
        .map_err(|error| Error::config(format!("`{HOT_KEYS}` is no list of numbers: {error}")))?;
    let hot_keys: HashSet<u64> = hot_keys.into_iter().map(i64::cast_unsigned).collect();
    let mut buckets = BucketStream::new(task.deduplicate()?, hot_keys, context);
    while let Some(batch) = input.next()? {
        context.cancel.check()?;
        task.with.progress.add_rows(batch.num_rows() as u64);
        let (keys, rows, sketches) = (int64s(&batch, "key")?, int64s(&batch, "row")?, binaries(&batch, "sketch")?);
        for index in 0..batch.num_rows() {
            let (key, row) = (number(&keys, index, "key")?, number(&rows, index, "row")?);
            buckets.push(key, row, glance_of_bytes(sketches.value(index)), context)?;
        }
    }
    buckets.finish(context, |handed| writer.push(&Record::of_handed(handed, false, |row| task.job.unit_of(row))?))?;
    writer.finish()
}
