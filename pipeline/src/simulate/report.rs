//! What a simulation says.

use std::collections::BTreeMap;

use serde::Serialize;
use tamis_schemas::config::Strategy;

use super::SimulateSettings;
use super::curve::{Point, area, labels_saved, mean_curve, mean_with_interval, up_to};
use super::inject::Injection;
use super::world::World;

/// What a simulation says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Rows that labels were taken from.
    pub pool_rows: u64,
    /// Rows of the pool that say the same as earlier ones.
    pub near_duplicate_rows: u64,
    /// Rows that models were tested on.
    pub test_rows: u64,
    /// Rows without a label, left out.
    pub unlabelled_rows: u64,
    /// Rows that could not be read.
    pub rejected_rows: u64,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Labels before the first round.
    pub init: usize,
    /// Labels of a round.
    pub batch: usize,
    /// Rounds.
    pub rounds: usize,
    /// Replays of each strategy.
    pub seeds: u64,
    /// What was done to the pool.
    pub injection: Injection,
    /// By name.
    pub strategies: BTreeMap<String, StrategyReport>,
    /// One sentence for people.
    pub verdict: String,
}

/// What a strategy did. Areas are normalized: the mean height of the curve, 0 to 1, up to the labels that all strategies came to with a seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StrategyReport {
    /// Area under the curve of accuracy, mean over the seeds.
    pub aulc_accuracy: f64,
    /// Area under the curve of macro F1, mean over the seeds.
    pub aulc_macro_f1: f64,
    /// Accuracy after the last round, mean over the seeds.
    pub final_accuracy: f64,
    /// Labels after the last round, mean over the seeds: fewer than others where the strategy had no rows left to choose.
    pub final_labels: f64,
    /// Mean over the seeds of the area (accuracy) less that of random with the same first labels.
    pub delta_vs_random: f64,
    /// Ends of its interval of 95 %; none for one seed.
    pub delta_ci95: Option<[f64; 2]>,
    /// The same of macro F1.
    pub delta_macro_f1: f64,
    /// Its interval.
    pub delta_macro_f1_ci95: Option<[f64; 2]>,
    /// The worst seed.
    pub worst_delta: f64,
    /// Seeds with a larger area than random.
    pub wins: usize,
    /// Seeds with a smaller one.
    pub losses: usize,
    /// Share of random's labels that are not needed for the accuracy that random ends with; below 0 if more are.
    pub labels_saved_ratio: Option<f64>,
    /// Wall time of a round: choosing, learning, scoring.
    pub seconds_per_round: f64,
    /// Most memory that the process held at the end of a round; none where the kernel does not say.
    pub memory_bytes: Option<u64>,
}

impl Summary {
    pub(super) fn new(points: &[Point], strategies: &[Strategy], world: &World, settings: &SimulateSettings) -> Self {
        let shared = shared_labels(points);
        let random = Curves::of(points, Strategy::Random);
        let reports: BTreeMap<String, StrategyReport> = strategies
            .iter()
            .map(|&strategy| (strategy.name().to_owned(), Curves::of(points, strategy).report(&random, &shared)))
            .collect();
        let verdict = verdict(&reports, settings, &random);
        Self {
            pool_rows: world.pool.len() as u64,
            near_duplicate_rows: world.near_duplicates.len(),
            test_rows: world.test.len() as u64,
            unlabelled_rows: world.n_unlabelled,
            rejected_rows: world.n_rejected,
            classes: world.classes.clone(),
            init: settings.n_init,
            batch: settings.n_batch,
            rounds: settings.n_rounds,
            seeds: settings.n_seeds,
            injection: settings.injection,
            strategies: reports,
            verdict,
        }
    }
}

/// For each seed the labels up to which every strategy has a curve.
fn shared_labels(points: &[Point]) -> Vec<f64> {
    let mut last: BTreeMap<(u64, &str), u32> = BTreeMap::new();
    for point in points {
        last.insert((point.seed, &point.strategy), point.labels);
    }
    let mut shared: BTreeMap<u64, u32> = BTreeMap::new();
    for ((seed, _), labels) in last {
        let least = shared.entry(seed).or_insert(labels);
        *least = labels.min(*least);
    }
    shared.into_values().map(f64::from).collect()
}

/// The curves of a strategy, seed by seed.
struct Curves {
    accuracy: Vec<Vec<(f64, f64)>>,
    macro_f1: Vec<Vec<(f64, f64)>>,
    seconds: Vec<f64>,
    memory_bytes: Option<u64>,
}

impl Curves {
    fn of(points: &[Point], strategy: Strategy) -> Self {
        let of_strategy = || points.iter().filter(|point| point.strategy == strategy.name());
        let memory_bytes = of_strategy().filter_map(|point| point.memory_bytes).max();
        let mut curves = Self { accuracy: Vec::new(), macro_f1: Vec::new(), seconds: Vec::new(), memory_bytes };
        for point in of_strategy() {
            if point.round == 0 {
                curves.accuracy.push(Vec::new());
                curves.macro_f1.push(Vec::new());
            } else {
                curves.seconds.push(point.seconds);
            }
            let labels = f64::from(point.labels);
            if let (Some(accuracy), Some(macro_f1)) = (curves.accuracy.last_mut(), curves.macro_f1.last_mut()) {
                accuracy.push((labels, point.accuracy));
                macro_f1.push((labels, point.macro_f1));
            }
        }
        curves
    }

    fn report(&self, random: &Self, shared: &[f64]) -> StrategyReport {
        let areas = |curves: &[Vec<(f64, f64)>]| {
            curves.iter().zip(shared).map(|(curve, &most)| area(&up_to(curve, most))).collect::<Vec<f64>>()
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let deltas = |ours: &[f64], theirs: &[f64]| ours.iter().zip(theirs).map(|(a, b)| a - b).collect::<Vec<f64>>();
        let (accuracy, macro_f1) = (areas(&self.accuracy), areas(&self.macro_f1));
        let of_accuracy = deltas(&accuracy, &areas(&random.accuracy));
        let (delta_vs_random, delta_ci95) = mean_with_interval(&of_accuracy);
        let (delta_macro_f1, delta_macro_f1_ci95) = mean_with_interval(&deltas(&macro_f1, &areas(&random.macro_f1)));
        let final_labels: Vec<f64> =
            self.accuracy.iter().filter_map(|curve| curve.last()).map(|point| point.0).collect();
        let last: Vec<f64> = self.accuracy.iter().filter_map(|curve| curve.last()).map(|point| point.1).collect();
        StrategyReport {
            aulc_accuracy: mean(&accuracy),
            aulc_macro_f1: mean(&macro_f1),
            final_accuracy: mean(&last),
            final_labels: mean(&final_labels),
            delta_vs_random,
            delta_ci95,
            delta_macro_f1,
            delta_macro_f1_ci95,
            worst_delta: of_accuracy.iter().copied().fold(f64::INFINITY, f64::min),
            wins: of_accuracy.iter().filter(|delta| 0.0 < **delta).count(),
            losses: of_accuracy.iter().filter(|delta| **delta < 0.0).count(),
            labels_saved_ratio: labels_saved(&mean_curve(&random.accuracy), &mean_curve(&self.accuracy)),
            seconds_per_round: mean(&self.seconds),
            memory_bytes: self.memory_bytes,
        }
    }
}

/// Whether active learning pays, by `auto`, or the best strategy where that was not replayed.
fn verdict(reports: &BTreeMap<String, StrategyReport>, settings: &SimulateSettings, random: &Curves) -> String {
    let others = || reports.iter().filter(|(name, _)| *name != Strategy::Random.name());
    let best = others().max_by(|a, b| a.1.delta_vs_random.total_cmp(&b.1.delta_vs_random));
    let judged = others().find(|(name, _)| *name == Strategy::Auto.name()).or(best);
    let Some((name, report)) = judged else {
        return "Only random was replayed: name a strategy to compare it with.".into();
    };
    let points = |delta: f64| format!("{:+.1} points", 100.0 * delta);
    let Some([low, high]) = report.delta_ci95 else {
        return format!(
            "One seed cannot tell whether active learning pays here ({name}: {} of area): use more.",
            points(report.delta_vs_random)
        );
    };
    let interval = format!(
        "{} of area under the learning curve, 95 % interval {:+.1} to {:+.1}, {} seeds",
        points(report.delta_vs_random),
        100.0 * low,
        100.0 * high,
        settings.n_seeds
    );
    let n_labels = mean_curve(&random.accuracy).last().map_or(0.0, |point| point.0);
    let saved = match report.labels_saved_ratio {
        Some(ratio) if 0.0 < ratio => format!(
            " and has what random knows after {n_labels:.0} labels with {:.0}, {:.0} % fewer",
            n_labels * (1.0 - ratio),
            100.0 * ratio
        ),
        _ => String::new(),
    };
    if 0.0 < low {
        format!("Active learning pays here: {name} beats random ({interval}){saved}.")
    } else if high < 0.0 {
        format!("Active learning does not pay here: {name} is worse than random ({interval}).")
    } else {
        format!("No difference could be shown here between {name} and random ({interval}).")
    }
}
