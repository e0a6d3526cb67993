//! Loss guards: whether a run drops more than it may, of all rows, of a source or of a cluster.
//!
//! The run and its clusters are looked at as soon as there are verdicts, so that nothing is written in vain; sources are
//! counted while rows are written. Nothing is visible before [`Losses::finish`] has agreed.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use tamis_schemas::config::GuardsConfig;
use tamis_schemas::manifest::{LossBreach, LossExample, LossOf, LossRecord};

use super::ids::{column, ids_of, rows_of};
use super::sources::{SourceCounts, SourceLoss, SourceOf, Tallies};
use super::survey::Survey;
use super::{Run, pass};
use crate::dedup::NearDuplicateResult;
use crate::source::{Columns, Request};
use crate::{Error, Result, RowSet};

/// Of a source with fewer rows no share is looked at: half of two rows says nothing.
const MIN_SOURCE_ROWS: u64 = 20;
/// Sources told of.
const N_SOURCES: usize = 5;
/// Dropped rows told of.
const N_EXAMPLES: usize = 5;
/// Characters told of a source's name.
const NAME_CHARS: usize = 200;

/// The guards of a run.
#[derive(Debug)]
pub(super) struct Guards<'a> {
    run: Run<'a>,
    limits: &'a GuardsConfig,
    counts: SourceCounts,
}

impl<'a> Guards<'a> {
    /// `None` if the config has none.
    pub(super) fn new(run: Run<'a>) -> Option<Self> {
        let limits = run.config.guards.as_ref()?;
        Some(Self { run, limits, counts: SourceCounts::new(run.context) })
    }

    /// The same, once all sources are counted.
    pub(super) fn counted(run: Run<'a>, counts: SourceCounts) -> Option<Self> {
        Self::new(run).map(|guards| Self { counts, ..guards })
    }

    /// Where sources are found, if their losses are limited.
    pub(super) fn source(&self) -> Option<SourceOf> {
        (self.limits.max_dropped_ratio < 1.0).then(|| SourceOf::new(self.run))
    }

    /// Sees the sources of a batch.
    pub(super) fn observe(&mut self, tallies: Tallies) -> Result<()> {
        self.counts.add(tallies, self.run.context)
    }

    /// Everything that lost too much, given the rows that were dropped of `n_rows`.
    pub(super) fn finish(self, found: &NearDuplicateResult, n_rows: u64) -> Result<Losses> {
        let Self { run, limits, counts } = self;
        let mut losses = Losses { allowed: limits.allow_loss, ..Losses::of_verdicts(limits, found, n_rows) };
        let limit = limits.max_dropped_ratio;
        let mut worst: Vec<SourceLoss> = Vec::new();
        counts.finish(run.context, |source| {
            if source.n_rows < MIN_SOURCE_ROWS || !is_above(source.n_dropped, source.n_rows, limit) {
                return;
            }
            losses.n_sources += 1;
            let place = worst.partition_point(|other| other.n_dropped >= source.n_dropped);
            if place < N_SOURCES {
                worst.insert(place, source);
                worst.truncate(N_SOURCES);
            }
        })?;
        for SourceLoss { name, n_rows, n_dropped, examples } in worst {
            let name = name.map(|name| shorten(&name));
            losses.add(LossOf::Source, name, (n_rows, n_dropped), limit, examples);
        }
        Ok(losses)
    }
}

fn is_above(n_dropped: u64, n_rows: u64, max_ratio: f64) -> bool {
    n_dropped as f64 > max_ratio * n_rows as f64
}

fn shorten(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

/// Stops a run whose verdicts lose too much, unless that is allowed.
///
/// # Errors
/// `Error::Loss`, with every source that loses too much.
pub(super) fn check_verdicts(run: Run<'_>, survey: &mut Survey) -> Result<()> {
    let (n_rows, verdicts) = (survey.rows_at_stake(), survey.verdicts());
    let (Some(mut guards), Some(found)) = (Guards::new(run), &mut survey.near_duplicates) else { return Ok(()) };
    if guards.limits.allow_loss || Losses::of_verdicts(guards.limits, found, n_rows).is_empty() {
        return Ok(());
    }
    run.begin("looking at the loss");
    let source = guards.source();
    let request = Request {
        columns: Columns::Named(source.as_ref().map_or_else(Vec::new, SourceOf::columns)),
        text: None,
        id: Some(run.plan.id.clone()),
        rows: None,
    };
    let work = |decoded: crate::source::Decoded| {
        let batches = decoded.batches.into_iter().map(|batch| {
            let batch = verdicts.apply(&batch)?;
            let tallies = source.as_ref().map(|source| source.count(decoded.file, &batch)).transpose()?;
            Ok((batch, tallies))
        });
        batches.collect::<Result<Vec<_>>>()
    };
    pass::for_each(run.scan(&survey.schema, &request)?, run.context, work, |batches| {
        for (batch, tallies) in batches {
            run.progress.add_rows(batch.num_rows() as u64);
            found.evidence.observe_ids(rows_of(&batch)?, ids_of(&batch)?, run.context)?;
            tallies.map_or(Ok(()), |tallies| guards.observe(tallies))?;
        }
        Ok(())
    })?;
    let Some(found) = survey.near_duplicates.take() else { return Ok(()) };
    let mut losses = guards.finish(&found, n_rows)?;
    let mut evidence = found.evidence.finish(run.context)?;
    while let Some(batch) = evidence.next().transpose()? {
        losses.observe(evidence.rows(), &batch)?;
    }
    losses.finish().map(drop)
}

/// What lost too much.
#[derive(Debug, Default)]
pub(super) struct Losses {
    allowed: bool,
    n_sources: u64,
    n_clusters: u64,
    /// Breaches without examples, and the dropped rows to be these.
    breaches: Vec<(LossBreach, Vec<u64>)>,
    wanted: RowSet,
    examples: BTreeMap<u64, LossExample>,
}

impl Losses {
    /// What is known once there are verdicts: the run and its clusters.
    fn of_verdicts(limits: &GuardsConfig, found: &NearDuplicateResult, n_rows: u64) -> Self {
        let mut losses = Self { n_clusters: found.largest.n_too_large, ..Self::default() };
        let clusters = &found.largest.clusters;
        let n_dropped = found.verdict.n_dropped();
        if is_above(n_dropped, n_rows, limits.max_dropped_ratio) {
            let rows_of = |place: usize| clusters.iter().filter_map(move |cluster| cluster.examples.get(place));
            let mut rows: Vec<u64> = (0..N_EXAMPLES).flat_map(rows_of).map(|&(row, _)| row).take(N_EXAMPLES).collect();
            // Rows that other rules drop are in no cluster.
            let others = found.verdict.dropped();
            rows.extend(
                others.iter().filter(|row| !rows.contains(row)).take(N_EXAMPLES - rows.len()).collect::<Vec<_>>(),
            );
            losses.add(LossOf::Run, None, (n_rows, n_dropped), limits.max_dropped_ratio, rows);
        }
        let Some(limit) = limits.max_cluster_rows else { return losses };
        for cluster in clusters.iter().filter(|cluster| cluster.n_rows > limit) {
            let rows = cluster.examples.iter().map(|&(row, _)| row).collect();
            losses.add(LossOf::Cluster, None, (cluster.n_rows, cluster.n_dropped), limit as f64, rows);
        }
        losses
    }

    fn add(&mut self, of: LossOf, name: Option<String>, counts: (u64, u64), limit: f64, examples: Vec<u64>) {
        let (rows, dropped) = counts;
        for &row in &examples {
            self.wanted.insert(row);
        }
        self.breaches.push((LossBreach { of, name, rows, dropped, limit, examples: Vec::new() }, examples));
    }

    /// Whether nothing did. If something did, evidence must be seen.
    pub(super) fn is_empty(&self) -> bool {
        self.breaches.is_empty()
    }

    /// Sees a batch of evidence, and which rows it is of.
    pub(super) fn observe(&mut self, rows: &[u64], evidence: &RecordBatch) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let text = |name: &str, index: usize| -> Result<String> {
            Ok(column(evidence, name)?.as_string::<i32>().value(index).to_owned())
        };
        for (index, &row) in rows.iter().enumerate().filter(|(_, row)| self.wanted.contains(**row)) {
            let example = LossExample {
                dropped_id: text("dropped_id", index)?,
                kept_id: text("kept_id", index)?,
                similarity: column(evidence, "similarity")?.as_primitive::<Float64Type>().value(index),
            };
            self.examples.insert(row, example);
        }
        Ok(())
    }

    /// What the manifest says of it, if anything.
    ///
    /// # Errors
    /// `Error::Loss` if something lost too much and that is not allowed.
    pub(super) fn finish(self) -> Result<Option<LossRecord>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut record = LossRecord { sources: self.n_sources, clusters: self.n_clusters, breaches: Vec::new() };
        for (mut breach, rows) in self.breaches {
            breach.examples = rows.iter().filter_map(|row| self.examples.get(row).cloned()).collect();
            if breach.of == LossOf::Cluster {
                breach.name = breach.examples.first().map(|example| example.kept_id.clone());
            }
            if self.allowed {
                tracing::warn!(loss = %breach, "more rows are dropped than the guards allow");
            }
            record.breaches.push(breach);
        }
        if self.allowed { Ok(Some(record)) } else { Err(Error::Loss(Box::new(record))) }
    }
}
