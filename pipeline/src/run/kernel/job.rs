//! What every kernel of a run knows: an opaque text to those who carry it.

use std::io::Read;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tamis_schemas::config::{Config, OutputMode};

use super::folder;
use super::index::IndexOfRun;
use super::scoring::ScoringOfRun;
use super::stream::Incoming;
use crate::dedup::SearchCounts;
use crate::run::plan::Plan;
use crate::sink::hex;
use crate::source::{Columns, Request, SchemaOnWire};
use crate::{Error, Result};

/// Key of the metadata that holds it.
pub(super) const JOB_KEY: &str = "tamis.job";

/// Of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    /// The config in TOML: its numbers come back as they were.
    config: String,
    /// Names the run: the same for the same config and inputs.
    pub(super) run: String,
    /// What the names of its files begin with, and those of no other session.
    file_prefix: String,
    /// Whether it is added to others.
    is_added: bool,
    /// Once it is known.
    pub(super) schema: Option<SchemaOnWire>,
    /// Positions of the first rows of all units.
    pub(super) starts: Vec<u64>,
    /// Rows of all units.
    pub(super) n_rows: u64,
    /// What is known of the rows that are compared.
    pub(super) rows: SearchCounts,
    /// Bytes of text of all rows.
    pub(super) text_bytes: u64,
    /// The folder that local paths of the config are relative to, if there are any.
    pub(super) folder: Option<String>,
    /// What scores the rows, if they are scored or embedded.
    pub(super) scoring: Option<ScoringOfRun>,
    /// What judges the quality of rows, if it counts.
    pub(super) quality: Option<ScoringOfRun>,
    /// What embeds rows to compare them, if they are.
    pub(super) semantic: Option<ScoringOfRun>,
    /// What earlier runs have kept, if the run looks there.
    pub(super) index: Option<IndexOfRun>,
}

impl Job {
    pub(super) fn new(
        config: &Config,
        run: String,
        nonce: &str,
        index: Option<IndexOfRun>,
        [scoring, quality, semantic]: [Option<ScoringOfRun>; 3],
    ) -> Result<Self> {
        let folder = folder::of_config(config)?;
        let is_added = config.output.mode == OutputMode::Append;
        let config = toml::to_string(config)
            .map_err(|error| Error::Invariant(format!("the config cannot be handed on: {error}")))?;
        let file_prefix = if is_added { nonce.to_owned() } else { format!("part-{nonce}-") };
        let (schema, starts, rows) = (None, Vec::new(), SearchCounts::default());
        Ok(Self {
            config,
            run,
            file_prefix,
            is_added,
            schema,
            starts,
            n_rows: 0,
            rows,
            text_bytes: 0,
            folder,
            scoring,
            quality,
            semantic,
            index,
        })
    }

    /// The job that a stream brings.
    pub(super) fn of_stream(stream: &Incoming<impl Read>) -> Result<Self> {
        let text = stream.metadata(JOB_KEY).ok_or_else(|| Error::Config {
            message: format!("the stream has no `{JOB_KEY}` in its metadata"),
            hint: Some("hand on what the session has said".into()),
        })?;
        serde_json::from_str(text)
            .map_err(|error| Error::config(format!("`{JOB_KEY}` is not that of a session: {error}")))
    }

    /// Whether there is a scorer that has to learn.
    pub(super) fn learns(&self) -> bool {
        self.scoring.as_ref().is_some_and(|scoring| scoring.learns)
    }

    pub(super) fn to_text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::Invariant(format!("the job cannot be handed on: {error}")))
    }

    /// What the names of the files of its tasks begin with.
    pub(super) fn file_prefix(&self) -> &str {
        &self.file_prefix
    }

    /// What the names of the files of a unit begin with that one try of a task writes. They are in the order of the units; those of
    /// runs that are added to others have the form by which upkeep knows them.
    pub(super) fn stem(&self, unit: u64, attempt: &str) -> String {
        let Self { file_prefix, is_added, .. } = self;
        if *is_added {
            return format!("{file_prefix}{unit:010x}{}", hex(&Sha256::digest(attempt)[..8]));
        }
        format!("{file_prefix}{unit:05}-{attempt}")
    }

    pub(super) fn config(&self) -> Result<Config> {
        let config: Config = toml::from_str(&self.config)
            .map_err(|error| Error::config(format!("the config of the job cannot be read: {error}")))?;
        Ok(config.resolved())
    }

    /// The columns of the input.
    pub(super) fn schema(&self) -> Result<&SchemaOnWire> {
        self.schema.as_ref().ok_or_else(|| Error::config("the job does not know the columns of the input yet"))
    }

    /// The unit of the row at a position; rows of earlier runs are in none.
    pub(super) fn unit_of(&self, position: u64) -> Option<u64> {
        let unit = self.starts.partition_point(|&start| start <= position).saturating_sub(1) as u64;
        (position < self.n_rows).then_some(unit)
    }
}

/// What the first reading of a run asks for.
pub(super) fn survey_request(plan: &Plan, config: &Config) -> Request {
    let needs_text = plan.needs_text(config);
    Request {
        columns: Columns::Named(Vec::new()),
        text: needs_text.then(|| plan.text.clone()),
        id: needs_text.then(|| plan.id.clone()),
        rows: None,
    }
}
