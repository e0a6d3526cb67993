//! `tamis footprint`: what runs used, as their ledgers say.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tamis_pipeline::Error;
use tamis_pipeline::context::Context;
use tamis_pipeline::footprint::activity::SystemRoot;
use tamis_pipeline::footprint::forecast::{Prefer, Series, parse};
use tamis_pipeline::footprint::meter::GpuMeter;
use tamis_pipeline::footprint::planner::{PlanQuestion, predict};
use tamis_pipeline::footprint::report::{
    self, AuditOptions, AvoidQuestion, BoundBy, Budget, Change, LabelQuestion, Report, StorageQuestion,
    TrainingQuestion, Unit, boamps, codecarbon, json as as_json, markdown, prometheus, text,
};
use tamis_pipeline::footprint::tables::Tables;
use tamis_pipeline::footprint::{KeptLedger, ledger};
use tamis_schemas::footprint::{FootprintConfig, LedgerRow, ViewConfig};

use crate::args::{
    FootprintAudit, FootprintAvoid, FootprintCommand, FootprintCompare, FootprintGate, FootprintLedger, FootprintPlan,
    FootprintReport, FootprintWhatIf, Format, Global, TrainingBound,
};
use crate::exit::Exit;
use crate::footprint::{file, tell_unused};
use crate::number::counted;
use crate::prometheus::Exposition;
use crate::{answer, settings};

/// Project of emissions files, which other tools group by.
const PROJECT: &str = "tamis";
const SECONDS_OF_YEAR: u64 = 31_556_952;

pub(crate) fn run(command: &FootprintCommand, global: &Global) -> anyhow::Result<Exit> {
    match command {
        FootprintCommand::Report(args) => report(args, global),
        FootprintCommand::Compare(args) => compare(args, global),
        FootprintCommand::Audit(args) => audit(args, global),
        FootprintCommand::Gate(args) => gate(args, global),
        FootprintCommand::Avoid(args) => avoid(args, global),
        FootprintCommand::WhatIf(args) => what_if(args, global),
        FootprintCommand::Plan(args) => plan(args, global),
        FootprintCommand::Verify(args) => verify(args, global),
        FootprintCommand::Doctor => doctor(global),
    }
}

/// A ledger that was found.
struct Found {
    location: String,
    text: String,
    rows: Vec<LedgerRow>,
}

fn find(name: &str, context: &Context) -> anyhow::Result<Found> {
    let kept = KeptLedger::find(name, &settings::stores(), context.runtime.handle())?;
    let (location, text) = (kept.location(), kept.text()?);
    let rows = ledger::parse(&text, &location)?;
    Ok(Found { location, text, rows })
}

fn rows_of(ledger: &FootprintLedger, global: &Global) -> anyhow::Result<Vec<LedgerRow>> {
    Ok(find(&ledger.ledger, &settings::context(global)?)?.rows)
}

fn report(args: &FootprintReport, global: &Global) -> anyhow::Result<Exit> {
    check_form(args)?;
    let rows = rows_of(&args.ledger, global)?;
    let mut found = report::report(&rows, args.run_id.as_deref(), args.view.view)?;
    if let Some(per) = &args.per {
        let unit = Unit::parse(per)?;
        if unit.count(&found.row.run).is_none() {
            return Err(Error::config(format!("the run did not count its {unit}")).into());
        }
        found.per_unit.retain(|per_unit| per_unit.unit == unit);
    }
    if let Some(path) = &args.actuals {
        found.shift = Some(report::shift(&found, &read_actuals(path)?));
    }
    let of_run: Vec<LedgerRow> = rows.iter().filter(|row| row.run_id == found.row.run_id).cloned().collect();
    let tables = Tables::shipped();
    let text = |existing: Option<&str>| {
        Ok(match args.format {
            Format::Csv => codecarbon::emissions_csv(existing, &of_run, PROJECT, tables)?,
            Format::CodecarbonTasks => codecarbon::tasks_csv(existing, &of_run, PROJECT, tables)?,
            Format::Md => markdown::of_report(&found),
            Format::Boamps => format!("{:#}\n", boamps::of_report(&found, &boamps::Task::default(), tables)),
            Format::Prometheus => exposition(&found),
            Format::Json => format!("{:#}\n", as_json::of_report(&found)),
            _ => text::of_report(&found),
        })
    };
    match &args.output {
        None => answer::print(&text(None)?, &Value::Null, Format::Text)?,
        Some(path) if args.append => file::append(path, |existing| text(Some(existing)))?,
        Some(path) => file::create(path, &text(None)?)?,
    }
    Ok(Exit::Clean)
}

/// Refuses flags that a form has no use for.
fn check_form(args: &FootprintReport) -> anyhow::Result<()> {
    let is_codecarbon = matches!(args.format, Format::Csv | Format::CodecarbonTasks);
    let refused = [
        (args.append && !is_codecarbon, "--append is for --format csv and codecarbon-tasks"),
        (is_codecarbon && args.per.is_some(), "--per has no column in CodeCarbon's files"),
        (is_codecarbon && args.actuals.is_some(), "--actuals has no column in CodeCarbon's files"),
        (
            is_codecarbon && args.view.view != ViewConfig::Provisioned,
            "CodeCarbon's files are of the provisioned view: their columns have none for another",
        ),
    ];
    match refused.into_iter().find(|(is_refused, _)| *is_refused) {
        Some((_, message)) => Err(Error::Config {
            message: message.into(),
            hint: Some("leave the flag out, or give another --format".into()),
        }
        .into()),
        None => Ok(()),
    }
}

fn read_actuals(path: &str) -> anyhow::Result<Series> {
    let unreadable = |error| Error::Unreadable { location: path.to_owned(), source: Box::new(error) };
    Ok(parse(&std::fs::read_to_string(path).map_err(unreadable)?, path, Prefer::Actual)?)
}

/// The gauges of a run, as Prometheus reads them.
fn exposition(report: &Report) -> String {
    let mut exposition = Exposition::default();
    let gauges = prometheus::gauges(report);
    for of_name in gauges.chunk_by(|one, other| one.name == other.name) {
        exposition.gauges(
            of_name[0].name,
            of_name[0].help,
            of_name.iter().map(|gauge| (&gauge.labels[..], gauge.value)),
        );
    }
    exposition.into_text()
}

fn compare(args: &FootprintCompare, global: &Global) -> anyhow::Result<Exit> {
    let context = settings::context(global)?;
    let (rows, baseline) = (find(&args.ledger.ledger, &context)?.rows, find(&args.baseline, &context)?.rows);
    let compared = report::compare(&baseline, &rows, Unit::parse(&args.per)?, args.view.view, args.force)?;
    print(&text::of_comparison(&compared), || as_json::of_comparison(&compared), global)
}

fn audit(args: &FootprintAudit, global: &Global) -> anyhow::Result<Exit> {
    let options = AuditOptions {
        last: args.last,
        unit: Unit::parse(&args.per)?,
        view: args.view.view,
        max_rise_ratio: args.max_rise_ratio,
    };
    let audit = report::audit(&rows_of(&args.ledger, global)?, &options)?;
    print(&text::of_audit(&audit), || as_json::of_audit(&audit), global)?;
    Ok(Exit::of_audit(&audit))
}

fn gate(args: &FootprintGate, global: &Global) -> anyhow::Result<Exit> {
    let budget = Budget {
        max_g: args.max_g,
        max_kwh: args.max_kwh,
        max_g_per_mdoc: args.max_g_per_mdoc,
        bound: args.bound,
        view: args.view.view,
        require: args.require,
    };
    // A budget is not judged by rows that somebody has changed.
    let found = find(&args.ledger.ledger, &settings::context(global)?)?;
    ledger::verify_text(&found.text, &found.location)?;
    let verdict = report::gate(&found.rows, &budget)?;
    print(&text::of_verdict(&verdict), || as_json::of_verdict(&verdict), global)?;
    Ok(Exit::of_verdict(&verdict))
}

fn avoid(args: &FootprintAvoid, global: &Global) -> anyhow::Result<Exit> {
    let bound_by = match args.bound_by {
        TrainingBound::Epochs => BoundBy::Epochs,
        TrainingBound::Tokens => BoundBy::Tokens,
        TrainingBound::Unknown => BoundBy::Unknown,
    };
    let training = args.params.map(|params| TrainingQuestion {
        params,
        epochs: args.epochs,
        runs: args.trainings,
        bound_by,
        tokens_removed: args.tokens_removed,
    });
    let storage = args.storage_tier.clone().map(|tier| StorageQuestion {
        tier,
        years: args.years,
        is_deleted: args.originals_deleted,
        bytes_removed: args.bytes_removed,
    });
    let labels = args.labels_avoided.map(|labels_avoided| LabelQuestion {
        labels_avoided,
        seconds_each: args.seconds_per_label,
        watts: args.workplace_watts,
    });
    if training.is_none() && storage.is_none() && labels.is_none() {
        return Err(Error::Config {
            message: "there is no scenario".into(),
            hint: Some("name one: --params (training), --storage-tier, --labels-avoided".into()),
        }
        .into());
    }
    let question = AvoidQuestion { training, storage, labels };
    let avoided = report::avoid(&rows_of(&args.ledger, global)?, &question, Tables::shipped())?;
    print(&text::of_avoided(&avoided), || as_json::of_avoided(&avoided), global)
}

fn what_if(args: &FootprintWhatIf, global: &Global) -> anyhow::Result<Exit> {
    let rows = rows_of(&args.ledger, global)?;
    let runs = report::runs(&rows);
    let run = runs.last().ok_or_else(|| Error::config("the footprint ledger has no run"))?;
    let change = Change {
        region: args.region.clone(),
        intensity_g_per_kwh: args.intensity,
        pue: args.pue,
        cpu_family: args.cpu.clone(),
    };
    tell_unused(&FootprintConfig {
        region: args.region.clone(),
        intensity_g_per_kwh: args.intensity,
        pue: args.pue,
        ..FootprintConfig::default()
    });
    let changed = report::what_if(run, &change, Tables::shipped())?;
    let (was, would) = (report::report(&rows, None, args.view.view)?, report::report(&changed, None, args.view.view)?);
    let text = format!(
        "as it was\n  {}; {}\nas it would have been\n  {}; {}\n\n{}",
        text::energy_of(&was.totals, &was.totals),
        text::grams_of(&was.totals),
        text::energy_of(&would.totals, &would.totals),
        text::grams_of(&would.totals),
        text::of_report(&would)
    );
    print(&text, || json!({ "was": as_json::of_report(&was), "would_be": as_json::of_report(&would) }), global)
}

fn plan(args: &FootprintPlan, global: &Global) -> anyhow::Result<Exit> {
    let rows = rows_of(&args.ledger, global)?;
    let last = rows.last().ok_or_else(|| Error::config("the footprint ledger has no run"))?;
    let question = PlanQuestion {
        command: last.command.as_deref(),
        input_bytes: args.input_bytes.or(last.run.bytes_in).unwrap_or(0),
        config_hash: &last.config_hash,
        machine: &last.machine.fingerprint,
        view: args.view.view,
    };
    let plan = predict(&rows, &question);
    print(&text::of_plan(&plan), || as_json::of_plan(&plan), global)
}

fn verify(args: &FootprintLedger, global: &Global) -> anyhow::Result<Exit> {
    let found = find(&args.ledger, &settings::context(global)?)?;
    let verified = ledger::verify_text(&found.text, &found.location)?;
    let text = format!(
        "{}: {} as they were written\nlast hash {}\n",
        found.location,
        counted(verified.n_rows as u64, "row"),
        verified.last_sha256
    );
    let fields = || json!({ "ledger": found.location, "rows": verified.n_rows, "last_sha256": verified.last_sha256 });
    print(&text, fields, global)
}

fn doctor(global: &Global) -> anyhow::Result<Exit> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let year = 1970 + (since.as_secs() / SECONDS_OF_YEAR) as u32;
    let (root, gpu) = (SystemRoot::default(), GpuMeter::open());
    let doctor = report::doctor(&root, &gpu, &FootprintConfig::default(), year, Tables::shipped())?;
    print(&text::of_doctor(&doctor), || as_json::of_doctor(&doctor), global)
}

fn print(text: &str, json: impl FnOnce() -> Value, global: &Global) -> anyhow::Result<Exit> {
    let json = if global.format == Format::Json { json() } else { Value::Null };
    answer::print(text, &json, global.format)?;
    Ok(Exit::Clean)
}
