//! Finds which rows have to be decided together.

use std::io::{Read, Write};

use super::Task;
use super::record::{Kind, Record, RecordWriter, for_each_record};
use super::stream::{Incoming, Outgoing};
use crate::Result;
use crate::dedup::Links;

/// Links the rows of the pairs of a stream, which may be any of all.
pub(super) fn link(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let context = task.with.context;
    let mut writer = RecordWriter::begin(output)?;
    let mut links = Links::new(context);
    let record_of = |(a, b)| Record { a, b, ..Record::new(Kind::Link) };
    for_each_record(input, |record| {
        context.cancel.check()?;
        task.with.progress.add_rows(1);
        let Some(handed) = record.into_handed()? else { return Ok(()) };
        links.push(&handed)?.into_iter().try_for_each(|link| writer.push(&record_of(link)))
    })?;
    links.finish().into_iter().try_for_each(|link| writer.push(&record_of(link)))?;
    writer.finish()
}
