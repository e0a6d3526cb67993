//! What a run will use, by what earlier ones used; and choices that make it less.

use tamis_schemas::footprint::{Interval, LedgerRow, ViewConfig};

use super::report::{Totals, runs};
use crate::{Error, Result};

/// What is to be predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanQuestion<'a> {
    /// Bytes of documents that will come in.
    pub input_bytes: u64,
    /// SHA-256 of the config.
    pub config_hash: &'a str,
    /// Fingerprint of the machine.
    pub machine: &'a str,
    /// Which energy.
    pub view: ViewConfig,
}

/// What a run will use, if earlier ones say so.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// No earlier run counted its bytes.
    Unknown,
    /// By earlier runs.
    Known(Prediction),
}

/// A prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// How like the earlier runs are.
    pub basis: Basis,
    /// How many they are.
    pub n_runs: usize,
    /// The run.
    pub run: StagePrediction,
    /// Its stages, in the order of the last run. Their p90 do not add up to the run's.
    pub stages: Vec<StagePrediction>,
}

/// How like earlier runs are to the one that is predicted, the most alike first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// Same config, same machine.
    SameConfig,
    /// Same machine.
    SameMachine,
    /// Neither: times may be far off.
    Other,
}

/// What a stage or the run will use.
#[derive(Debug, Clone, PartialEq)]
pub struct StagePrediction {
    /// Stage, or `run`.
    pub name: String,
    /// Length, seconds.
    pub wall_seconds: Quantiles,
    /// CPU time, seconds.
    pub cpu_seconds: Quantiles,
    /// Bytes read and written, if counted.
    pub disk_bytes: Option<Quantiles>,
    /// Energy with what the site adds, kWh, in the middle of earlier runs.
    pub kwh_p50: Interval,
    /// The same, in nine cases of ten.
    pub kwh_p90: Interval,
    /// Embodied emissions of the run that `kwh_p90` is of, grams of `CO2e`.
    pub embodied_g_p90: Interval,
}

/// Two quantiles. Of fewer than ten runs, the second is the largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantiles {
    /// As often more as less.
    pub p50: f64,
    /// Not more in nine cases of ten.
    pub p90: f64,
}

/// Predicts a run from rows of earlier ones, in proportion to the bytes of input.
///
/// Runs with the same config on the same machine are used if there are any; else those on the same machine; else all. Runs that
/// lack rows, or did not count their bytes, are not.
pub fn predict(rows: &[LedgerRow], question: &PlanQuestion<'_>) -> Plan {
    let all = runs(rows);
    let usable =
        all.iter().filter(|run| run.len() as u32 == run[0].rows_of_run && run[0].run.bytes_in.unwrap_or(0) > 0);
    let basis_of = |row: &LedgerRow| match (
        row.machine.fingerprint == question.machine,
        row.config_hash == question.config_hash,
    ) {
        (true, true) => Basis::SameConfig,
        (true, false) => Basis::SameMachine,
        _ => Basis::Other,
    };
    let usable: Vec<&Vec<&LedgerRow>> = usable.collect();
    let Some(basis) = usable.iter().map(|run| basis_of(run[0])).min() else { return Plan::Unknown };
    let chosen: Vec<&Vec<&LedgerRow>> = usable.into_iter().filter(|run| basis_of(run[0]) == basis).collect();
    let factor = |row: &LedgerRow| question.input_bytes as f64 / row.run.bytes_in.unwrap_or(1) as f64;
    let whole: Vec<Sample> =
        chosen.iter().map(|run| Sample::of(run, run[0].run_wall_seconds, factor(run[0]), question.view)).collect();
    let last = chosen[chosen.len() - 1];
    let stages = last.iter().map(|stage| {
        let of_stage = chosen.iter().filter_map(|run| run.iter().find(|row| row.stage == stage.stage));
        let samples = of_stage.map(|row| Sample::of(&[*row], row.wall_seconds, factor(row), question.view));
        StagePrediction::of(&stage.stage, &samples.collect::<Vec<_>>())
    });
    Plan::Known(Prediction {
        basis,
        n_runs: chosen.len(),
        stages: stages.collect(),
        run: StagePrediction::of("run", &whole),
    })
}

/// What an earlier run would have used with the input of this one.
#[derive(Debug, Clone, Copy)]
struct Sample {
    wall_seconds: f64,
    cpu_seconds: f64,
    disk_bytes: Option<f64>,
    kwh: Interval,
    embodied_g: Interval,
}

impl Sample {
    fn of(rows: &[&LedgerRow], wall_seconds: f64, factor: f64, view: ViewConfig) -> Self {
        let totals = Totals::of(rows, view);
        let of_row = |row: &&LedgerRow| {
            let amounts = if rows.len() > 1 { row.run } else { row.amounts };
            Some((amounts.read_bytes? + amounts.written_bytes.unwrap_or(0)) as f64 * factor)
        };
        Self {
            wall_seconds: wall_seconds * factor,
            cpu_seconds: totals.cpu_seconds * factor,
            disk_bytes: rows.first().and_then(of_row),
            kwh: totals.kwh.scale(factor),
            embodied_g: totals.embodied_g.scale(factor),
        }
    }
}

impl StagePrediction {
    fn of(name: &str, samples: &[Sample]) -> Self {
        let of = |figure: fn(&Sample) -> f64| Quantiles::of(samples.iter().map(figure).collect());
        let bytes: Option<Vec<f64>> = samples.iter().map(|sample| sample.disk_bytes).collect();
        let mut by_energy: Vec<&Sample> = samples.iter().collect();
        by_energy.sort_by(|one, other| one.kwh.mid().total_cmp(&other.kwh.mid()));
        let at = |ratio, figure: fn(&Sample) -> Interval| {
            by_energy.get(rank(by_energy.len(), ratio)).map_or(Interval::ZERO, |sample| figure(sample))
        };
        Self {
            name: name.to_owned(),
            wall_seconds: of(|sample| sample.wall_seconds),
            cpu_seconds: of(|sample| sample.cpu_seconds),
            disk_bytes: bytes.map(Quantiles::of),
            kwh_p50: at(0.5, |sample| sample.kwh),
            kwh_p90: at(0.9, |sample| sample.kwh),
            embodied_g_p90: at(0.9, |sample| sample.embodied_g),
        }
    }
}

impl Quantiles {
    fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        let at = |ratio| numbers.get(rank(numbers.len(), ratio)).copied().unwrap_or(0.0);
        Self { p50: at(0.5), p90: at(0.9) }
    }
}

/// Position of a quantile among so many sorted numbers: the least that this share of them does not exceed.
fn rank(n_numbers: usize, ratio: f64) -> usize {
    let position = (ratio * n_numbers as f64).ceil() as usize;
    position.max(1).min(n_numbers.max(1)) - 1
}

/// A model that could be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Name.
    pub name: String,
    /// Energy of a document, joules.
    pub joules_per_doc: f64,
    /// Share of the documents of a sample on which it says what the most costly one says.
    pub agreement: f64,
}

/// The model that is used.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelChoice {
    /// Name.
    pub name: String,
    /// The most costly one, which others are held against.
    pub reference: String,
    /// Share of the energy of the reference that the choice saves, 0 to 1.
    pub saved_ratio: f64,
    /// Its agreement with the reference.
    pub agreement: f64,
}

/// Chooses the least costly model that agrees with the most costly one on at least `min_agreement` of a sample. Of equally costly
/// ones, the one that agrees more.
///
/// # Errors
/// `Error::Config` if there is no candidate, or a number cannot be.
pub fn right_size(candidates: &[Candidate], min_agreement: f64) -> Result<ModelChoice> {
    if !(0.0..=1.0).contains(&min_agreement) {
        return Err(Error::config(format!("min_agreement is {min_agreement}: it is a share, 0 to 1")));
    }
    for candidate in candidates {
        let Candidate { name, joules_per_doc, agreement } = candidate;
        let is_cost = joules_per_doc.is_finite() && *joules_per_doc > 0.0;
        if !is_cost || !(0.0..=1.0).contains(agreement) {
            return Err(Error::config(format!("model `{name}`: {joules_per_doc} J a document, agreement {agreement}")));
        }
    }
    let by_cost = |one: &&Candidate, other: &&Candidate| {
        let by_joules = one.joules_per_doc.total_cmp(&other.joules_per_doc);
        by_joules.then(other.agreement.total_cmp(&one.agreement))
    };
    let reference =
        candidates.iter().max_by(by_cost).ok_or_else(|| Error::config("there is no model to choose from"))?;
    let enough = candidates.iter().filter(|candidate| candidate.agreement >= min_agreement);
    let chosen = enough.min_by(by_cost).unwrap_or(reference);
    Ok(ModelChoice {
        name: chosen.name.clone(),
        reference: reference.name.clone(),
        saved_ratio: 1.0 - chosen.joules_per_doc / reference.joules_per_doc,
        agreement: if chosen == reference { 1.0 } else { chosen.agreement },
    })
}

/// A filter whose place among others does not change which documents stay.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterCost {
    /// Name.
    pub name: String,
    /// Energy of a document that it looks at, joules.
    pub joules_per_doc: f64,
    /// Share of the documents that it lets through, whatever went before.
    pub pass_ratio: f64,
}

/// The order of filters with the least energy: by cost over the share that each removes. Equal ones stay as they are.
///
/// # Source
/// Exchange argument: of two neighbours, the one with the lower `cost / (1 - pass)` goes first.
pub fn cheap_first(filters: &[FilterCost]) -> Vec<FilterCost> {
    let rank = |filter: &FilterCost| filter.joules_per_doc / (1.0 - filter.pass_ratio).max(1e-12);
    let mut ordered = filters.to_vec();
    ordered.sort_by(|one, other| rank(one).total_cmp(&rank(other)));
    ordered
}

/// Energy of filters in their order, joules for each document that comes in.
pub fn joules_per_doc(filters: &[FilterCost]) -> f64 {
    let (mut left, mut joules) = (1.0, 0.0);
    for filter in filters {
        joules += left * filter.joules_per_doc;
        left *= filter.pass_ratio;
    }
    joules
}

#[cfg(test)]
mod tests {
    use super::super::report::text;
    use super::super::tests::run;
    use super::*;

    fn question(rows: &[LedgerRow], input_bytes: u64) -> PlanQuestion<'_> {
        let view = ViewConfig::Provisioned;
        PlanQuestion { input_bytes, config_hash: &rows[0].config_hash, machine: &rows[0].machine.fingerprint, view }
    }

    fn known(plan: Plan) -> Prediction {
        match plan {
            Plan::Known(prediction) => prediction,
            Plan::Unknown => panic!("it is unknown"),
        }
    }

    #[test]
    fn in_proportion_to_bytes() {
        let mut rows = Vec::new();
        for number in 1..=10_u32 {
            rows.extend(run(&format!("run {number}"), f64::from(number) / 10.0));
        }
        // Earlier runs had 4 GB, and took 12 s to 120 s.
        let plan = known(predict(&rows, &question(&rows, 8_000_000_000)));
        assert_eq!((plan.basis, plan.n_runs), (Basis::SameConfig, 10));
        assert!((plan.run.wall_seconds.p50 - 120.0).abs() < 1e-6 && (plan.run.wall_seconds.p90 - 216.0).abs() < 1e-6);
        assert!((plan.run.cpu_seconds.p50 - 200.0).abs() < 1e-6, "{:?}", plan.run);
        assert!((plan.run.disk_bytes.unwrap().p50 - 8e9).abs() < 1.0);
        assert!(plan.run.kwh_p50.mid() < plan.run.kwh_p90.mid());
        let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(names, ["survey", "dedup", "write", "overhead"]);
        assert!((plan.stages[1].cpu_seconds.p90 - 2.0 * 81.0).abs() < 1e-6, "{:?}", plan.stages[1]);
        let text = text::of_plan(&Plan::Known(plan.clone()));
        assert!(text.contains("by 10 earlier runs with this config") && text.contains("120.0, 216.0"), "{text}");
        assert!(text::of_plan(&Plan::Unknown).contains("not known"));
        let sum: f64 = plan.stages.iter().map(|stage| stage.kwh_p50.mid()).sum();
        assert!((sum / plan.run.kwh_p50.mid() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn quantiles_are_numbers_that_were() {
        let of = |n_numbers: u32| Quantiles::of((1..=n_numbers).rev().map(f64::from).collect());
        for (n_numbers, p50, p90) in
            [(1, 1.0, 1.0), (2, 1.0, 2.0), (7, 4.0, 7.0), (10, 5.0, 9.0), (11, 6.0, 10.0), (20, 10.0, 18.0)]
        {
            assert_eq!(of(n_numbers), Quantiles { p50, p90 }, "{n_numbers}");
        }
    }

    #[test]
    fn the_most_alike_runs_count() {
        let mut rows = run("other machine", 9.0);
        for row in &mut rows {
            row.machine.fingerprint = "x".into();
        }
        let own = run("own", 1.0);
        let of = |rows: &[LedgerRow]| known(predict(rows, &question(&own, 4_000_000_000)));
        assert_eq!(of(&rows).basis, Basis::Other);
        let mut other_config = run("other config", 3.0);
        for row in &mut other_config {
            row.config_hash = "x".into();
        }
        rows.extend(other_config);
        assert_eq!(of(&rows).basis, Basis::SameMachine);
        rows.extend(own.clone());
        let plan = of(&rows);
        assert_eq!((plan.basis, plan.n_runs), (Basis::SameConfig, 1));
        assert!((plan.run.wall_seconds.p90 - 120.0).abs() < 1e-6);
    }

    #[test]
    fn without_earlier_runs_nothing_is_known() {
        let mut rows = run("one", 1.0);
        assert_eq!(predict(&[], &question(&rows, 1)), Plan::Unknown);
        assert_eq!(predict(&rows[..2], &question(&rows, 1)), Plan::Unknown);
        for row in &mut rows {
            row.run.bytes_in = None;
        }
        assert_eq!(predict(&rows, &question(&rows, 1)), Plan::Unknown);
    }

    fn candidate(name: &str, joules_per_doc: f64, agreement: f64) -> Candidate {
        Candidate { name: name.into(), joules_per_doc, agreement }
    }

    #[test]
    fn the_smallest_model_that_agrees() {
        let models = [
            candidate("large", 8.0, 1.0),
            candidate("small", 1.0, 0.91),
            candidate("tiny", 0.1, 0.7),
            candidate("mid", 2.0, 0.97),
        ];
        for (min_agreement, expect, saved_ratio) in [
            (0.5, "tiny", 0.9875),
            (0.9, "small", 0.875),
            (0.95, "mid", 0.75),
            (0.99, "large", 0.0),
            (1.0, "large", 0.0),
        ] {
            let choice = right_size(&models, min_agreement).unwrap();
            assert_eq!((choice.name.as_str(), choice.reference.as_str()), (expect, "large"), "{min_agreement}");
            assert!((choice.saved_ratio - saved_ratio).abs() < 1e-12);
        }
        assert!(text::of_model(&right_size(&models, 0.9).unwrap()).contains("88 % less energy"));
        // Where none agrees, the most costly one stays.
        assert_eq!(right_size(&[candidate("a", 2.0, 0.5), candidate("b", 1.0, 0.4)], 0.9).unwrap().name, "a");
        assert!(right_size(&[], 0.9).is_err());
        assert!(right_size(&models, 1.1).is_err());
        assert!(right_size(&[candidate("a", 0.0, 0.5)], 0.9).is_err());
    }

    #[test]
    fn cheap_filters_go_first() {
        let filter =
            |name: &str, joules_per_doc, pass_ratio| FilterCost { name: name.into(), joules_per_doc, pass_ratio };
        let filters = [
            filter("model", 5.0, 0.2),
            filter("length", 0.1, 0.9),
            filter("language", 1.0, 0.5),
            filter("none", 0.5, 1.0),
        ];
        let ordered = cheap_first(&filters);
        // Against each order there is.
        let mut least = f64::INFINITY;
        let mut order: Vec<usize> = (0..4).collect();
        permute(&mut order, 0, &mut |order| {
            let filters: Vec<FilterCost> = order.iter().map(|at| filters[*at].clone()).collect();
            least = least.min(joules_per_doc(&filters));
        });
        assert!((joules_per_doc(&ordered) - least).abs() < 1e-12, "{ordered:?}");
        assert!(joules_per_doc(&ordered) < joules_per_doc(&filters));
    }

    fn permute(order: &mut Vec<usize>, from: usize, visit: &mut dyn FnMut(&[usize])) {
        if from == order.len() {
            visit(order);
        }
        for at in from..order.len() {
            order.swap(from, at);
            permute(order, from + 1, visit);
            order.swap(from, at);
        }
    }
}
