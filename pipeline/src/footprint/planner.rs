//! What a run will use, by what earlier ones used.

use tamis_schemas::footprint::{Amounts, Interval, LedgerRow, TASKS, ViewConfig};

use super::report::{StageReport, Totals, runs};

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
    let factor = |row: &LedgerRow| question.input_bytes as f64 / row.run.bytes_in.unwrap_or(1) as f64;
    let of_run = |run: &[&LedgerRow]| Sample {
        wall_seconds: run[0].run_wall_seconds,
        disk_bytes: disk_bytes(&run[0].run),
        ..Sample::of(&Totals::of(run, question.view))
    };
    let whole: Vec<Sample> = chosen.iter().map(|run| of_run(run).scale(factor(run[0]))).collect();
    let of_runs: Vec<(Vec<StageReport>, f64)> =
        chosen.iter().map(|run| (StageReport::of_run(run, question.view), factor(run[0]))).collect();
    let last = &of_runs[of_runs.len() - 1].0;
    let stages = last.iter().map(|StageReport { stage, .. }| {
        let found = of_runs.iter().flat_map(|(stages, factor)| stages.iter().map(move |found| (found, *factor)));
        let of_stage = found.filter(|(found, _)| found.stage == *stage);
        let samples = of_stage.map(|(found, factor)| Sample::of_stage(found).scale(factor));
        StagePrediction::of(stage, &samples.collect::<Vec<_>>())
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
    fn of(totals: &Totals) -> Self {
        Self {
            wall_seconds: 0.0,
            cpu_seconds: totals.cpu_seconds,
            disk_bytes: None,
            kwh: totals.kwh,
            embodied_g: totals.embodied_g,
        }
    }

    fn of_stage(stage: &StageReport) -> Self {
        Self { wall_seconds: stage.wall_seconds, disk_bytes: disk_bytes(&stage.amounts), ..Self::of(&stage.totals) }
    }

    /// Of an input so many times as large.
    fn scale(self, factor: f64) -> Self {
        Self {
            wall_seconds: self.wall_seconds * factor,
            cpu_seconds: self.cpu_seconds * factor,
            disk_bytes: self.disk_bytes.map(|bytes| bytes * factor),
            kwh: self.kwh.scale(factor),
            embodied_g: self.embodied_g.scale(factor),
        }
    }
}

fn disk_bytes(amounts: &Amounts) -> Option<f64> {
    Some((amounts.read_bytes? + amounts.written_bytes.unwrap_or(0)) as f64)
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
