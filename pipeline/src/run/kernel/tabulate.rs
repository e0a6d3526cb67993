//! Rows that other kernels made go to their tables.

use std::io::{Read, Write};

use tamis_schemas::config::Table;

use super::record::{Kind, Record, RecordWriter, for_each_record};
use super::scored::table_of_code;
use super::stream::{Incoming, Outgoing};
use super::write::WrittenFile;
use super::{Surroundings, Task};
use crate::sink::{TableWriter, part_writer};
use crate::source::batch_of_bytes;
use crate::{Error, Result};

/// Writes the rows of a stream, sorted by unit, table and place.
pub(super) fn tabulate(
    task: Task<'_>,
    attempt: &str,
    input: &mut Incoming<impl Read>,
    output: Outgoing<impl Write>,
) -> Result<()> {
    let mut records = RecordWriter::begin(output)?;
    let (mut open, mut last): (Option<OpenTable>, _) = (None, None);
    for_each_record(input, |record| {
        let (Kind::TableRows, Some(unit)) = (record.kind, record.unit) else {
            return Err(Error::Invariant(format!("no table has records of kind {}", record.kind as u8)));
        };
        let table = table_of_code(record.b)?;
        let place = (unit, record.b, record.a);
        let is_next = match last.replace(place) {
            Some((unit, table, number)) if (unit, table) == (place.0, place.1) => place.2 == number + 1,
            last => place.2 == 0 && last.is_none_or(|(unit, table, _)| (unit, table) < (place.0, place.1)),
        };
        let unusable = |why: &str| {
            let (name, number) = (table.name(), record.a);
            Error::Invariant(format!("rows {number} of unit {unit} for `{name}` cannot be written: {why}"))
        };
        if !is_next {
            return Err(unusable("they come out of order, or twice, or those before are lost"));
        }
        if let Some(done) = open.take_if(|open| (open.unit, open.table) != (unit, table)) {
            done.finish(&mut records)?;
        }
        let batch = batch_of_bytes(&record.payload).map_err(|error| unusable(&error.to_string()))?;
        if batch.num_rows() as u64 != record.c {
            return Err(unusable("they are not as many as they must be"));
        }
        let open = match &mut open {
            Some(open) => open,
            none => {
                let Surroundings { stores, context, .. } = task.with;
                let stem = task.job.stem(unit, attempt);
                let (unique, runtime) = (task.plan.unique_columns(), context.runtime.handle());
                let writer = part_writer(task.config, table, &stem, batch.schema(), &unique, stores, runtime)?;
                none.insert(OpenTable { unit, table, writer })
            }
        };
        task.with.progress.add_rows(record.c);
        open.writer.write(&batch)
    })?;
    if let Some(done) = open {
        done.finish(&mut records)?;
    }
    records.finish()
}

/// The rows of a unit in a table.
struct OpenTable {
    unit: u64,
    table: Table,
    writer: TableWriter,
}

impl OpenTable {
    fn finish(self, records: &mut RecordWriter<impl Write>) -> Result<()> {
        let Self { unit, table, writer } = self;
        for record in writer.finish_part()?.files {
            records.push(&Record { unit: Some(unit), ..Record::json(Kind::File, &WrittenFile { table, record })? })?;
        }
        Ok(())
    }
}
