//! How rows were scored and embedded: unit by unit, and all together.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use tamis_schemas::config::Table;
use tamis_schemas::manifest::{EmbeddingRecord, ScorerRecord};

use crate::source::schema_of_bytes;
use crate::{Error, Result};

/// Of a unit.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Scored {
    pub(super) rows: u64,
    pub(super) scorer: Option<Work>,
    pub(super) embedding: Option<Work>,
    /// Of the first unit only, for all: columns of the tables, and what the manifest says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) schemas: BTreeMap<Table, Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first_scorer: Option<ScorerRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first_embedding: Option<EmbeddingRecord>,
    /// Whether rows of the batch have what the scorer predicts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) predicts: bool,
}

/// What a model did for a unit, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Work {
    /// Name of the scorer, or fingerprint of the encoder.
    pub(super) name: String,
    pub(super) device: String,
    pub(super) device_note: Option<String>,
    pub(super) truncated_rows: u64,
    pub(super) cached_rows: u64,
}

impl Work {
    pub(super) fn of_embedding(record: &EmbeddingRecord) -> Self {
        let EmbeddingRecord { fingerprint, device, device_note, truncated_rows, cached_rows, .. } = record.clone();
        Self { name: fingerprint, device, device_note, truncated_rows, cached_rows }
    }
}

/// The tables that records have rows of, as these name them.
const TABLES: [Table; N_TABLES] = [Table::Scores, Table::Embeddings, Table::Batch, Table::Quality];
/// How many they are.
pub(super) const N_TABLES: usize = 4;

/// The number that records name a table by.
pub(super) fn table_code(table: Table) -> Result<u64> {
    let code = TABLES.iter().position(|of_code| *of_code == table);
    code.map(|code| code as u64).ok_or_else(|| Error::Invariant(format!("no record has rows of `{}`", table.name())))
}

/// The table of a number.
pub(super) fn table_of_code(code: u64) -> Result<Table> {
    let table = usize::try_from(code).ok().and_then(|code| TABLES.get(code)).copied();
    table.ok_or_else(|| Error::config(format!("no table has the number {code}")))
}

/// Of all units.
#[derive(Debug, Default)]
pub(super) struct ScoredRun {
    learnt: Option<ScorerRecord>,
    /// Rows that stay, as those who looked for something to learn from saw it.
    n_seen: Option<u64>,
    units: BTreeSet<u64>,
    rows: u64,
    scorer: Works,
    embedding: Works,
    first: Option<Scored>,
}

impl ScoredRun {
    /// Takes what the manifest says of the scorer that was learnt, when so many rows stayed.
    pub(super) fn push_learnt(&mut self, record: ScorerRecord, n_seen: u64) -> Result<()> {
        self.n_seen = Some(n_seen);
        let earlier = self.learnt.replace(record);
        earlier.map_or(Ok(()), |_| Err(Error::Invariant("a scorer was learnt twice".into())))
    }

    /// Takes what was done for a unit.
    pub(super) fn push_unit(&mut self, unit: u64, scored: Scored) -> Result<()> {
        if !self.units.insert(unit) {
            return Err(Error::Invariant(format!("unit {unit} was scored twice")));
        }
        self.rows += scored.rows;
        self.scorer.add(scored.scorer.as_ref())?;
        self.embedding.add(scored.embedding.as_ref())?;
        if unit == 0 {
            self.first = Some(scored);
        }
        Ok(())
    }

    /// What the manifest says, and the columns of the tables, once all of `n_units` were scored, of which `n_rows` stay. `learns`: by a
    /// scorer that has learnt for the run.
    ///
    /// # Errors
    /// `Error::Invariant` if there are others.
    pub(super) fn finish(self, learns: bool, n_units: usize, n_rows: u64) -> Result<Finished> {
        let Self { learnt, n_seen, units, rows, scorer, embedding, first } = self;
        if n_seen.is_some_and(|n_seen| n_seen != n_rows) {
            let n_seen = n_seen.unwrap_or_default();
            return Err(Error::Invariant(format!("a scorer has learnt from {n_seen} rows, and {n_rows} stay")));
        }
        if units.len() != n_units || rows != n_rows {
            let message =
                format!("{} of {n_units} units were scored, with {rows} of the {n_rows} rows that stay", units.len());
            return Err(Error::Invariant(message));
        }
        if learns != learnt.is_some() {
            return Err(Error::Invariant("nothing is said of the scorer, or of one that nobody asked for".into()));
        }
        let first = first.unwrap_or_default();
        let of_scorer = learnt.or(first.first_scorer).map(|record| {
            let note = scorer.note().or_else(|| record.device_note.filter(|_| learns && scorer.is_on(&record.device)));
            ScorerRecord {
                device: scorer.device(),
                device_note: note,
                truncated_rows: scorer.truncated_rows,
                cached_rows: scorer.cached_rows + if learns { record.cached_rows } else { 0 },
                ..record
            }
        });
        let of_embedding = first.first_embedding.map(|record| embedding.of_embedding(record, rows));
        let schemas = first.schemas.iter().map(|(&table, schema)| Ok((table, schema_of_bytes(schema)?)));
        let (schemas, predicts) = (schemas.collect::<Result<_>>()?, first.predicts);
        Ok(Finished { scorer: of_scorer, embedding: of_embedding, schemas, predicts })
    }
}

/// See [`ScoredRun::finish`].
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub(super) scorer: Option<ScorerRecord>,
    pub(super) embedding: Option<EmbeddingRecord>,
    pub(super) schemas: BTreeMap<Table, SchemaRef>,
    pub(super) predicts: bool,
}

/// What a model did for all units.
#[derive(Debug, Default)]
pub(super) struct Works {
    name: Option<String>,
    devices: BTreeSet<String>,
    notes: BTreeSet<String>,
    truncated_rows: u64,
    cached_rows: u64,
}

impl Works {
    /// # Errors
    /// `Error::Config` if other units had another model.
    pub(super) fn add(&mut self, work: Option<&Work>) -> Result<()> {
        let Some(work) = work else { return Ok(()) };
        if let Some(other) = self.name.replace(work.name.clone()).filter(|other| *other != work.name) {
            return Err(Error::Config {
                message: format!("machines have different models by the same path: `{other}` and `{}`", work.name),
                hint: Some("put one model on all of them, or name it by a URL".into()),
            });
        }
        self.devices.insert(work.device.clone());
        self.notes.extend(work.device_note.clone());
        self.truncated_rows += work.truncated_rows;
        self.cached_rows += work.cached_rows;
        Ok(())
    }

    /// What the manifest says of the embeddings of so many rows; `first` is said of those of one unit.
    pub(super) fn of_embedding(&self, first: EmbeddingRecord, rows: u64) -> EmbeddingRecord {
        EmbeddingRecord {
            device: self.device(),
            device_note: self.note(),
            rows,
            truncated_rows: self.truncated_rows,
            cached_rows: self.cached_rows,
            ..first
        }
    }

    fn is_on(&self, device: &str) -> bool {
        self.devices.iter().eq([device])
    }

    fn device(&self) -> String {
        self.devices.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    fn note(&self) -> Option<String> {
        let notes: Vec<&str> = self.notes.iter().map(String::as_str).collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}
