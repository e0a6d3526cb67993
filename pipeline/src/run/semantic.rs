//! Rows that say the same in other words: one more pass over those that stay so far, for an embedding of each.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field};
use tamis_schemas::columns;
use tamis_schemas::config::{Config, Scope};
use tamis_schemas::manifest::{EmbeddingRecord, SemanticRecord};

use super::embed::{EmbeddedRows, Embedder, EmbeddingTally};
use super::ids::column;
use super::plan::{EmbedPlan, Plan, max_cluster_rows, parse_keep};
use super::route::append;
use super::survey::Survey;
use super::{Run, pass};
use crate::context::Context;
use crate::dedup::semantic::{MAX_CLUSTERS, SemanticDuplicates, SemanticReport, SemanticSettings};
use crate::dedup::{LENGTH, NearDuplicateResult};
use crate::source::{Columns, Decoded, Request};
use crate::store::Stores;
use crate::{Error, Result};

/// With which encoder rows are compared, and how.
#[derive(Debug)]
pub(super) struct SemanticPlan {
    pub(super) embed: EmbedPlan,
    pub(super) settings: SemanticSettings,
}

impl SemanticPlan {
    /// `None` if the config does not ask for it.
    ///
    /// # Errors
    /// `Error::Config` for a setting that cannot work, and for those of near-duplicates that would not be heeded.
    pub(super) fn new(config: &Config) -> Result<Option<Self>> {
        let Some(semantic) = &config.semantic else { return Ok(None) };
        if !(0.0 < semantic.threshold && semantic.threshold <= 1.0) {
            let message = format!("semantic.threshold is {}, not above 0 and up to 1", semantic.threshold);
            return Err(Error::config(message));
        }
        if semantic.clusters.is_some_and(|clusters| !(1..=MAX_CLUSTERS).contains(&clusters)) {
            let message = format!("semantic.clusters is not between 1 and {MAX_CLUSTERS}");
            return Err(Error::config(message));
        }
        if let Some(deduplicate) = &config.deduplicate {
            let is_set = [
                ("scope", deduplicate.scope != Scope::All),
                ("by", deduplicate.by.is_some()),
                ("cap_cluster", deduplicate.cap_cluster != 1),
            ];
            if let Some((name, _)) = is_set.into_iter().find(|(_, is_set)| *is_set) {
                return Err(Error::Config {
                    message: format!("[semantic] compares all rows, and does not look at deduplicate.{name}"),
                    hint: Some("leave one of them out, or run [semantic] on what the other run kept".into()),
                });
            }
        }
        let keep = semantic.keep.as_ref().or(config.deduplicate.as_ref().map(|deduplicate| &deduplicate.keep));
        Ok(Some(Self {
            embed: EmbedPlan::new(&semantic.embed())?,
            settings: SemanticSettings {
                threshold: semantic.threshold,
                n_clusters: semantic.clusters,
                keep: parse_keep(keep.map_or("first", String::as_str))?,
                seed: semantic.seed,
            },
        }))
    }
}

/// What embeds texts to compare them.
#[derive(Debug)]
pub(super) enum Embeds<'a> {
    /// What writes embeddings, too.
    Shared(&'a Embedder),
    /// An encoder that nothing else needs.
    Own(Box<Embedder>),
}

impl<'a> Embeds<'a> {
    /// `None` if the config does not ask for it; `written` embeds what is written.
    pub(super) fn open(run: Run<'_>, written: Option<&'a Embedder>, stores: &Stores) -> Result<Option<Self>> {
        let Some(plan) = &run.plan.semantic else { return Ok(None) };
        let is_same = run.plan.embed.as_ref() == Some(&plan.embed);
        if let Some(embedder) = written.filter(|_| is_same) {
            return Ok(Some(Self::Shared(embedder)));
        }
        Ok(Embedder::open(run, Some(&plan.embed), None, stores)?.map(|embedder| Self::Own(Box::new(embedder))))
    }

    fn embedder(&self) -> &Embedder {
        match self {
            Self::Shared(embedder) => embedder,
            Self::Own(embedder) => embedder,
        }
    }
}

/// Drops rows whose embedding is close to that of another that stays.
pub(super) fn decide(run: Run<'_>, survey: &mut Survey, embeds: Embeds<'_>) -> Result<()> {
    let Some(SemanticPlan { settings, .. }) = &run.plan.semantic else { return Ok(()) };
    let embedder = embeds.embedder();
    let mut barrier = SemanticDuplicates::new(settings.clone(), embedder.dimensions(), run.context);
    let mut tally = EmbeddingTally::new(embedder, run.context);
    let mut n_blank = 0;
    let verdicts = survey.verdicts();
    let work = |decoded: Decoded| {
        let stay = |batch| verdicts.staying(batch);
        let batches = decoded.batches.into_iter().map(stay).collect::<Result<Vec<_>>>()?;
        let decoded = survey.cut(Decoded { batches, ..decoded })?;
        decoded.batches.iter().map(|batch| Compared::new(batch, embedder, run.context)).collect::<Result<Vec<_>>>()
    };
    run.begin("comparing by embeddings");
    let request = request(run.plan, settings);
    pass::for_each(run.scan(&survey.schema, &request)?, run.context, work, |batches| {
        for Compared { n_blank: n_of_batch, rows, embedded } in batches {
            run.progress.add_rows(n_of_batch + rows.num_rows() as u64);
            n_blank += n_of_batch;
            barrier.observe(&rows, run.context)?;
            tally.observe(embedded)?;
        }
        Ok(())
    })?;
    let embedding = tally.finish()?;
    // The weights take memory that sorting can use.
    drop(embeds);
    let found = survey.near_duplicates.take();
    let found = found.map_or_else(|| NearDuplicateResult::none(max_cluster_rows(run.config), run.context), Ok)?;
    let cutter = survey.grain.as_ref().and_then(|grain| grain.cutter.as_ref());
    let holds = |row| cutter.is_some_and(|cutter| cutter.holds(row));
    let (found, report) = barrier.finish(found, holds, run.context)?;
    survey.near_duplicates = Some(found);
    survey.semantic = Some(record(settings, embedding, &report, n_blank));
    Ok(())
}

/// What is read of rows to compare them.
pub(super) fn request(plan: &Plan, settings: &SemanticSettings) -> Request {
    Request {
        columns: Columns::Named(settings.columns()),
        text: Some(plan.text.clone()),
        id: Some(plan.id.clone()),
        rows: None,
    }
}

/// What the manifest says.
pub(super) fn record(
    settings: &SemanticSettings,
    embedding: EmbeddingRecord,
    report: &SemanticReport,
    n_blank: u64,
) -> SemanticRecord {
    SemanticRecord {
        embedding,
        threshold: settings.threshold,
        clusters: report.n_clusters,
        largest_cluster_rows: report.largest_cluster_rows,
        dropped_rows: report.n_dropped,
        spared_rows: report.n_spared,
        rows_without_text: n_blank,
        compared_pairs: report.n_compared_pairs,
        untested_pairs: report.n_untested_pairs,
    }
}

/// What is observed of a batch.
pub(super) struct Compared {
    /// Rows without a word that the encoder knows: they say nothing to it, so that none says the same.
    pub(super) n_blank: u64,
    pub(super) rows: RecordBatch,
    pub(super) embedded: EmbeddedRows,
}

impl Compared {
    pub(super) fn new(batch: &RecordBatch, embedder: &Embedder, context: &Context) -> Result<Self> {
        let texts = column(batch, columns::TEXT)?.as_string::<i32>();
        let knows = texts.iter().map(|text| embedder.knows(text.unwrap_or_default()).map(Some));
        let says_something = knows.collect::<Result<BooleanArray>>()?;
        let batch = filter_record_batch(batch, &says_something)?;
        let texts = column(&batch, columns::TEXT)?.as_string::<i32>();
        let lengths: UInt64Array =
            texts.iter().map(|text| Some(text.unwrap_or_default().chars().count() as u64)).collect();
        let embedded = embedder.embed(&batch, context)?;
        let vectors = embedded.table.column(1);
        let rows = append(&batch, Field::new(LENGTH, DataType::UInt64, false), Arc::new(lengths))?;
        let field = Field::new(columns::EMBEDDING, vectors.data_type().clone(), false);
        let rows = append(&rows, field, Arc::clone(vectors))?;
        Ok(Self { n_blank: (says_something.len() - batch.num_rows()) as u64, rows, embedded })
    }
}
