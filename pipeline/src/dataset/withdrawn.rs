//! Ids of kept rows that leave an output: the index over runs learns of them after the commit.

use std::collections::HashSet;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use sha2::{Digest, Sha256};
use tamis_schemas::columns;
use tamis_schemas::manifest::FileRecord;

use crate::place::Place;
use crate::sink::hex;
use crate::{Error, Result};

/// Folder of the ids.
pub(crate) const WITHDRAWN: &str = "_tamis/withdrawn";

/// Writes the ids that leave with a run.
pub(super) fn write(home: &Place, run: &str, ids: &HashSet<String>) -> Result<FileRecord> {
    let mut sorted: Vec<&str> = ids.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let column = Arc::new(StringArray::from_iter_values(sorted)) as _;
    let batch = RecordBatch::try_from_iter([(columns::ID, column)])?;
    let mut writer = FileWriter::try_new(Vec::new(), batch.schema_ref())?;
    writer.write(&batch)?;
    let bytes = writer.into_inner()?;
    let record = FileRecord {
        path: format!("{WITHDRAWN}/{run}.arrow"),
        rows: ids.len() as u64,
        bytes: bytes.len() as u64,
        sha256: hex(&Sha256::digest(&bytes)),
        ..FileRecord::default()
    };
    home.put(&record.path, bytes)?;
    Ok(record)
}

/// Reads ids that left with an earlier run.
pub(super) fn read(home: &Place, record: &FileRecord) -> Result<HashSet<String>> {
    let damaged = |message: String| Error::Corrupt {
        location: home.display(&record.path),
        format: "the ids that a run withdrew",
        message,
    };
    let (bytes, _) = home.get_if_there(&record.path)?.ok_or_else(|| damaged("it is not there".into()))?;
    if hex(&Sha256::digest(&bytes)) != record.sha256 {
        return Err(damaged("its SHA-256 is not that of what was written".into()));
    }
    let mut ids = HashSet::new();
    for batch in FileReader::try_new(Cursor::new(bytes), None)? {
        let batch = batch?;
        let column = batch.columns().first().and_then(|column| column.as_string_opt::<i32>());
        let column = column.ok_or_else(|| damaged("it has no ids".into()))?;
        ids.extend(column.iter().flatten().map(str::to_owned));
    }
    Ok(ids)
}
