//! `tamis simulate`.

use std::time::Instant;

use serde_json::{Value, json};
use tamis_pipeline::context::Context;
use tamis_pipeline::footprint::report::{Report, json::of_report};
use tamis_pipeline::progress::Progress;
use tamis_pipeline::run::{JudgedColumns, Simulated, check_simulated, simulate};
use tamis_pipeline::score::HeadKind;
use tamis_pipeline::simulate::{CURVES, Injection, PLOT, SUMMARY, SimulateSettings, Summary};
use tamis_schemas::config::{Config, Head, OutputConfig, ScoreConfig, Strategy};

use crate::args::{Global, Simulate};
use crate::exit::Exit;
use crate::footprint::{self, Account, Done};
use crate::number::{bytes, count, counted};
use crate::report::footprint_words;
use crate::{answer, diagnostic, machine, settings};

pub(crate) fn run(args: &Simulate, global: &Global) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let (stores, mut context) = (settings::stores(), settings::context(global)?);
    let columns = JudgedColumns { label: &args.label_column, split: args.test_split_column.as_deref() };
    let score = ScoreConfig {
        scorer: args.scorer.clone(),
        device: args.device.clone(),
        head: args.head,
        ..ScoreConfig::default()
    };
    let simulation = simulation(args);
    let input = settings::input(args.inputs.clone(), &args.reading);
    let existing = settings::existing(args.overwrite);
    let config =
        Config { score: Some(score.clone()), ..Config::new(input.clone(), OutputConfig::new(args.output.clone())) };
    let further = format!("{columns:?} {simulation:?}");
    let account = Account::open("tamis simulate", (&config, &further), &args.accounting, &stores, &context)?;
    if args.accounting.print_start {
        return footprint::print_start(account.as_ref(), &args.accounting, (&stores, &context), global.format);
    }
    if let Some(account) = &account {
        let check_output = || check_simulated(&args.output, existing, &stores, &context);
        account.ready(&args.accounting, (&stores, &context), check_output)?;
    }
    let work = |context: &Context, progress: &Progress| {
        simulate(&input, columns, &score, &simulation, (&args.output, existing), (&stores, context, progress))
    };
    let done = |simulated: &Simulated| Some(Done::of_simulated(simulated));
    let (Simulated { summary, .. }, footprint) = footprint::run(account, &mut context, global, work, done)?;
    if summary.rejected_rows > 0 {
        diagnostic::warn(
            &format!("{} could not be read, and were left out", counted(summary.rejected_rows, "row")),
            "`tamis convert` writes them to the table `rejected`, with reasons",
        );
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut text = words(&summary, &args.output, seconds);
    if let Some(footprint) = &footprint {
        text += &format!("footprint      {}\n", footprint_words(footprint));
    }
    answer::print(&text, &fields(&summary, footprint.as_ref(), &args.output, seconds), global.format)?;
    Ok(if summary.rejected_rows > 0 { Exit::Rejects } else { Exit::Clean })
}

fn simulation(args: &Simulate) -> SimulateSettings {
    let strategies =
        if args.strategy.is_empty() { vec![Strategy::Auto, Strategy::Margin] } else { args.strategy.clone() };
    SimulateSettings {
        strategies,
        n_init: args.init,
        n_batch: args.batch,
        n_rounds: args.rounds,
        n_seeds: args.seeds,
        test_split: args.test_split_value.clone(),
        head: match args.head {
            None | Some(Head::Linear) => HeadKind::Linear,
            Some(Head::Mlp) => HeadKind::Mlp,
        },
        injection: Injection {
            duplicate: args.duplicate,
            imbalance: args.imbalance,
            noise: args.noise,
            ..Injection::default()
        },
    }
}

fn words(summary: &Summary, output: &str, seconds: f64) -> String {
    let mut text = format!(
        "pool           {} ({} near-duplicates), {} for testing, {} classes\nlabels         {} at first, {} rounds of {}; {}\n\n",
        counted(summary.pool_rows, "row"),
        count(summary.near_duplicate_rows),
        count(summary.test_rows),
        count(summary.classes.len() as u64),
        count(summary.init as u64),
        count(summary.rounds as u64),
        count(summary.batch as u64),
        counted(summary.seeds, "seed"),
    );
    text += &format!(
        "{:<29}{:>7}{:>10}{:>7}{:>11}{:>16}{:>7}{:>10}{:>8}{:>11}\n",
        "strategy", "area", "macro F1", "final", "vs random", "95 %", "worst", "won:lost", "saved", "s a round"
    );
    for (name, report) in &summary.strategies {
        let interval = report
            .delta_ci95
            .map_or_else(String::new, |[low, high]| format!("{:+.1} to {:+.1}", 100.0 * low, 100.0 * high));
        let is_random = name == Strategy::Random.name();
        let or_blank = |value: String| if is_random { String::new() } else { value };
        text += &format!(
            "{name:<29}{:>7.2}{:>10.2}{:>7.2}{:>11}{:>16}{:>7}{:>10}{:>8}{:>11.2}\n",
            100.0 * report.aulc_accuracy,
            100.0 * report.aulc_macro_f1,
            100.0 * report.final_accuracy,
            or_blank(format!("{:+.1}", 100.0 * report.delta_vs_random)),
            or_blank(interval),
            or_blank(format!("{:+.1}", 100.0 * report.worst_delta)),
            or_blank(format!("{}:{}", report.wins, report.losses)),
            or_blank(report.labels_saved_ratio.map_or_else(|| "-".into(), |ratio| format!("{:.0} %", 100.0 * ratio))),
            report.seconds_per_round,
        );
    }
    let memory = machine::peak_memory_bytes().map_or_else(String::new, |peak| format!(", peak memory {}", bytes(peak)));
    let files = [SUMMARY, CURVES, PLOT].join(", ");
    text + &format!("\n{}\n\nwritten to     {output}: {files} ({seconds:.0} s{memory})\n", summary.verdict)
}

fn fields(summary: &Summary, footprint: Option<&Report>, output: &str, seconds: f64) -> Value {
    json!({
        "command": "tamis simulate",
        "seconds": seconds,
        "peak_memory_bytes": machine::peak_memory_bytes(),
        "output": output,
        "summary": summary,
        "footprint": footprint.map(of_report),
    })
}
