use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;

use crate::context::{Cancel, Context, Resources};
use crate::source::*;
use crate::store::Stores;
use crate::{Result, RowSet};

/// A folder with input files, and the means to read them.
pub(super) struct Folder {
    pub(super) dir: tempfile::TempDir,
    pub(super) context: Context,
    pub(super) options: SourceOptions,
}

/// What a pass gave, batches put together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pass {
    pub(super) rows: RecordBatch,
    pub(super) rejects: Vec<Reject>,
}

impl Folder {
    pub(super) fn new() -> Self {
        Self::with_batch_rows(8192)
    }

    pub(super) fn with_batch_rows(batch_rows: usize) -> Self {
        let resources = Resources { batch_rows, n_threads: 1, ..Resources::default() };
        Self {
            dir: tempfile::tempdir().unwrap(),
            context: Context::new(&resources, Cancel::default()).unwrap(),
            options: SourceOptions::default(),
        }
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The files at these paths in the folder.
    pub(super) fn inputs(&self, names: &[&str]) -> Result<Inputs> {
        let arguments: Vec<String> =
            names.iter().map(|name| self.dir.path().join(name).to_str().unwrap().to_owned()).collect();
        Inputs::discover(&arguments, &self.options, &Stores::new::<&str, &str>([]), &self.context)
    }

    /// All files of the folder.
    pub(super) fn all(&self) -> Inputs {
        self.inputs(&["."]).unwrap()
    }

    /// Surveys and scans all files with all columns.
    pub(super) fn read(&self, request: &Request) -> Result<(Pass, InputSchema, Pass)> {
        let inputs = self.inputs(&["."])?;
        let (survey, types) = survey(&inputs, request)?;
        let schema = inputs.resolve(types)?;
        let scan = scan(&inputs, &schema, request)?;
        Ok((survey, schema, scan))
    }

    /// The scanned rows as JSON lines, without the columns that the scan adds.
    pub(super) fn read_as_json(&self) -> String {
        let (_, schema, scan) = self.read(&everything()).unwrap();
        let n_columns = schema.schema().fields().len();
        as_json(&scan.rows.project(&(0..n_columns).collect::<Vec<_>>()).unwrap())
    }
}

/// Text and id of a column each, and all columns.
pub(super) fn request(text: &str, id: &str) -> Request {
    Request {
        columns: Columns::All,
        text: Some(TextExpression::column(text)),
        id: Some(IdSource::Column(id.into())),
        rows: None,
    }
}

/// All columns, nothing else.
pub(super) fn everything() -> Request {
    Request { columns: Columns::All, text: None, id: None, rows: None }
}

pub(super) fn only(request: &Request, rows: impl IntoIterator<Item = u64>) -> Request {
    Request { rows: Some(Arc::new(rows.into_iter().collect::<RowSet>())), ..request.clone() }
}

pub(super) fn survey(inputs: &Inputs, request: &Request) -> Result<(Pass, Types)> {
    let mut types = Types::default();
    let pass = drive(inputs, inputs.survey(request)?, &mut types)?;
    Ok((pass, types))
}

pub(super) fn scan(inputs: &Inputs, schema: &InputSchema, request: &Request) -> Result<Pass> {
    drive(inputs, inputs.scan(schema, request)?, &mut Types::default())
}

fn drive(inputs: &Inputs, mut scan: Scan, types: &mut Types) -> Result<Pass> {
    let schema: SchemaRef = scan.schema().clone();
    let bytes_read = scan.bytes_read();
    let (mut batches, mut rejects) = (Vec::new(), Vec::new());
    let mut blocks = Vec::new();
    while let Some(block) = scan.next_block()? {
        blocks.push(block);
    }
    // Decoded in any order, merged in block order.
    let mut decoded: Vec<_> =
        blocks.into_iter().enumerate().rev().map(|(index, block)| (index, block.decode())).collect();
    decoded.sort_by_key(|(index, _)| *index);
    for (_, decoded) in decoded {
        let decoded = decoded?;
        assert!(decoded.batches.iter().all(|batch| batch.num_rows() > 0));
        batches.extend(decoded.batches);
        rejects.extend(decoded.rejects);
        types.merge(decoded.types);
    }
    assert_eq!(bytes_read.load(std::sync::atomic::Ordering::Relaxed), inputs.total_bytes());
    Ok(Pass { rows: concat_batches(&schema, &batches).unwrap(), rejects })
}

pub(super) fn as_json(batch: &RecordBatch) -> String {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    String::from_utf8(writer.into_inner()).unwrap()
}

/// A column of text, null as `None`.
pub(super) fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = arrow::compute::cast(batch.column_by_name(name).unwrap(), &arrow::datatypes::DataType::Utf8).unwrap();
    let column = arrow::array::AsArray::as_string::<i32>(&column);
    column.iter().map(|text| text.map(str::to_owned)).collect()
}

/// Two gzip members.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let (left, right) = bytes.split_at(bytes.len() / 3);
    let mut out = Vec::new();
    for part in [left, right] {
        let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap();
    }
    out
}

/// Two zstd frames.
pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    let (left, right) = bytes.split_at(bytes.len() / 3);
    [left, right].iter().flat_map(|part| zstd::encode_all(*part, 1).unwrap()).collect()
}
