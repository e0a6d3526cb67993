//! Rows that other kernels made go to their tables.

use std::io::{Cursor, Read, Write};

use arrow::ipc::reader::StreamReader;
use tamis_schemas::config::Table;

use super::record::{Kind, Record, RecordWriter, for_each_record};
use super::scored::table_of_code;
use super::stream::{Incoming, Outgoing};
use super::write::WrittenFile;
use super::{Surroundings, Task};
use crate::sink::{TableWriter, part_writer};
use crate::{Error, Result};

/// Writes the rows of a stream, sorted by unit, table and place.
pub(super) fn tabulate(
    task: Task<'_>,
    attempt: &str,
    input: &mut Incoming<impl Read>,
    output: Outgoing<impl Write>,
) -> Result<()> {
    let mut records = RecordWriter::begin(output)?;
    let mut open: Option<OpenTable> = None;
    for_each_record(input, |record| {
        let (Kind::TableRows, Some(unit)) = (record.kind, record.unit) else {
            return Err(Error::Invariant(format!("no table has records of kind {}", record.kind as u8)));
        };
        let table = table_of_code(record.b)?;
        if !task.plan.writes(table) {
            return Ok(());
        }
        if let Some(done) = open.take_if(|open| (open.unit, open.table) != (unit, table)) {
            done.finish(&mut records)?;
        }
        let reader = StreamReader::try_new(Cursor::new(&record.payload), None)?;
        let open = match &mut open {
            Some(open) => open,
            none => {
                let Surroundings { stores, context, .. } = task.with;
                let stem = format!("{}{unit:05}-{attempt}", task.job.file_prefix());
                let (unique, runtime) = (task.plan.unique_columns(), context.runtime.handle());
                let writer = part_writer(task.config, table, &stem, reader.schema(), &unique, stores, runtime)?;
                none.insert(OpenTable { unit, table, writer })
            }
        };
        for batch in reader {
            let batch = batch?;
            task.with.progress.add_rows(batch.num_rows() as u64);
            open.writer.write(&batch)?;
        }
        Ok(())
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
