//! The model of a round, learned anew from the labels so far.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use rayon::prelude::*;
use tamis_schemas::columns;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::world::{BATCH_ROWS, Row, World};
use crate::budget::Reservation;
use crate::context::Context;
use crate::score::append::append_columns;
use crate::score::encoder::Encoder;
use crate::score::{BuiltinScorer, BuiltinSettings, Head, HeadKind, HeadSettings, LabelledText, Projection, Task};
use crate::select::{Anchors, Embeddings};
use crate::stage::MapStage;
use crate::{Error, Result};

/// Texts that the built-in scorer learns word frequencies from before there are labels, at most.
const SAMPLE_TEXTS: usize = 20_000;

/// What learns.
#[derive(Debug)]
pub(super) enum Learner {
    Builtin { projection: Projection },
    Encoder { kind: HeadKind, dimensions: usize, pool: Vec<f32>, test: Vec<f32>, _reservation: Reservation },
}

/// What was learned in a round.
#[derive(Debug)]
pub(super) enum Model {
    Builtin(Box<BuiltinScorer>),
    Head(Head),
}

impl Learner {
    /// Embeds all rows, if there is an encoder.
    pub(super) fn new(encoder: Option<&Encoder>, world: &World, kind: HeadKind, context: &Context) -> Result<Self> {
        if let Some((vectors, dimensions)) = &world.embeddings {
            let of = |rows: &[Row]| -> Vec<f32> {
                rows.iter().flat_map(|row| row_of(vectors, *dimensions, row.place)).copied().collect()
            };
            let mut reservation = context.budget.reserve("embeddings");
            reservation.grow((world.pool.len() + world.test.len()) * dimensions * size_of::<f32>())?;
            let (pool, test) = (of(&world.pool), of(&world.test));
            return Ok(Self::Encoder { kind, dimensions: *dimensions, pool, test, _reservation: reservation });
        }
        let Some(encoder) = encoder else {
            let mut order: Vec<&Row> = world.pool.iter().collect();
            order.sort_unstable_by_key(|row| xxh3_64_with_seed(row.id.as_bytes(), 0));
            let sample: Vec<String> = order.into_iter().take(SAMPLE_TEXTS).map(|row| row.text.clone()).collect();
            return Ok(Self::Builtin { projection: Projection::of(&sample, &BuiltinSettings::default()) });
        };
        let dimensions = encoder.dimensions();
        let mut reservation = context.budget.reserve("embeddings");
        reservation.grow((world.pool.len() + world.test.len()) * dimensions * size_of::<f32>())?;
        let embed = |rows: &[Row]| {
            let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
            Ok::<_, Error>(encoder.embed(&texts, context)?.vectors)
        };
        let (pool, test) = (embed(&world.pool)?, embed(&world.test)?);
        Ok(Self::Encoder { kind, dimensions, pool, test, _reservation: reservation })
    }

    /// Learns from these rows of the pool.
    pub(super) fn fit(
        &self,
        world: &World,
        labelled: &[u32],
        seed: u64,
        committee: bool,
        context: &Context,
    ) -> Result<Model> {
        let label = |row: u32| world.classes[world.pool[row as usize].label as usize].as_str();
        match self {
            Self::Builtin { projection } => {
                let one = |&row: &u32| LabelledText {
                    text: world.pool[row as usize].text.clone(),
                    label: label(row).to_owned(),
                };
                let texts: Vec<LabelledText> = labelled.iter().map(one).collect();
                let settings = BuiltinSettings { task: Task::Classes, seed, committee, ..BuiltinSettings::default() };
                let scorer = BuiltinScorer::fit(&texts, &[], &settings, context)?;
                Ok(Model::Builtin(Box::new(scorer.embedding_by(projection.clone()))))
            }
            Self::Encoder { kind, dimensions, pool, .. } => {
                let vectors: Vec<f32> =
                    labelled.iter().flat_map(|&row| row_of(pool, *dimensions, row as usize)).copied().collect();
                let labels: Vec<&str> = labelled.iter().map(|&row| label(row)).collect();
                let settings =
                    HeadSettings { kind: *kind, task: Task::Classes, seed, committee, ..HeadSettings::default() };
                Ok(Model::Head(Head::fit(&vectors, *dimensions, &labels, &settings, context)?))
            }
        }
    }

    /// The pool, scored.
    pub(super) fn score_pool(&self, model: &Model, world: &World, context: &Context) -> Result<Vec<RecordBatch>> {
        let vectors = match self {
            Self::Builtin { .. } => &[][..],
            Self::Encoder { pool, .. } => pool,
        };
        self.score(model, &world.pool_batches, vectors, context)
    }

    /// The class that the model predicts for each test row.
    pub(super) fn predict_test(&self, model: &Model, world: &World, context: &Context) -> Result<Vec<u32>> {
        let vectors = match self {
            Self::Builtin { .. } => &[][..],
            Self::Encoder { test, .. } => test,
        };
        let mut classes = Vec::with_capacity(world.test.len());
        for batch in self.score(model, &world.test_batches, vectors, context)? {
            let labels = batch.column_by_name(columns::LABEL).ok_or_else(|| Error::Invariant("no label".into()))?;
            for label in labels.as_string::<i32>().iter().map(Option::unwrap_or_default) {
                classes.push(world.classes.partition_point(|class| class.as_str() < label) as u32);
            }
        }
        Ok(classes)
    }

    /// Labelled rows that stand for their classes.
    pub(super) fn anchors(scored: &[RecordBatch], world: &World, labelled: &[u32]) -> Result<Anchors> {
        let batches: Vec<Embeddings> = scored.iter().map(Embeddings::of).collect::<Result<_>>()?;
        let of_row = |&row: &u32| {
            let (row, label) = (row as usize, world.pool[row as usize].label as usize);
            (world.classes[label].as_str(), batches[row / BATCH_ROWS].get(row % BATCH_ROWS))
        };
        Ok(Anchors::new(labelled.iter().map(of_row)))
    }

    fn score(
        &self,
        model: &Model,
        batches: &[RecordBatch],
        vectors: &[f32],
        context: &Context,
    ) -> Result<Vec<RecordBatch>> {
        let starts = batches.iter().scan(0, |start, batch| {
            let first = *start;
            *start += batch.num_rows();
            Some(first)
        });
        let starts: Vec<usize> = starts.collect();
        let score = |(batch, &first): (&RecordBatch, &usize)| match (model, self) {
            (Model::Builtin(scorer), _) => scorer.apply(batch.clone()),
            (Model::Head(head), Self::Encoder { dimensions, .. }) => {
                let vectors = &vectors[first * dimensions..][..batch.num_rows() * dimensions];
                let fields: Vec<_> = head.fields(*dimensions).into_iter().map(Arc::new).collect();
                append_columns(batch, &fields, head.columns(vectors, *dimensions)?)
            }
            (Model::Head(_), Self::Builtin { .. }) => Err(Error::Invariant("a head without embeddings".into())),
        };
        context.pool.install(|| batches.par_iter().zip(&starts).map(score).collect())
    }
}

fn row_of(vectors: &[f32], dimensions: usize, row: usize) -> &[f32] {
    &vectors[row * dimensions..][..dimensions]
}
