//! Tables of a ledger: small Parquet files, named by the hash of their bytes.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use sha2::{Digest, Sha256};
use tamis_schemas::manifest::FileRecord;

use crate::sink::hex;
use crate::{Error, Result};

/// Hexadecimal digits of a hash in a file's name.
const NAME_DIGITS: usize = 16;

/// A table as a file that is not written yet.
#[derive(Debug)]
pub(super) struct TableFile {
    pub(super) bytes: Vec<u8>,
    /// What a round says of it; the path is still missing.
    pub(super) record: FileRecord,
}

impl TableFile {
    pub(super) fn new(table: &RecordBatch) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("tamis ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let failed =
            |error: parquet::errors::ParquetError| Error::Invariant(format!("a table is not Parquet: {error}"));
        let mut writer = ArrowWriter::try_new(Vec::new(), table.schema(), Some(properties)).map_err(failed)?;
        writer.write(table).map_err(failed)?;
        let bytes = writer.into_inner().map_err(failed)?;
        let record = FileRecord {
            rows: table.num_rows() as u64,
            bytes: bytes.len() as u64,
            sha256: hex(&Sha256::digest(&bytes)),
            ..FileRecord::default()
        };
        Ok(Self { bytes, record })
    }

    /// The part of its name that no other content has.
    pub(super) fn hash(&self) -> &str {
        &self.record.sha256[..NAME_DIGITS]
    }
}

/// Whether the name of a file ends in the hash of its bytes.
pub(super) fn is_named_by(name: &str, bytes: &[u8]) -> bool {
    let stem = name.strip_suffix(".parquet").unwrap_or(name);
    hex(&Sha256::digest(bytes)).get(..NAME_DIGITS).is_some_and(|hash| stem.ends_with(hash))
}

/// The rows of a file.
///
/// # Errors
/// `Error::Corrupt` if it is no Parquet file.
pub(super) fn read(location: &str, bytes: Bytes) -> Result<RecordBatch> {
    let damaged = |message: String| Error::Corrupt { location: location.to_owned(), format: "a Parquet file", message };
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| damaged(error.to_string()))?;
    let schema = reader.schema().clone();
    let batches = reader.build().map_err(|error| damaged(error.to_string()))?;
    let batches: Vec<RecordBatch> = batches.collect::<Result<_, _>>().map_err(|error| damaged(error.to_string()))?;
    Ok(concat_batches(&schema, &batches)?)
}
