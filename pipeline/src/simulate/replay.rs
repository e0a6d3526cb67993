//! One strategy, from the first labels to the last.

use std::time::Instant;

use tamis_schemas::config::Strategy;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::SimulateSettings;
use super::curve::{Point, accuracy, macro_f1};
use super::learner::{Learner, Model};
use super::world::World;
use crate::context::Context;
use crate::footprint::activity::{SystemRoot, resident_bytes};
use crate::progress::Progress;
use crate::select::{LabelledPool, SelectSettings, Selection};
use crate::stage::BarrierStage;
use crate::{Result, RowSet};

/// Share of a batch that `auto`, which is a whole recipe, draws at random.
const AUTO_RANDOM_RATIO: f64 = 0.1;
/// Keeps the first labels apart from all else that a seed decides.
const FIRST_SALT: u64 = 0x6669_7273;

/// Replays a strategy with a seed.
pub(super) fn replay(
    world: &World,
    learner: &Learner,
    strategy: Strategy,
    seed: u64,
    settings: &SimulateSettings,
    context: &Context,
    progress: &Progress,
) -> Result<Vec<Point>> {
    let mut labelled = first_rows(world, settings.n_init, seed);
    let truth: Vec<u32> = world.test.iter().map(|row| row.label).collect();
    let mut points = Vec::new();
    let mut started = Instant::now();
    for round in 0..=settings.n_rounds {
        context.cancel.check()?;
        let model = learner.fit(world, &labelled, seed, strategy.asks_committee(), context)?;
        let predicted = learner.predict_test(&model, world, context)?;
        points.push(Point {
            strategy: strategy.name().to_owned(),
            seed,
            round: round as u32,
            labels: labelled.len() as u32,
            accuracy: accuracy(&truth, &predicted),
            macro_f1: macro_f1(&truth, &predicted),
            seconds: started.elapsed().as_secs_f64(),
            memory_bytes: resident_bytes(&SystemRoot::default()),
        });
        progress.add_rows(labelled.len() as u64);
        if round == settings.n_rounds {
            break;
        }
        started = Instant::now();
        let batch = choose(world, learner, &model, &labelled, strategy, [seed, round as u64], settings, context)?;
        if batch.is_empty() {
            break;
        }
        labelled.extend(batch);
    }
    Ok(points)
}

/// Rows of the pool that are labelled first: the same for all strategies.
fn first_rows(world: &World, n: usize, seed: u64) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..world.pool.len() as u32).collect();
    rows.sort_by_cached_key(|&row| (xxh3_64_with_seed(world.pool[row as usize].id.as_bytes(), seed ^ FIRST_SALT), row));
    rows.truncate(n);
    rows
}

/// The rows to label next.
#[expect(clippy::too_many_arguments, reason = "all that a round knows")]
fn choose(
    world: &World,
    learner: &Learner,
    model: &Model,
    labelled: &[u32],
    strategy: Strategy,
    [seed, round]: [u64; 2],
    settings: &SimulateSettings,
    context: &Context,
) -> Result<Vec<u32>> {
    let known: RowSet = labelled.iter().map(|&row| u64::from(row)).collect();
    let is_one_class =
        labelled.iter().all(|&row| world.pool[row as usize].label == world.pool[labelled[0] as usize].label);
    // What asks a model has none to ask yet.
    let strategy = if is_one_class && strategy.needs_classes() { Strategy::Random } else { strategy };
    let is_auto = strategy == Strategy::Auto;
    let select = SelectSettings {
        budget: settings.n_batch,
        strategy,
        random_ratio: if is_auto { AUTO_RANDOM_RATIO } else { 0.0 },
        seed: xxh3_64_with_seed(&round.to_le_bytes(), seed),
        ..SelectSettings::default()
    };
    let excluded = if is_auto { world.near_duplicates.clone() } else { RowSet::new() };
    let mut selection = Selection::new(select, &LabelledPool { rows: known, ..LabelledPool::default() }, excluded)?;
    if strategy == Strategy::Random {
        world.pool_batches.iter().try_for_each(|batch| selection.observe(batch, context))?;
    } else {
        let scored = learner.score_pool(model, world, context)?;
        if strategy == Strategy::Anchor {
            selection = selection.with_anchors(Learner::anchors(&scored, world, labelled)?);
        }
        scored.iter().try_for_each(|batch| selection.observe(batch, context))?;
    }
    Ok(selection.finish(context)?.batch.rows().iter().map(|row| row as u32).collect())
}
