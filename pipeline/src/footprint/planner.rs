//! What a run will use, by what earlier ones used.

use tamis_schemas::footprint::{Amounts, Interval, LedgerRow, TASKS, ViewConfig};

use super::report::{StageReport, Totals, median, runs};

/// Runs whose inputs are this many times apart say what grows.
const LEAST_GROWTH: f64 = 2.0;
/// Runs that are compared with each other for that: the last ones.
const MOST_COMPARED: usize = 200;

/// What is to be predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanQuestion<'a> {
    /// The command; none if rows do not say it.
    pub command: Option<&'a str>,
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
    /// All of it is taken to be in proportion to the input: no two of them are of sizes that tell what grows.
    pub is_in_proportion: bool,
    /// The run.
    pub run: StagePrediction,
    /// Its stages, in the order of the last run. Their quantiles need not add up to the run's.
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

/// Predicts a run from rows of earlier ones, by the bytes of input: in proportion, or where there are earlier runs of several sizes, with what they all
/// take and what grows told apart.
///
/// Runs with the same config on the same machine are used if there are any; else those on the same machine; else all. Runs of another command, and
/// those that lack rows, were on a cluster, were not metered or did not count their bytes, are not.
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
    let is_like = |row: &LedgerRow| row.command.is_none() || row.command.as_deref() == question.command;
    // What a cluster takes says nothing of one machine.
    let usable = usable.filter(|run| run[0].boundary != TASKS);
    let usable = usable.filter(|run| is_like(run[0]) && Totals::of(run, question.view).is_known());
    let usable: Vec<&Vec<&LedgerRow>> = usable.collect();
    let Some(basis) = usable.iter().map(|run| basis_of(run[0])).min() else { return Plan::Unknown };
    let chosen: Vec<&Vec<&LedgerRow>> = usable.into_iter().filter(|run| basis_of(run[0]) == basis).collect();
    let size = |row: &LedgerRow| row.run.bytes_in.unwrap_or(1) as f64;
    let of_run = |run: &[&LedgerRow]| Sample {
        wall_seconds: run[0].run_wall_seconds,
        disk_bytes: disk_bytes(&run[0].run),
        ..Sample::of(size(run[0]), &Totals::of(run, question.view))
    };
    let target = question.input_bytes as f64;
    let whole: Vec<Sample> = chosen.iter().map(|run| of_run(run)).collect();
    let of_runs: Vec<(Vec<StageReport>, f64)> =
        chosen.iter().map(|run| (StageReport::of_run(run, question.view), size(run[0]))).collect();
    let last = &of_runs[of_runs.len() - 1].0;
    let stages = last.iter().map(|StageReport { stage, .. }| {
        let found = of_runs.iter().flat_map(|(stages, size)| stages.iter().map(move |found| (found, *size)));
        let of_stage = found.filter(|(found, _)| found.stage == *stage);
        let samples = of_stage.map(|(found, size)| Sample::of_stage(size, found));
        StagePrediction::of(stage, &samples.collect::<Vec<_>>(), target)
    });
    Plan::Known(Prediction {
        basis,
        n_runs: chosen.len(),
        is_in_proportion: !chosen.iter().any(|one| chosen.iter().any(|other| is_larger(size(one[0]), size(other[0])))),
        stages: stages.collect(),
        run: StagePrediction::of("run", &whole, target),
    })
}

/// What an earlier run used.
#[derive(Debug, Clone, Copy)]
struct Sample {
    input_bytes: f64,
    wall_seconds: f64,
    cpu_seconds: f64,
    disk_bytes: Option<f64>,
    kwh: Interval,
    embodied_g: Interval,
}

impl Sample {
    fn of(input_bytes: f64, totals: &Totals) -> Self {
        Self {
            input_bytes,
            wall_seconds: 0.0,
            cpu_seconds: totals.cpu_seconds,
            disk_bytes: None,
            kwh: totals.kwh,
            embodied_g: totals.embodied_g,
        }
    }

    fn of_stage(input_bytes: f64, stage: &StageReport) -> Self {
        let (wall_seconds, disk_bytes) = (stage.wall_seconds, disk_bytes(&stage.amounts));
        Self { wall_seconds, disk_bytes, ..Self::of(input_bytes, &stage.totals) }
    }
}

/// What each of the runs would have used of something with another input, by what it `used` of it with its own.
///
/// What grows with a byte is the median of the slopes between runs of which one has twice the bytes of the other or more (Theil, Sen): of those
/// that are less apart, chance would decide. Without such runs all of it is taken to grow.
fn grown(samples: &[Sample], target: f64, used: impl Fn(&Sample) -> f64) -> Vec<f64> {
    let mut slopes = Vec::new();
    let recent = &samples[samples.len().saturating_sub(MOST_COMPARED)..];
    for small in recent {
        let large = recent.iter().filter(|large| is_larger(large.input_bytes, small.input_bytes));
        slopes.extend(large.map(|large| (used(large) - used(small)) / (large.input_bytes - small.input_bytes)));
    }
    let slope = median(&slopes).map(|slope| slope.max(0.0));
    let of = |sample: &Sample| match slope {
        Some(slope) => (used(sample) + slope * (target - sample.input_bytes)).max(0.0),
        None => used(sample) * target / sample.input_bytes,
    };
    samples.iter().map(of).collect()
}

/// The runs tell what grows.
fn is_larger(bytes: f64, than: f64) -> bool {
    LEAST_GROWTH * than <= bytes
}

/// As [`grown`], for a figure with bounds.
fn grown_interval(samples: &[Sample], target: f64, used: impl Fn(&Sample) -> Interval) -> Vec<Interval> {
    let of = |bound: fn(&Interval) -> f64| grown(samples, target, |sample| bound(&used(sample)));
    let bounds = of(Interval::low).into_iter().zip(of(Interval::mid)).zip(of(Interval::high));
    bounds.map(|((low, mid), high)| Interval::around(low, mid, high)).collect()
}

fn disk_bytes(amounts: &Amounts) -> Option<f64> {
    Some((amounts.read_bytes? + amounts.written_bytes.unwrap_or(0)) as f64)
}

impl StagePrediction {
    fn of(name: &str, samples: &[Sample], target: f64) -> Self {
        let of = |figure: fn(&Sample) -> f64| Quantiles::of(grown(samples, target, figure));
        let counts_bytes = samples.iter().all(|sample| sample.disk_bytes.is_some());
        let kwh = grown_interval(samples, target, |sample| sample.kwh);
        let embodied_g = grown_interval(samples, target, |sample| sample.embodied_g);
        let mut by_energy: Vec<(Interval, Interval)> = kwh.into_iter().zip(embodied_g).collect();
        by_energy.sort_by(|(one, _), (other, _)| one.mid().total_cmp(&other.mid()));
        let at =
            |ratio| by_energy.get(rank(by_energy.len(), ratio)).copied().unwrap_or((Interval::ZERO, Interval::ZERO));
        let (kwh_p90, embodied_g_p90) = at(0.9);
        Self {
            name: name.to_owned(),
            wall_seconds: of(|sample| sample.wall_seconds),
            cpu_seconds: of(|sample| sample.cpu_seconds),
            disk_bytes: counts_bytes.then(|| of(|sample| sample.disk_bytes.unwrap_or(0.0))),
            kwh_p50: at(0.5).0,
            kwh_p90,
            embodied_g_p90,
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

#[cfg(test)]
mod tests {
    use super::super::report::text;
    use super::super::tests::run;
    use super::*;

    fn question(rows: &[LedgerRow], input_bytes: u64) -> PlanQuestion<'_> {
        let view = ViewConfig::Provisioned;
        let LedgerRow { command, config_hash, machine, .. } = &rows[0];
        PlanQuestion { command: command.as_deref(), input_bytes, config_hash, machine: &machine.fingerprint, view }
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
        assert!(
            text.contains("by 10 earlier runs with this config on this machine, in proportion")
                && text.contains("120.0, 216.0"),
            "{text}"
        );
        assert!(text::of_plan(&Plan::Unknown).contains("not known"));
        let sum: f64 = plan.stages.iter().map(|stage| stage.kwh_p50.mid()).sum();
        assert!((sum / plan.run.kwh_p50.mid() - 1.0).abs() < 1e-9);
    }

    /// Ten seconds whatever there is, and two for each gigabyte; sizes that are all alike say nothing of that.
    #[test]
    fn what_grows_is_told_from_what_does_not() {
        let sized = |name: &str, gigabytes: f64, seconds: f64| {
            let mut rows = run(name, 1.0);
            for row in &mut rows {
                row.run.bytes_in = Some((gigabytes * 1e9) as u64);
                row.run_wall_seconds = seconds;
                row.cpu_seconds = seconds / 4.0;
            }
            rows
        };
        let line = |gigabytes: f64| 10.0 + 2.0 * gigabytes;
        let mut rows = [sized("small", 1.0, line(1.0)), sized("large", 4.0, line(4.0))].concat();
        let of = |rows: &[LedgerRow], gigabytes: f64| known(predict(rows, &question(rows, (gigabytes * 1e9) as u64)));
        for (gigabytes, seconds) in [(100.0, 210.0), (4.0, 18.0), (0.0, 10.0)] {
            let plan = of(&rows, gigabytes);
            let Quantiles { p50, p90 } = plan.run.wall_seconds;
            assert!(!plan.is_in_proportion && text::of_plan(&Plan::Known(plan.clone())).contains("of several sizes"));
            assert!((p50 - seconds).abs() < 1e-6 && (p90 - seconds).abs() < 1e-6, "{p50} {p90} {seconds}");
            let of_stages: f64 = plan.stages.iter().map(|stage| stage.cpu_seconds.p90).sum();
            assert!((of_stages - seconds).abs() < 1e-6 && (plan.run.cpu_seconds.p90 - seconds).abs() < 1e-6);
        }
        // One wild run in four, and one that took longer for less.
        rows.extend(
            [sized("wild", 4.0, 900.0), sized("medium", 2.0, line(2.0)), sized("another", 2.1, line(2.0))].concat(),
        );
        assert!((of(&rows, 100.0).run.wall_seconds.p50 - 210.0).abs() < 0.3, "{:?}", of(&rows, 100.0).run);
        let falling = [sized("small", 1.0, 30.0), sized("large", 4.0, 20.0)].concat();
        assert_eq!(of(&falling, 100.0).run.wall_seconds, Quantiles { p50: 20.0, p90: 30.0 });
        let alike = [sized("one", 1.0, 10.0), sized("other", 1.1, 22.0)].concat();
        assert!(of(&alike, 11.0).is_in_proportion);
        assert_eq!(of(&alike, 11.0).run.wall_seconds, Quantiles { p50: 110.0, p90: 220.0 });
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

        // A run on a cluster says nothing of one machine.
        let mut on_cluster = run("on a cluster", 50.0);
        for row in &mut on_cluster {
            row.boundary = TASKS.into();
        }
        assert_eq!(predict(&on_cluster, &question(&own, 4_000_000_000)), Plan::Unknown);
        assert_eq!(of(&[on_cluster, rows.clone()].concat()), plan);

        // Another command, and a run without a meter, say nothing.
        let mut unlike = run("unlike", 1.0);
        for row in &mut unlike {
            row.command = Some("embed".into());
        }
        assert_eq!(predict(&unlike, &question(&own, 1)), Plan::Unknown);
        let mut unmetered = run("unmetered", 1.0);
        for component in unmetered.iter_mut().flat_map(|row| &mut row.components) {
            (component.provisioned_j, component.dynamic_j) = (None, None);
        }
        assert_eq!(predict(&unmetered, &question(&own, 1)), Plan::Unknown);
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
}
