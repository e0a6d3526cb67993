//! The log of one Delta Lake table, entry by entry.

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tamis_schemas::commit::Commit;
use tamis_schemas::config::Table;

use super::DeltaSchema;
use crate::place::Place;
use crate::sink::hex;
use crate::{Error, Result};

pub(crate) const LOG: &str = "_delta_log";
const ENGINE: &str = concat!("tamis/", env!("CARGO_PKG_VERSION"));
/// Others may write to the table meanwhile, for instance to compact it; so often we begin anew.
const MOST_TRIES: usize = 100;

/// Adds to the log of the table at `place` what it lacks of the runs that were added to the output.
///
/// # Errors
/// `Error::Corrupt` for a log that does not say which run was the last.
pub(in crate::dataset) fn follow(place: &Place, table: Table, commits: &[Commit]) -> Result<()> {
    if commits.iter().all(|commit| !commit.tables.contains_key(&table)) {
        return Ok(());
    }
    for _ in 0..MOST_TRIES {
        let head = Head::read(place, &app_id(commits))?;
        let Some(entry) = head.next_entry(place, table, commits)? else { return Ok(()) };
        // Whether this is ours or another's, the next look tells what is left to do.
        place.put_new(&file_name(head.next_version), &entry)?;
    }
    Err(place.unwritable(LOG, "others keep adding to the log"))
}

/// Whether the log of the table at `place` lacks a run that was added to the output.
pub(crate) fn lags(place: &Place, table: Table, commits: &[Commit]) -> Result<bool> {
    Ok(Head::read(place, &app_id(commits))?.next_entry(place, table, commits)?.is_some())
}

/// Where a log ends.
#[derive(Debug, Default)]
struct Head {
    next_version: u64,
    /// The last run that is in it.
    last_run: Option<u64>,
    /// Its entries, the newest first.
    versions: Vec<u64>,
}

impl Head {
    fn read(place: &Place, app_id: &str) -> Result<Self> {
        let names: Vec<String> = place.list(LOG)?.into_iter().map(|(name, _)| name).collect();
        let mut versions: Vec<u64> = names.iter().filter_map(|name| version_of(name)).collect();
        versions.sort_unstable_by(|left, right| right.cmp(left));
        let Some(&last) = versions.first() else { return Ok(Self::default()) };
        let run_of =
            |action: &Value| (action["txn"]["appId"] == app_id).then(|| action["txn"]["version"].as_u64()).flatten();
        match newest(place, &versions, run_of)? {
            Some(run) => Ok(Self { next_version: last + 1, last_run: Some(run), versions }),
            None => Err(Error::Corrupt {
                location: place.display(LOG),
                format: "the log of this output",
                message: "no entry names a run of it; is it the table of another output?".into(),
            }),
        }
    }

    /// The entry of the first run that the log at `place` lacks.
    fn next_entry(&self, place: &Place, table: Table, commits: &[Commit]) -> Result<Option<Bytes>> {
        let of_table = |commit: &&Commit| commit.tables.contains_key(&table);
        let is_later = |commit: &&Commit| self.last_run.is_none_or(|last| last < commit.version);
        let Some(commit) = commits.iter().filter(of_table).find(is_later) else { return Ok(None) };
        let before = commits.iter().filter(of_table).take_while(|other| other.version < commit.version).last();
        let schema = schema_of(commit, table)?;
        let schema_before = before.map(|before| schema_of(before, table)).transpose()?;
        let mut actions = vec![json!({"commitInfo": {
            "timestamp": milliseconds(commit),
            "operation": "WRITE",
            "operationParameters": {"mode": "Append"},
            "isBlindAppend": true,
            "engineInfo": ENGINE,
            "tamisRun": commit.run,
            "tamisVersion": commit.version,
        }})];
        if schema_before.as_ref().map(DeltaSchema::needs_timestamp_ntz) != Some(schema.needs_timestamp_ntz()) {
            actions.push(json!({"protocol": protocol(&schema)}));
        }
        if schema_before.as_ref() != Some(&schema) {
            let of_first_run = || {
                json!({
                    "id": table_id(&commits[0].run, table),
                    "name": table.name(),
                    "format": {"provider": "parquet", "options": {}},
                    "partitionColumns": [],
                    "configuration": {},
                    "createdTime": milliseconds(commit),
                })
            };
            // Of what came before a checkpoint nothing may be left.
            let found = newest(place, &self.versions, |action| action.get("metaData").cloned())?;
            let mut metadata = found.unwrap_or_else(of_first_run);
            metadata["schemaString"] = schema.to_json()?.to_string().into();
            actions.push(json!({"metaData": metadata}));
        }
        actions.push(
            json!({"txn": {"appId": app_id(commits), "version": commit.version, "lastUpdated": milliseconds(commit)}}),
        );
        for file in commit.manifest.tables.get(&table).iter().flat_map(|record| &record.files) {
            let name = file.path.rsplit('/').next().unwrap_or_default();
            actions.push(json!({"add": {
                "path": name,
                "partitionValues": {},
                "size": file.bytes,
                "modificationTime": milliseconds(commit),
                "dataChange": true,
                "stats": json!({"numRecords": file.rows}).to_string(),
                "tags": {"tamis.sha256": file.sha256},
            }}));
        }
        let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
        Ok(Some((lines.join("\n") + "\n").into()))
    }
}

/// What `find` finds in the newest entry that has it, among those that are still there.
fn newest<T>(place: &Place, versions: &[u64], find: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
    for &version in versions {
        let name = file_name(version);
        let Some((bytes, _)) = place.get_if_there(&name)? else { continue };
        if let Some(found) = actions(&bytes, &place.display(&name))?.iter().find_map(&find) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Who we are in the transactions of a log: this output, and no other that writes to the same place.
fn app_id(commits: &[Commit]) -> String {
    format!("tamis-{}", commits.first().map_or("", |commit| &commit.run))
}

fn schema_of(commit: &Commit, table: Table) -> Result<DeltaSchema> {
    DeltaSchema::from_json(commit.tables.get(&table).map_or(&Value::Null, |committed| &committed.schema))
}

fn protocol(schema: &DeltaSchema) -> Value {
    if schema.needs_timestamp_ntz() {
        let features = ["timestampNtz"];
        json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features})
    } else {
        json!({"minReaderVersion": 1, "minWriterVersion": 2})
    }
}

/// A UUID (version 8) that depends on the first run of the output and the table alone.
fn table_id(first_run: &str, table: Table) -> String {
    let digest = Sha256::digest(format!("{first_run}/{}", table.name()));
    let hex = hex(&digest[..16]);
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

fn milliseconds(commit: &Commit) -> u64 {
    commit.committed_at * 1000
}

fn file_name(version: u64) -> String {
    format!("{LOG}/{version:020}.json")
}

fn version_of(name: &str) -> Option<u64> {
    let version = name.strip_prefix(LOG)?.strip_prefix('/')?.strip_suffix(".json")?;
    (version.len() == 20).then(|| version.parse().ok()).flatten()
}

fn actions(bytes: &[u8], location: &str) -> Result<Vec<Value>> {
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines
        .map(|line| {
            serde_json::from_slice(line).map_err(|error| Error::Corrupt {
                location: location.to_owned(),
                format: "an entry of a Delta log",
                message: error.to_string(),
            })
        })
        .collect()
}
