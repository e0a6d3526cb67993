//! Records: rows of the streams between `compare`, `prove`, `assign`, `write` and the session.

use std::io::{Read, Write};
use std::sync::Arc;

use arrow::array::{
    Array, BinaryArray, BinaryBuilder, Float64Array, Float64Builder, Int64Array, Int64Builder, RecordBatch,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::columns::{binaries, doubles, int64s};
use super::stream::{Incoming, Outgoing};
use crate::dedup::{Handed, HandedDrop, HandedEdge, Method, Rule};
use crate::{Error, Result};

/// Records that go out together.
const BATCH_RECORDS: usize = 8192;
/// Bytes of payload that go out together, about.
const BATCH_BYTES: usize = 4 << 20;

/// Bytes of an edge in a payload: earlier row, similarity, method, 0, number of bands.
const EDGE_BYTES: usize = 20;
/// Bytes of an open pair: earlier row, number of bands.
const OPEN_BYTES: usize = 10;

/// What a record tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counts = 0,
    Rank = 1,
    Member = 2,
    Edges = 3,
    Open = 4,
    Wanted = 5,
    Set = 6,
    Drop = 7,
    Cluster = 8,
    Decided = 9,
    File = 10,
    Id = 11,
    Rows = 12,
    Sources = 13,
    Segment = 14,
    Text = 15,
    Scorer = 16,
    Learnt = 17,
    TableRows = 18,
    Scored = 19,
    Link = 20,
    TextsOfUnit = 21,
    Known = 22,
    Seen = 23,
    Candidates = 24,
    Chosen = 25,
    Selected = 26,
    JudgedUnit = 27,
    Judged = 28,
    Unfit = 29,
    Control = 30,
    Sifted = 31,
    Used = 32,
    DividedUnit = 33,
    DividedRow = 34,
    Paragraph = 35,
    Holder = 36,
    Cuts = 37,
    Grain = 38,
    EmbeddedUnit = 39,
    Embedded = 40,
    Folded = 41,
}

impl Kind {
    const ALL: [Self; 42] = [
        Self::Counts,
        Self::Rank,
        Self::Member,
        Self::Edges,
        Self::Open,
        Self::Wanted,
        Self::Set,
        Self::Drop,
        Self::Cluster,
        Self::Decided,
        Self::File,
        Self::Id,
        Self::Rows,
        Self::Sources,
        Self::Segment,
        Self::Text,
        Self::Scorer,
        Self::Learnt,
        Self::TableRows,
        Self::Scored,
        Self::Link,
        Self::TextsOfUnit,
        Self::Known,
        Self::Seen,
        Self::Candidates,
        Self::Chosen,
        Self::Selected,
        Self::JudgedUnit,
        Self::Judged,
        Self::Unfit,
        Self::Control,
        Self::Sifted,
        Self::Used,
        Self::DividedUnit,
        Self::DividedRow,
        Self::Paragraph,
        Self::Holder,
        Self::Cuts,
        Self::Grain,
        Self::EmbeddedUnit,
        Self::Embedded,
        Self::Folded,
    ];
}

/// A record. What its kind does not name is 0 or empty.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) unit: Option<u64>,
    pub(super) a: u64,
    pub(super) b: u64,
    pub(super) c: u64,
    pub(super) similarity: f64,
    pub(super) method: u8,
    pub(super) rule: u8,
    pub(super) bands: u16,
    pub(super) payload: Vec<u8>,
}

impl Record {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, unit: None, a: 0, b: 0, c: 0, similarity: 0.0, method: 0, rule: 0, bands: 0, payload: Vec::new() }
    }

    /// A record that says something as JSON.
    pub(super) fn json(kind: Kind, value: &impl Serialize) -> Result<Self> {
        let payload = serde_json::to_vec(value)
            .map_err(|error| Error::Invariant(format!("a record cannot be written: {error}")))?;
        Ok(Self { payload, ..Self::new(kind) })
    }

    /// Of what was counted, also how many records were read for it: who hands them on knows how many that must be.
    pub(super) fn with_count(self, n_records: u64) -> Self {
        if matches!(self.kind, Kind::Counts | Kind::Decided) { Self { c: n_records, ..self } } else { self }
    }

    /// What it says as JSON.
    pub(super) fn value<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.payload).map_err(|error| self.malformed(&error.to_string()))
    }

    fn check_end(&self, rest: &[u8]) -> Result<()> {
        if rest.is_empty() { Ok(()) } else { Err(self.malformed("its payload ends in the middle of a number")) }
    }

    fn edge(&self, bytes: &[u8; EDGE_BYTES]) -> Result<HandedEdge> {
        let (numbers, codes) = bytes.split_at(16);
        let (numbers, _) = numbers.as_chunks();
        Ok(HandedEdge {
            earlier: u64::from_le_bytes(numbers[0]),
            similarity: f64::from_le_bytes(numbers[1]),
            method: Method::of_code(codes[0]).ok_or_else(|| self.malformed("no such method"))?,
            n_shared_bands: u16::from_le_bytes([codes[2], codes[3]]),
        })
    }

    fn malformed(&self, why: &str) -> Error {
        Error::Config {
            message: format!("a record of kind {} cannot be read: {why}", self.kind as u8),
            hint: Some("hand on what the kernels have said".into()),
        }
    }

    /// What the search for near-duplicates hands on; `is_decided`: by who decides. `unit_of` is the unit of a position, if it has
    /// one.
    pub(super) fn of_handed(handed: Handed, is_decided: bool, unit_of: impl Fn(u64) -> Option<u64>) -> Result<Self> {
        Ok(match handed {
            Handed::Counts(counts) => Self::json(if is_decided { Kind::Decided } else { Kind::Counts }, &counts)?,
            Handed::Rank { rank, row } => Self { a: rank, b: row, ..Self::new(Kind::Rank) },
            Handed::Member { first, other } => Self { a: first, b: other, ..Self::new(Kind::Member) },
            Handed::Edges { later, edges } => {
                let mut payload = Vec::with_capacity(edges.len() * EDGE_BYTES);
                for HandedEdge { earlier, similarity, method, n_shared_bands } in edges {
                    payload.extend(earlier.to_le_bytes());
                    payload.extend(similarity.to_le_bytes());
                    payload.extend([method.code(), 0]);
                    payload.extend(n_shared_bands.to_le_bytes());
                }
                Self { a: later, payload, ..Self::new(Kind::Edges) }
            }
            Handed::Open { later, pairs } => {
                let bytes =
                    |(earlier, bands): (u64, u16)| (u128::from(earlier) | u128::from(bands) << 64).to_le_bytes();
                let payload = pairs.into_iter().flat_map(|pair| bytes(pair).into_iter().take(OPEN_BYTES)).collect();
                Self { a: later, payload, ..Self::new(Kind::Open) }
            }
            Handed::Wanted { row } => Self { unit: unit_of(row), a: row, ..Self::new(Kind::Wanted) },
            Handed::Set { row, shingles } => {
                let payload = shingles.iter().flat_map(|shingle| shingle.to_le_bytes()).collect();
                Self { unit: unit_of(row), a: row, payload, ..Self::new(Kind::Set) }
            }
            Handed::Id { row, id } => Self { a: row, payload: id.into_bytes(), ..Self::new(Kind::Id) },
            Handed::Drop(HandedDrop { kept, dropped, rank, similarity, method, rule, n_shared_bands }) => Self {
                unit: unit_of(dropped),
                a: kept,
                b: dropped,
                c: rank,
                similarity,
                method: method.code(),
                rule: rule.code(),
                bands: n_shared_bands,
                ..Self::new(Kind::Drop)
            },
            Handed::Cluster { kept, n_rows, n_dropped } => {
                Self { unit: unit_of(kept), a: kept, b: n_rows, c: n_dropped, ..Self::new(Kind::Cluster) }
            }
        })
    }

    /// What was handed on; `None` if it is of no concern to the search.
    pub(super) fn into_handed(self) -> Result<Option<Handed>> {
        let method = || Method::of_code(self.method).ok_or_else(|| self.malformed("no such method"));
        let Self { a, b, c, similarity, bands: n_shared_bands, .. } = self;
        Ok(Some(match self.kind {
            Kind::Counts | Kind::Decided => Handed::Counts(self.value()?),
            Kind::Rank => Handed::Rank { rank: a, row: b },
            Kind::Member => Handed::Member { first: a, other: b },
            Kind::Edges => {
                let (edges, rest) = self.payload.as_chunks::<EDGE_BYTES>();
                let edges = edges.iter().map(|bytes| self.edge(bytes)).collect::<Result<_>>()?;
                self.check_end(rest)?;
                Handed::Edges { later: a, edges }
            }
            Kind::Open => {
                let (pairs, rest) = self.payload.as_chunks::<OPEN_BYTES>();
                self.check_end(rest)?;
                let pair = |bytes: &[u8; OPEN_BYTES]| {
                    let [b0, b1, b2, b3, b4, b5, b6, b7, l, h] = *bytes;
                    (u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]), u16::from_le_bytes([l, h]))
                };
                Handed::Open { later: a, pairs: pairs.iter().map(pair).collect() }
            }
            Kind::Wanted => Handed::Wanted { row: a },
            Kind::Set => {
                let (shingles, rest) = self.payload.as_chunks();
                self.check_end(rest)?;
                Handed::Set { row: a, shingles: shingles.iter().map(|&bytes| u64::from_le_bytes(bytes)).collect() }
            }
            Kind::Id => {
                let id = String::from_utf8(self.payload.clone()).map_err(|_| self.malformed("an id is not UTF-8"))?;
                Handed::Id { row: a, id }
            }
            Kind::Drop => Handed::Drop(HandedDrop {
                kept: a,
                dropped: b,
                rank: c,
                similarity,
                method: method()?,
                rule: Rule::of_code(self.rule).ok_or_else(|| self.malformed("no such rule"))?,
                n_shared_bands,
            }),
            Kind::Cluster => Handed::Cluster { kept: a, n_rows: b, n_dropped: c },
            Kind::File
            | Kind::Rows
            | Kind::Sources
            | Kind::Segment
            | Kind::Text
            | Kind::Scorer
            | Kind::Learnt
            | Kind::TableRows
            | Kind::Scored
            | Kind::Link
            | Kind::TextsOfUnit
            | Kind::Known
            | Kind::Seen
            | Kind::Candidates
            | Kind::Chosen
            | Kind::Selected
            | Kind::Judged
            | Kind::JudgedUnit
            | Kind::Unfit
            | Kind::Control
            | Kind::Sifted
            | Kind::Used
            | Kind::DividedUnit
            | Kind::DividedRow
            | Kind::Paragraph
            | Kind::Holder
            | Kind::Cuts
            | Kind::Grain
            | Kind::EmbeddedUnit
            | Kind::Embedded
            | Kind::Folded => return Ok(None),
        }))
    }
}

fn schema() -> Schema {
    let number = |name: &str, nullable| Field::new(name, DataType::Int64, nullable);
    Schema::new(vec![
        number("kind", false),
        number("unit", true),
        number("a", false),
        number("b", false),
        number("c", false),
        Field::new("similarity", DataType::Float64, false),
        number("method", false),
        number("rule", false),
        number("bands", false),
        Field::new("payload", DataType::Binary, false),
    ])
}

/// Writes records to a stream.
pub(super) struct RecordWriter<W: Write> {
    output: Outgoing<W>,
    schema: SchemaRef,
    numbers: [Vec<i64>; 7],
    units: Int64Builder,
    similarities: Float64Builder,
    payloads: BinaryBuilder,
    n_bytes: usize,
}

impl<W: Write> RecordWriter<W> {
    pub(super) fn begin(mut output: Outgoing<W>) -> Result<Self> {
        let schema = output.begin(&schema(), &[])?;
        Ok(Self {
            output,
            schema,
            numbers: Default::default(),
            units: Int64Builder::new(),
            similarities: Float64Builder::new(),
            payloads: BinaryBuilder::new(),
            n_bytes: 0,
        })
    }

    pub(super) fn push(&mut self, record: &Record) -> Result<()> {
        let Record { kind, unit, a, b, c, similarity, method, rule, bands, payload } = record;
        let values = [*kind as i64, a.cast_signed(), b.cast_signed(), c.cast_signed()];
        let codes = [i64::from(*method), i64::from(*rule), i64::from(*bands)];
        self.numbers.iter_mut().zip(values.into_iter().chain(codes)).for_each(|(column, value)| column.push(value));
        self.units.append_option(unit.map(u64::cast_signed));
        self.similarities.append_value(*similarity);
        self.payloads.append_value(payload);
        self.n_bytes += payload.len();
        let is_full = self.numbers[0].len() >= BATCH_RECORDS || self.n_bytes >= BATCH_BYTES;
        if is_full { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let [kind, a, b, c, method, rule, bands] =
            std::mem::take(&mut self.numbers).map(|numbers| Arc::new(Int64Array::from(numbers)));
        self.n_bytes = 0;
        let batch = RecordBatch::try_new(
            Arc::clone(&self.schema),
            vec![
                kind,
                Arc::new(self.units.finish()),
                a,
                b,
                c,
                Arc::new(self.similarities.finish()),
                method,
                rule,
                bands,
                Arc::new(self.payloads.finish()),
            ],
        )?;
        self.output.write(&batch)
    }

    pub(super) fn finish(mut self) -> Result<()> {
        if !self.numbers[0].is_empty() {
            self.flush()?;
        }
        self.output.finish().map(drop)
    }
}

/// Reads all records of a stream.
pub(super) fn for_each_record(
    input: &mut Incoming<impl Read>,
    mut visit: impl FnMut(Record) -> Result<()>,
) -> Result<()> {
    while let Some(batch) = input.next()? {
        let columns = Columns::of(&batch)?;
        (0..batch.num_rows()).try_for_each(|row| visit(columns.record(row)?))?;
    }
    Ok(())
}

struct Columns {
    kind: Int64Array,
    unit: Int64Array,
    numbers: [Int64Array; 3],
    similarity: Float64Array,
    codes: [Int64Array; 3],
    payload: BinaryArray,
}

impl Columns {
    fn of(batch: &RecordBatch) -> Result<Self> {
        let number = |name| int64s(batch, name);
        Ok(Self {
            kind: number("kind")?,
            unit: number("unit")?,
            numbers: [number("a")?, number("b")?, number("c")?],
            similarity: doubles(batch, "similarity")?,
            codes: [number("method")?, number("rule")?, number("bands")?],
            payload: binaries(batch, "payload")?,
        })
    }

    fn record(&self, row: usize) -> Result<Record> {
        let code = self.kind.value(row);
        let kind = usize::try_from(code).ok().and_then(|code| Kind::ALL.get(code)).ok_or_else(|| Error::Config {
            message: format!("there is no record of kind {code}"),
            hint: Some("use the driver and the kernels of one version of tamis".into()),
        })?;
        let [a, b, c] = self.numbers.each_ref().map(|numbers| value(numbers, row).cast_unsigned());
        let [method, rule, bands] = self.codes.each_ref().map(|numbers| value(numbers, row));
        Ok(Record {
            kind: *kind,
            unit: self.unit.is_valid(row).then(|| self.unit.value(row).cast_unsigned()),
            a,
            b,
            c,
            similarity: if self.similarity.is_valid(row) { self.similarity.value(row) } else { 0.0 },
            method: method as u8,
            rule: rule as u8,
            bands: bands as u16,
            payload: if self.payload.is_valid(row) { self.payload.value(row).to_vec() } else { Vec::new() },
        })
    }
}

/// A number, 0 where there is none.
fn value(numbers: &Int64Array, row: usize) -> i64 {
    if numbers.is_valid(row) { numbers.value(row) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::super::stream::Incoming;
    use super::*;

    #[test]
    fn records_come_back() {
        let drop = HandedDrop {
            kept: 1 << 63,
            dropped: 7,
            rank: 9,
            similarity: 0.7 + f64::EPSILON,
            method: Method::Estimated,
            rule: Rule::NearDuplicate,
            n_shared_bands: 300,
        };
        let handed = [
            Handed::Rank { rank: 3, row: 5 },
            Handed::Edges {
                later: 9,
                edges: vec![
                    HandedEdge { earlier: 2, similarity: 0.9, method: Method::Exact, n_shared_bands: 1 },
                    HandedEdge { earlier: 1 << 63, similarity: 1.0, method: Method::Estimated, n_shared_bands: 256 },
                ],
            },
            Handed::Open { later: 9, pairs: vec![(2, 4), (u64::MAX, u16::MAX)] },
            Handed::Wanted { row: 4 },
            Handed::Set { row: 4, shingles: vec![0, 1, u64::MAX] },
            Handed::Id { row: 1 << 40, id: "ä 1".into() },
            Handed::Drop(drop),
            Handed::Cluster { kept: 1, n_rows: 3, n_dropped: 2 },
        ];
        let mut bytes = Vec::new();
        let mut writer = RecordWriter::begin(Outgoing::new(&mut bytes)).unwrap();
        for handed in handed.clone() {
            let record = Record::of_handed(handed, false, |row| Some(row / 2)).unwrap();
            (0..3000).for_each(|_| writer.push(&record).unwrap());
        }
        writer.finish().unwrap();
        let mut found = Vec::new();
        let mut incoming = Incoming::open(bytes.as_slice()).unwrap();
        for_each_record(&mut incoming, |record| {
            found.extend(record.into_handed()?);
            Ok(())
        })
        .unwrap();
        assert_eq!(found.len(), handed.len() * 3000);
        found.dedup();
        assert_eq!(found, handed);
    }
}
