//! The ledger: an append-only folder or prefix of a bucket with all that a labelling loop knows.
//!
//! ```text
//! LEDGER/loop.json                                settings, put once
//! LEDGER/rounds/000001/batch-<hash>.parquet       the rows to label
//! LEDGER/rounds/000001/stop_set-<hash>.parquet    predictions that later rounds are compared with
//! LEDGER/rounds/000001/round.json                 put last, if it is not there: now there is a round 1
//! LEDGER/rounds/000001/labels/000001-<hash>.parquet   answers to its rows, a file for each import
//! LEDGER/labels/000001-<hash>.parquet             labels of rows that no round handed out
//! ```
//!
//! A file's content never changes, and names hold the hash of it: of two commands at once both can write, and what
//! `round.json` says decides. What a killed one left is named by nothing, and is no harm.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tamis_schemas::active::{LEDGER_VERSION, LoopSettings, RoundRecord};
use tamis_schemas::manifest::FileRecord;

use super::table::{self, TableFile};
use crate::context::Context;
use crate::dedup::index::Stamp;
use crate::place::Place;
use crate::sink::{hex, refuse_overlap};
use crate::store::Stores;
use crate::{Error, Result};

const SETTINGS: &str = "loop.json";
const ROUNDS: &str = "rounds";
const RECORD: &str = "round.json";
/// Folder of label files, of a round or of the ledger.
const LABELS: &str = "labels";

/// A labelling loop, as it was when it was opened.
#[derive(Debug)]
pub struct Ledger {
    place: Place,
    settings: LoopSettings,
    rounds: Vec<RoundRecord>,
}

impl Ledger {
    /// Begins a loop. The same settings again change nothing.
    ///
    /// # Errors
    /// `Error::Config` if there is a loop with other settings, if the ledger lies in the pool, or if the store does not heed the
    /// conditions of puts.
    pub(super) fn create(
        location: &str,
        settings: &LoopSettings,
        stamp: &Stamp,
        stores: &Stores,
        context: &Context,
    ) -> Result<Self> {
        let place = Place::new(location, stores, context.runtime.handle())?;
        refuse_overlap("ledger", place.url(), &settings.pool.paths)?;
        place.probe(&format!("_probe-{}", stamp.nonce))?;
        if !place.put_new(SETTINGS, &json(settings)?)? {
            return Err(Error::Config {
                message: format!("there is a loop at `{}` already, with other settings", place.url()),
                hint: Some("`tamis al status` shows it; a new loop needs a ledger of its own".into()),
            });
        }
        Self::load(place)
    }

    /// Opens the ledger of a loop.
    ///
    /// # Errors
    /// `Error::Config` if there is none, or if a later version of tamis wrote it; `Error::Corrupt` for a file of it that is damaged
    /// or missing.
    pub fn open(location: &str, stores: &Stores, context: &Context) -> Result<Self> {
        Self::load(Place::new(location, stores, context.runtime.handle())?)
    }

    fn load(place: Place) -> Result<Self> {
        let Some((bytes, _)) = place.get_if_there(SETTINGS)? else {
            return Err(Error::Config {
                message: format!("there is no labelling loop at `{}`", place.url()),
                hint: Some("`tamis al init LEDGER POOL...` begins one".into()),
            });
        };
        let settings = parse(&bytes, &place.display(SETTINGS))?;
        let mut numbers: Vec<u32> = Vec::new();
        for (name, _) in place.list(ROUNDS)? {
            let number = name.strip_prefix("rounds/").and_then(|rest| rest.strip_suffix("/round.json"));
            numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        let mut rounds = Vec::new();
        for (expected, number) in (1..).zip(numbers) {
            let name = format!("{}/{RECORD}", folder(expected));
            let location = place.display(&name);
            let found = if number == expected { place.get_if_there(&name)? } else { None };
            let (bytes, _) = found.ok_or_else(|| damaged(&location, "it is missing, but there are later rounds"))?;
            rounds.push(parse(&bytes, &location)?);
        }
        Ok(Self { place, settings, rounds })
    }

    /// Where it lies, as given.
    pub fn location(&self) -> &str {
        self.place.url()
    }

    /// What all rounds have in common.
    pub fn settings(&self) -> &LoopSettings {
        &self.settings
    }

    /// The rounds, the first one first.
    pub fn rounds(&self) -> &[RoundRecord] {
        &self.rounds
    }

    /// Number of the next round.
    pub(super) fn next_round(&self) -> u32 {
        self.rounds.len() as u32 + 1
    }

    /// The rows of a table that a round names.
    ///
    /// # Errors
    /// `Error::Corrupt` if it is missing, or not what the round says.
    pub(super) fn table(&self, record: &FileRecord) -> Result<arrow::array::RecordBatch> {
        let location = self.place.display(&record.path);
        let found = self.place.get_if_there(&record.path)?;
        let (bytes, _) = found.ok_or_else(|| damaged(&location, "it is missing"))?;
        if hex(&Sha256::digest(&bytes)) != record.sha256 {
            return Err(damaged(&location, "its content is not what its round says"));
        }
        table::read(&location, bytes)
    }

    /// Writes a table of a round that is not there yet.
    pub(super) fn put_table(&self, round: u32, name: &str, table: &arrow::array::RecordBatch) -> Result<FileRecord> {
        let TableFile { bytes, mut record } = TableFile::new(table)?;
        record.path = format!("{}/{name}-{}.parquet", folder(round), &record.sha256[..16]);
        self.put(&record.path, bytes)?;
        Ok(record)
    }

    /// Makes the round of `record` visible.
    ///
    /// # Errors
    /// `Error::Config` if another command was faster.
    pub(super) fn add_round(&mut self, record: RoundRecord) -> Result<&RoundRecord> {
        let number = record.round;
        if !self.place.put_new(&format!("{}/{RECORD}", folder(number)), &json(&record)?)? {
            return Err(Error::Config {
                message: format!("another command has chosen round {number} of `{}` meanwhile", self.location()),
                hint: Some("`tamis al status` shows it".into()),
            });
        }
        self.rounds.push(record);
        self.rounds.last().ok_or_else(|| Error::Invariant("a round was added, and there is none".into()))
    }

    /// Names of the label files of a round, or of none, in the order in which they were imported.
    pub(super) fn label_files(&self, round: Option<u32>) -> Result<Vec<String>> {
        let mut names: Vec<String> =
            self.place.list(&labels_folder(round))?.into_iter().map(|(name, _)| name).collect();
        names.retain(|name| name.ends_with(".parquet"));
        names.sort_unstable();
        Ok(names)
    }

    /// The rows of a label file.
    ///
    /// # Errors
    /// `Error::Corrupt` if it is not what its name says.
    pub(super) fn labels(&self, name: &str) -> Result<arrow::array::RecordBatch> {
        let location = self.place.display(name);
        let (bytes, _) = self.place.get_if_there(name)?.ok_or_else(|| damaged(&location, "it is missing"))?;
        if !table::is_named_by(name, &bytes) {
            return Err(damaged(&location, "its content is not what its name says"));
        }
        table::read(&location, bytes)
    }

    /// Adds answers to the rows of a round, or of none, after those that are there.
    pub(super) fn add_labels(&self, round: Option<u32>, labels: &arrow::array::RecordBatch) -> Result<()> {
        let file = TableFile::new(labels)?;
        let names = self.label_files(round)?;
        let last = names.last().and_then(|name| name.rsplit('/').next()?.split('-').next()?.parse::<u64>().ok());
        let name = format!("{}/{:06}-{}.parquet", labels_folder(round), last.unwrap_or(0) + 1, file.hash());
        self.put(&name, file.bytes)
    }

    /// Puts a file whose name is made of its content: one that is there is this one.
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let is_ours = self.place.put_new(name, &Bytes::from(bytes))?;
        if is_ours { Ok(()) } else { Err(damaged(&self.place.display(name), "its content is not what its name says")) }
    }
}

fn folder(round: u32) -> String {
    format!("{ROUNDS}/{round:06}")
}

fn labels_folder(round: Option<u32>) -> String {
    round.map_or_else(|| LABELS.to_owned(), |round| format!("{}/{LABELS}", folder(round)))
}

fn json(value: &impl Serialize) -> Result<Bytes> {
    let mut json =
        serde_json::to_vec_pretty(value).map_err(|error| Error::Invariant(format!("a record is not JSON: {error}")))?;
    json.push(b'\n');
    Ok(json.into())
}

fn parse<T: DeserializeOwned>(bytes: &[u8], location: &str) -> Result<T> {
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| damaged(location, &format!("it is not JSON: {error}")))?;
    let version = value.get("ledger_version").and_then(serde_json::Value::as_u64);
    if let Some(version) = version.filter(|version| *version != u64::from(LEDGER_VERSION)) {
        return Err(Error::Config {
            message: format!("`{location}` has layout {version}, and this version of tamis knows {LEDGER_VERSION}"),
            hint: Some("use the version of tamis that wrote it".into()),
        });
    }
    serde_json::from_value(value).map_err(|error| damaged(location, &error.to_string()))
}

fn damaged(location: &str, message: &str) -> Error {
    Error::Corrupt { location: location.to_owned(), format: "a file of a labelling loop", message: message.to_owned() }
}
