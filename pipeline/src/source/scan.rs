//! A pass over the input: files one after the other, in blocks that are decoded on any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::ahead::ReadAhead;
use super::batch::{self, Body, check_special_columns};
use super::csv::{self, Header};
use super::decompress::TextReader;
use super::fetch::{RangeReader, StoredFile};
use super::format::{Format, TextDocuments};
use super::inputs::Shared;
use super::ipc::IpcReader;
use super::parquet::ParquetFile;
use super::plan::{FileFacts, Mode, Output, PlaceInFile, Plan};
use super::records::{Framing, RecordBlock, RecordReader};
use super::{Decoded, InputFile, json, text};
use crate::{Error, Result};

/// A pass over the input. One thread drives it: it reads, decompresses and finds the rows.
pub struct Scan {
    shared: Arc<Shared>,
    plan: Arc<Plan>,
    next_file: usize,
    /// Position of the first row of the next file in the whole input.
    next_base_row: u64,
    file: Option<OpenFile>,
    ahead: ReadAhead,
    /// Bytes of the files before this one.
    done_bytes: u64,
    bytes_read: Arc<AtomicU64>,
}

/// Some rows of one file, to be decoded on any thread, in any order.
pub struct Block {
    plan: Arc<Plan>,
    file: Arc<FileContext>,
    n_rows: u64,
    body: BlockBody,
}

enum BlockBody {
    Records {
        block: RecordBlock,
        damage: Option<String>,
    },
    Table(Body),
    /// The end of a file: nothing but its schema.
    End,
}

/// What the blocks of a file share.
struct FileContext {
    facts: FileFacts,
    format: FileFormat,
}

/// Format of a file, and what its beginning says.
enum FileFormat {
    Json,
    Csv(Option<Header>),
    Text,
    Table(SchemaRef),
}

struct OpenFile {
    context: Arc<FileContext>,
    reader: Reader,
    /// Rows read so far, wanted or not.
    n_rows: u64,
    /// A block to be filled again.
    spare: RecordBlock,
}

enum Reader {
    Records(Box<RecordReader>),
    Parquet(Box<ParquetFile>),
    Ipc(Box<IpcReader>),
    Done,
}

impl Scan {
    pub(super) fn new(shared: Arc<Shared>, plan: Plan) -> Self {
        Self {
            next_base_row: shared.base_row,
            shared,
            plan: Arc::new(plan),
            next_file: 0,
            file: None,
            ahead: ReadAhead::default(),
            done_bytes: 0,
            bytes_read: Arc::default(),
        }
    }

    /// Schema of the batches: `[input columns ...] tamis_row [tamis_text] [tamis_id]`.
    pub fn schema(&self) -> &SchemaRef {
        &self.plan.schema
    }

    /// Bytes of the input, as stored, that were read or skipped so far; at the end [`Inputs::total_bytes`].
    ///
    /// [`Inputs::total_bytes`]: super::Inputs::total_bytes
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        self.bytes_read.clone()
    }

    /// The next block; `None` at the end of the input. Blocks come in the order of the rows.
    ///
    /// # Errors
    /// What a file is unreadable or corrupt for; `Error::Interrupted` when the run is cancelled.
    pub fn next_block(&mut self) -> Result<Option<Block>> {
        loop {
            self.shared.cancel.check()?;
            let Some(file) = &mut self.file else {
                if self.next_file == self.shared.files.len() {
                    return Ok(None);
                }
                self.open_next()?;
                continue;
            };
            let step = file.next(&self.plan)?;
            let size_bytes = self.shared.files[self.next_file - 1].size_bytes;
            let position = file.reader.position().min(size_bytes);
            self.bytes_read.store(self.done_bytes + position, Ordering::Relaxed);
            match step {
                Step::Block(block) => return Ok(Some(block)),
                Step::Nothing => {}
                Step::End => {
                    self.next_base_row += file.n_rows;
                    self.end_file(size_bytes);
                }
            }
        }
    }

    fn end_file(&mut self, size_bytes: u64) {
        self.file = None;
        self.done_bytes += size_bytes;
        self.bytes_read.store(self.done_bytes, Ordering::Relaxed);
    }

    fn open_next(&mut self) -> Result<()> {
        let index = self.next_file;
        let file = &self.shared.files[index];
        self.next_file += 1;
        if let Mode::Typed(schema) = &self.plan.mode {
            let n_rows = schema.file_rows()[index];
            if !self.plan.wants_any(self.next_base_row, self.next_base_row + n_rows) {
                self.next_base_row += n_rows;
                let size_bytes = file.size_bytes;
                self.end_file(size_bytes);
                return Ok(());
            }
        }
        let Shared { files, stored, .. } = &*self.shared;
        let from = if index == 0 { self.shared.from.clone() } else { PlaceInFile::default() };
        let facts = FileFacts { index, name: file.name.clone(), base_row: self.next_base_row, from };
        // Of some rows only, most files may have none.
        let read = || match self.plan.rows {
            None => self.ahead.take(index, files, stored),
            Some(_) => RangeReader::new(stored[index].clone()),
        };
        self.file = Some(OpenFile::open(file, &stored[index], read, facts, &self.plan)?);
        Ok(())
    }
}

impl OpenFile {
    fn open(
        file: &InputFile,
        stored: &Arc<StoredFile>,
        read: impl FnOnce() -> RangeReader,
        facts: FileFacts,
        plan: &Plan,
    ) -> Result<Self> {
        let table = |schema: SchemaRef| -> Result<FileFormat> {
            check_names(&schema, &file.name)?;
            check_special_columns(&plan.special, &schema, &file.name)?;
            Ok(FileFormat::Table(schema))
        };
        let (reader, format) = match file.format {
            Format::Parquet => {
                let reader = ParquetFile::open(stored, plan, &facts.from)?;
                let schema = reader.schema().clone();
                (Reader::Parquet(Box::new(reader)), table(schema)?)
            }
            Format::Arrow => {
                let reader = IpcReader::open(stored, plan)?;
                let schema = reader.schema();
                (Reader::Ipc(Box::new(reader)), table(schema)?)
            }
            Format::JsonLines => {
                let mut reader = record_reader(file, read(), Framing::Lines, plan, &facts.from)?;
                if facts.from.byte == 0 {
                    check_lines(&mut reader, &file.name)?;
                }
                (Reader::Records(Box::new(reader)), FileFormat::Json)
            }
            Format::Csv => csv_reader(file, read(), b',', plan)?,
            Format::Tsv => csv_reader(file, read(), b'\t', plan)?,
            Format::Text => {
                check_special_columns(&plan.special, &text_schema(), &file.name)?;
                let framing = match plan.options.text_documents {
                    TextDocuments::Lines => Framing::Lines,
                    TextDocuments::Files => Framing::File,
                };
                (Reader::Records(Box::new(record_reader(file, read(), framing, plan, &facts.from)?)), FileFormat::Text)
            }
        };
        let n_rows = facts.from.row;
        Ok(Self { context: Arc::new(FileContext { facts, format }), reader, n_rows, spare: RecordBlock::default() })
    }

    /// Reads on: to the next block, and once more after the last one.
    fn next(&mut self, plan: &Arc<Plan>) -> Result<Step> {
        let facts = &self.context.facts;
        let rows_before = self.n_rows;
        let body = match &mut self.reader {
            Reader::Done => return Ok(Step::End),
            Reader::Records(reader) => {
                let mut block = std::mem::take(&mut self.spare);
                if reader.next(&mut block)? {
                    let first_position = facts.base_row + block.first_row;
                    self.n_rows += block.n_rows();
                    if !plan.wants_any(first_position, facts.base_row + self.n_rows) {
                        self.spare = block;
                        return Ok(Step::Nothing);
                    }
                    let damage = reader.damage().map(str::to_owned);
                    BlockBody::Records { block, damage }
                } else {
                    BlockBody::End
                }
            }
            Reader::Parquet(reader) => {
                let body = reader.next(plan, facts)?;
                self.n_rows = reader.n_rows();
                body.map_or(BlockBody::End, BlockBody::Table)
            }
            Reader::Ipc(reader) => {
                let body = reader.next(plan, facts)?;
                self.n_rows = reader.n_rows();
                body.map_or(BlockBody::End, BlockBody::Table)
            }
        };
        if matches!(body, BlockBody::End) {
            self.reader = Reader::Done;
            // A survey learns from it what the header or footer says.
            if matches!(plan.mode, Mode::Typed(_)) {
                return Ok(Step::Nothing);
            }
        }
        let n_rows = self.n_rows - rows_before;
        Ok(Step::Block(Block { plan: plan.clone(), file: self.context.clone(), n_rows, body }))
    }
}

/// What reading on in a file came to.
enum Step {
    Block(Block),
    /// Rows that no one asked for.
    Nothing,
    End,
}

impl Reader {
    fn position(&self) -> u64 {
        match self {
            Self::Records(reader) => reader.position(),
            Self::Parquet(reader) => reader.position(),
            Self::Ipc(reader) => reader.position(),
            Self::Done => u64::MAX,
        }
    }
}

fn record_reader(
    file: &InputFile,
    reader: RangeReader,
    framing: Framing,
    plan: &Plan,
    from: &PlaceInFile,
) -> Result<RecordReader> {
    let reader = match from.byte {
        0 => TextReader::open(reader, &file.name, file.compression)?,
        _ => TextReader::plain(reader, &file.name),
    };
    Ok(RecordReader::new(reader, framing, &file.name, &plan.options).starting_at(from.row, from.byte))
}

/// `.json` files are often one array; every line of it would be rejected.
fn check_lines(reader: &mut RecordReader, name: &str) -> Result<()> {
    let extensions = name.rsplit('/').next().unwrap_or(name).split('.').skip(1);
    let is_json = extensions.into_iter().any(|extension| extension.eq_ignore_ascii_case("json"));
    if !is_json || reader.first_byte()? != Some(b'[') {
        return Ok(());
    }
    Err(Error::Corrupt {
        location: name.to_owned(),
        format: "JSON Lines",
        message: "it is a JSON array; write an object on each line, e.g., with jq -c '.[]'".into(),
    })
}

fn csv_reader(file: &InputFile, reader: RangeReader, delimiter: u8, plan: &Plan) -> Result<(Reader, FileFormat)> {
    let mut reader = record_reader(file, reader, Framing::Quoted { delimiter }, plan, &PlaceInFile::default())?;
    let header = reader.take_header()?.map(|header| Header::parse(&header, delimiter, &file.name)).transpose()?;
    if let Some(header) = &header {
        let fields: Vec<Field> = header.names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
        check_special_columns(&plan.special, &Arc::new(Schema::new(fields)), &file.name)?;
    }
    Ok((Reader::Records(Box::new(reader)), FileFormat::Csv(header)))
}

fn check_names(schema: &SchemaRef, file: &str) -> Result<()> {
    let fields = schema.fields();
    let duplicate = fields
        .iter()
        .enumerate()
        .find(|(index, field)| fields[..*index].iter().any(|other| other.name() == field.name()));
    match duplicate {
        Some((_, field)) => Err(Error::Column {
            message: format!("`{file}` has the column `{}` twice", field.name()),
            hint: Some("rename one of them".into()),
        }),
        None => Ok(()),
    }
}

fn text_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(text::COLUMN, DataType::Utf8, true)]))
}

impl Block {
    /// Rows of the file that were read for this block, asked for or not. In a survey, the sum over all blocks is the
    /// number of rows of the input.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Decodes the rows that are asked for.
    ///
    /// # Determinism
    /// Concatenated in block order, the batches, rejects and types do not depend on the thread, nor on the batch size.
    pub fn decode(self) -> Result<Decoded> {
        let mut output = Output::new(&self.plan, &self.file.facts);
        self.file.note(&mut output, self.n_rows);
        match self.body {
            BlockBody::End => {}
            BlockBody::Records { block, damage } => {
                self.file.decode_records(&mut output, &block, damage.as_deref())?;
            }
            BlockBody::Table(Body::Rows(rows)) => batch::decode_rows(&mut output, rows)?,
            BlockBody::Table(Body::Batch { batch, rows }) => batch::decode_batch(&mut output, &batch, &rows)?,
            BlockBody::Table(Body::Consecutive { batch, first_row }) => {
                batch::decode_all(&mut output, &batch, first_row)?;
            }
            BlockBody::Table(Body::Ipc(block)) => {
                let first_row = block.first_row;
                batch::decode_all(&mut output, &block.decode()?, first_row)?;
            }
        }
        output.decoded.rejects.sort_by_key(|reject| reject.row);
        Ok(output.decoded)
    }
}

impl FileContext {
    fn decode_records(&self, output: &mut Output<'_>, block: &RecordBlock, damage: Option<&str>) -> Result<()> {
        let plan = output.plan;
        let typed = match &plan.mode {
            Mode::Typed(schema) if !plan.columns.is_empty() => Some(schema),
            _ => None,
        };
        match (&self.format, typed) {
            (FileFormat::Json, None) => json::decode_survey(output, block, damage),
            (FileFormat::Json, Some(schema)) => json::decode_typed(output, block, damage, schema),
            (FileFormat::Csv(Some(header)), None) => csv::decode_survey(output, block, damage, header),
            (FileFormat::Csv(Some(header)), Some(_)) => csv::decode_typed(output, block, damage, header),
            (FileFormat::Text, _) => text::decode(output, block, damage),
            (FileFormat::Csv(None) | FileFormat::Table(_), _) => Ok(()),
        }
    }

    /// In a survey, notes what is known of the file without its rows.
    fn note(&self, output: &mut Output<'_>, n_rows: u64) {
        let plan = output.plan;
        if !matches!(plan.mode, Mode::Survey) {
            return;
        }
        let types = &mut output.decoded.types;
        types.special = plan.special.clone();
        if let FileFormat::Csv(Some(header)) = &self.format {
            for name in &header.names {
                types.csv.entry(name.as_str().into()).or_insert(csv::Fits::ALL);
            }
        }
        let file = types.files.entry(self.facts.index).or_default();
        file.n_rows = n_rows;
        match &self.format {
            FileFormat::Json => {}
            FileFormat::Csv(_) => file.has_special = vec![true; plan.special.columns.len()],
            FileFormat::Text => {
                file.has_special = vec![true; plan.special.columns.len()];
                file.schema = Some(text_schema());
            }
            FileFormat::Table(schema) => {
                file.has_special = vec![true; plan.special.columns.len()];
                file.schema = Some(schema.clone());
            }
        }
    }
}
