//! What scores, in a task that did not learn it.

use arrow::array::{Array, BinaryArray, RecordBatch};
use tamis_schemas::manifest::ScorerRecord;
use xxhash_rust::xxh3::xxh3_64;

use super::columns::binaries;
use super::lesson::of_score;
use super::scored::Work;
use super::{Surroundings, Task};
use crate::run::learn::distilled;
use crate::run::route::Carried;
use crate::run::unlabelled::open_causal;
use crate::run::write::score_table;
use crate::score::{CausalScorer, OpenedScorer, SavedScorer, ScorerChoice, SharedEncoder, Truncated, Unlabelled};
use crate::source::Inputs;
use crate::{Error, Result};

/// The scorers that units of a stream bring: one, or none.
#[derive(Debug, Default)]
pub(super) struct ScorersOfStream {
    /// Of the scorer, 0 if there is none.
    hash: Option<u64>,
}

impl ScorersOfStream {
    pub(super) fn column(batch: &RecordBatch) -> Result<BinaryArray> {
        binaries(batch, "scorer")
    }

    /// That of a unit.
    ///
    /// # Errors
    /// `Error::Invariant` if it is another one than that of the units before.
    pub(super) fn next<'a>(&mut self, scorers: &'a BinaryArray, index: usize) -> Result<Option<&'a [u8]>> {
        let learnt = scorers.is_valid(index).then(|| scorers.value(index));
        let hash = learnt.map_or(0, |scorer| xxh3_64(scorer).max(1));
        if *self.hash.get_or_insert(hash) != hash {
            return Err(Error::Invariant("units come with different scorers".into()));
        }
        Ok(learnt)
    }
}

/// A scorer that is ready, and what it has done.
pub(super) struct Scorer<'a> {
    pub(super) opened: OpenedScorer<'a>,
    pub(super) record: ScorerRecord,
    pub(super) table: Carried,
    /// Texts that the cache had, of the units so far.
    n_cached: u64,
}

impl<'a> Scorer<'a> {
    /// # Errors
    /// `Error::Config` if there is nothing to score with.
    pub(super) fn open(task: Task<'a>, no_inputs: &'a Inputs, learnt: Option<&[u8]>) -> Result<Self> {
        let (score, Surroundings { stores, context, .. }) = (of_score(task)?, task.with);
        let missing = |what: &str| Error::Config {
            message: format!("{what}, which the run had when it began"),
            hint: Some("every machine must reach the scorer by the same path or URL".into()),
        };
        let check_model = |location: &str, hash: &str| {
            task.job.scoring.as_ref().map_or(Ok(()), |scoring| scoring.check_model(location, hash))
        };
        let score = &score;
        let (opened, record) = match (learnt, &task.plan.scorer) {
            (Some(bytes), _) => {
                let saved = SavedScorer::from_bytes(bytes, "the scorer that was learnt".into())?;
                let record = ScorerRecord { name: saved.fingerprint().to_owned(), ..ScorerRecord::default() };
                (saved.open(task.plan.device, score.cache.as_deref(), stores, context)?, record)
            }
            (None, _) if task.job.learns() => {
                return Err(Error::Config {
                    message: "there is no scorer in the stream, and the run has one that learns".into(),
                    hint: Some("hand on what `learn` has said".into()),
                });
            }
            (None, ScorerChoice::Encoder(location)) => {
                let saved = SavedScorer::read(location, stores, context)?;
                let saved = saved.ok_or_else(|| missing(&format!("there is no scorer in `{location}`")))?;
                check_model(location, saved.fingerprint())?;
                distilled(task.run(no_inputs), saved, score, location, stores)?
            }
            (None, ScorerChoice::Unlabelled(Unlabelled::Causal(file))) => {
                check_model(file, &CausalScorer::digest(file, stores, context)?)?;
                let (scorer, device) = open_causal(task.run(no_inputs), file, task.plan.device, stores)?;
                let record = ScorerRecord { name: score.scorer.clone(), ..ScorerRecord::default() };
                (OpenedScorer { scorer: Box::new(scorer), device, truncated: None, encoder: None }, record)
            }
            (None, _) => return Err(missing("there is no scorer")),
        };
        let table = score_table(&*opened.scorer)?;
        let record = ScorerRecord {
            device: opened.device.description.clone(),
            device_note: opened.device.fallback_reason.clone(),
            ..record
        };
        Ok(Self { opened, record, table, n_cached: 0 })
    }

    /// What it has done since it was asked the last time; what was embedded is in the cache then.
    pub(super) fn work(&mut self) -> Result<Work> {
        let n_cached = self.opened.encoder.as_ref().map_or(Ok(0), SharedEncoder::finish)?;
        let cached_rows = n_cached - std::mem::replace(&mut self.n_cached, n_cached);
        let truncated_rows = self.opened.truncated.as_ref().map_or(0, Truncated::count);
        let ScorerRecord { name, device, device_note, .. } = self.record.clone();
        Ok(Work { name, device, device_note, truncated_rows, cached_rows })
    }
}
