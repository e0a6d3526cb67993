//! The scorer, fitted on what the labels say.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use tamis_schemas::config::{Config, ScoreConfig};
use tamis_schemas::manifest::ScorerRecord;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Run;
use super::ids::rows_of;
use super::labels::{LabelSource, join};
use super::learn::learn;
use super::right_size::right_size;
use super::survey::Survey;
use super::training::{InputRows, TrainingData};
use crate::score::{LabelKind, SharedEncoder, Task, Truncated};
use crate::select::{Anchors, Embeddings, LabelledPool, MAX_ANCHORS};
use crate::stage::MapStage;
use crate::store::Stores;
use crate::{Result, RowSet};

/// A scorer that is ready, and what the labels say.
#[derive(Debug)]
pub(super) struct Fitted<'a> {
    /// Its output schema tells what it appends.
    pub(super) scorer: Box<dyn MapStage + 'a>,
    pub(super) record: ScorerRecord,
    /// What is labelled already, by any of the files.
    pub(super) labels: LabelledPool,
    pub(super) truncated: Option<Truncated>,
    /// What embeds, if the scorer does.
    pub(super) encoder: Option<SharedEncoder>,
    /// Labelled rows and probability of each class, by models that had not seen them.
    pub(super) left_out: Vec<(u64, Vec<f32>)>,
    /// Rows that stand for labelled ones, which are dropped.
    pub(super) stand_ins: HashMap<u64, u64>,
}

impl Fitted<'_> {
    /// What the manifest says, once all rows were scored; what was embedded is in the cache then.
    pub(super) fn finish(&self) -> Result<ScorerRecord> {
        let truncated_rows = self.truncated.as_ref().map_or(0, Truncated::count);
        let cached_rows = self.encoder.as_ref().map_or(Ok(0), SharedEncoder::finish)?;
        Ok(ScorerRecord { truncated_rows, cached_rows, ..self.record.clone() })
    }

    /// Names of the classes, or of labels of which a row may have several.
    pub(super) fn classes(&self) -> &[String] {
        &self.record.classes
    }

    /// Name of the task.
    pub(super) fn task(&self) -> &str {
        &self.record.task
    }

    /// Counts rows that stand for labelled ones, which are dropped.
    pub(super) fn standing_in(mut self, stand_ins: HashMap<u64, u64>) -> Self {
        self.labels.stand_in(&stand_ins);
        Self { stand_ins, ..self }
    }

    /// Embeddings of labelled rows: for each class the first ones by hash.
    pub(super) fn anchors(&self, seed: u64, data: &dyn TrainingData) -> Result<Anchors> {
        let mut by_hash: Vec<&(u64, String)> = self.labels.labelled.iter().collect();
        by_hash.sort_by_key(|(row, _)| (xxh3_64_with_seed(&row.to_le_bytes(), seed), *row));
        let mut of_label: HashMap<&str, usize> = HashMap::new();
        by_hash.retain(|(_, label)| {
            let n = of_label.entry(label).or_default();
            *n += 1;
            *n <= MAX_ANCHORS
        });
        let labels: HashMap<u64, &str> = by_hash.iter().map(|(row, label)| (*row, label.as_str())).collect();
        let mut found = Vec::new();
        self.score_rows(data, labels.keys().copied().collect(), |rows, scored| {
            let embeddings = Embeddings::of(scored)?;
            for (place, row) in rows.iter().enumerate() {
                found.extend(labels.get(row).map(|&label| (label, embeddings.get(place).to_vec())));
            }
            Ok(())
        })?;
        Ok(Anchors::new(found.iter().map(|(label, embedding)| (*label, embedding.as_slice()))))
    }

    /// Reads some rows and scores them; `take` has them batch by batch.
    pub(super) fn score_rows(
        &self,
        data: &dyn TrainingData,
        rows: RowSet,
        mut take: impl FnMut(&[u64], &RecordBatch) -> Result<()>,
    ) -> Result<()> {
        data.read(rows, &mut |batch| {
            let rows = rows_of(&batch)?.clone();
            take(rows.values(), &self.scorer.apply(batch)?)
        })
    }
}

/// Fits the scorer, if the config wants scores or a batch.
pub(super) fn fit<'a>(run: Run<'a>, survey: &mut Survey, stores: &Stores) -> Result<Option<Fitted<'a>>> {
    let Some(score) = scoring_config(run.config) else { return Ok(None) };
    let of_select = match run.config.select.as_ref().and_then(LabelSource::of_select) {
        Some(source) => Some(known(run, &*survey, &source, stores)?),
        None => None,
    };
    let of_score = match LabelSource::of_score(&score) {
        Some(source) => Some(known(run, &*survey, &source, stores)?),
        None => None,
    };
    let nothing = (LabelledPool::default(), LabelKind::default());
    let (labels, kind) = of_score.as_ref().or(of_select.as_ref()).unwrap_or(&nothing);
    let task = task(score.task, *kind, labels);
    let data = InputRows { run, survey: &*survey, seed: score.seed };
    let learn = |choice, name: &str| learn(run, &data, (choice, name), (labels, task), &score, stores);
    let mut fitted = learn(&run.plan.scorer, &score.scorer)?;
    if let (Some(choice), Some(name)) = (&run.plan.larger, &score.larger) {
        fitted = right_size(run, &*survey, fitted, learn(choice, name)?, &score, labels)?;
    }
    let of_score = of_score.map(|(labels, _)| labels);
    let labels = all_labels(of_select.map(|(labels, _)| labels), of_score);
    let stand_ins = survey.stand_ins(&answered(&labels), run.context)?;
    Ok(Some(Fitted { labels, ..fitted }.standing_in(stand_ins)))
}

/// How rows are scored, if the config wants scores or a batch.
pub(super) fn scoring_config(config: &Config) -> Option<ScoreConfig> {
    let of_select = || config.select.as_ref().map(|select| ScoreConfig { seed: select.seed, ..ScoreConfig::default() });
    config.score.clone().or_else(of_select)
}

/// The labels of the pool, but for those of contaminated rows.
pub(super) fn known(
    run: Run<'_>,
    survey: &Survey,
    source: &LabelSource<'_>,
    stores: &Stores,
) -> Result<(LabelledPool, LabelKind)> {
    let (mut labels, kind) = join(run, survey, source, stores)?;
    if let Some(contaminated) = &survey.contaminated {
        labels.remove(contaminated.rows());
    }
    Ok((labels, kind))
}

/// What is labelled already, by any of the files.
pub(super) fn all_labels(of_select: Option<LabelledPool>, of_score: Option<LabelledPool>) -> LabelledPool {
    let mut labels = of_select.unwrap_or_default();
    if let Some(of_score) = of_score {
        labels.add(&of_score);
    }
    labels
}

/// Rows of which somebody has said something.
pub(super) fn answered(labels: &LabelledPool) -> RowSet {
    labels.rows.iter().chain(labels.split.iter()).collect()
}

/// What is to be learnt.
pub(super) fn task(asked: tamis_schemas::config::Task, kind: LabelKind, labels: &LabelledPool) -> Task {
    use tamis_schemas::config::Task as Asked;
    match asked {
        Asked::Auto => Task::of_labels(kind, labels.classes.iter().map(|(name, _)| name.as_str())),
        Asked::Classes => Task::Classes,
        Asked::MultiLabel => Task::MultiLabel,
        Asked::Regression => Task::Regression,
    }
}
