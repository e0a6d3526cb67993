//! `tamis al init|select|export|import|status`: rounds of labelling.

mod status;

use std::collections::BTreeMap;

use serde_json::json;
use tamis_pipeline::active::{self, Import, ImportedFiles, Ledger, SelectRequest, Selected};
use tamis_pipeline::context::Context;
use tamis_pipeline::footprint::report::json::of_report;
use tamis_pipeline::label_tools::{ImportSettings, LabelTool};
use tamis_pipeline::progress::Progress;
use tamis_schemas::active::RoundRecord;
use tamis_schemas::config::{Config, OutputConfig, ScoreConfig};

use crate::args::{ActiveCommand, ActiveExport, ActiveImport, ActiveInit, ActiveSelect, Global};
use crate::exit::Exit;
use crate::footprint::{self, Account, Done};
use crate::number::{count, counted};
use crate::progress::Display;
use crate::report::footprint_words;
use crate::{answer, diagnostic, settings};

/// Rejected rows that are told of one by one.
const MOST_REJECTS: usize = 5;

pub(crate) fn run(command: &ActiveCommand, global: &Global) -> anyhow::Result<Exit> {
    match command {
        ActiveCommand::Init(args) => init(args, global),
        ActiveCommand::Select(args) => select(args, global),
        ActiveCommand::Export(args) => export(args, global),
        ActiveCommand::Import(args) => import(args, global),
        ActiveCommand::Status(args) => status::run(args, global),
    }
}

fn init(args: &ActiveInit, global: &Global) -> anyhow::Result<Exit> {
    let (stores, context) = (settings::stores(), settings::context(global)?);
    let display = Display::start(global);
    let loop_settings = settings::labelling_loop(args);
    let begun =
        active::init(&args.ledger.ledger, &loop_settings, &settings::stamp(), &stores, &context, display.progress());
    drop(display);
    let (ledger, pool) = begun?;
    let location = ledger.location();
    let text = format!(
        "pool       {} in {}\nledger     {location}\nnext       tamis al select {location}\n",
        counted(pool.rows, "row"),
        counted(pool.n_files, "file"),
    );
    let json = json!({
        "command": "tamis al init",
        "ledger": location,
        "settings": loop_settings,
        "pool": { "files": pool.n_files, "rows": pool.rows, "rejected": pool.rejected },
        "rounds": ledger.rounds().len(),
    });
    answer::print(&text, &json, global.format)?;
    Ok(Exit::Clean)
}

fn select(args: &ActiveSelect, global: &Global) -> anyhow::Result<Exit> {
    let (stores, mut context) = (settings::stores(), settings::context(global)?);
    let mut ledger = Ledger::open(&args.ledger.ledger, &stores, &context)?;
    let request = SelectRequest { budget: args.budget, anyway: args.anyway, now: settings::stamp().now };
    let config = accounted(&ledger);
    let further = json!([ledger.settings(), args.budget]).to_string();
    let account = Account::open("tamis al select", (&config, &further), &args.accounting, &stores, &context)?;
    if args.accounting.print_start {
        return footprint::print_start(account.as_ref(), &args.accounting, (&stores, &context), global.format);
    }
    if let Some(account) = &account {
        account.ready(&args.accounting, (&stores, &context), || active::check_select(&ledger, request))?;
    }
    let work =
        |context: &Context, progress: &Progress| active::select(&mut ledger, request, &stores, context, progress);
    let done = |selected: &Selected| match selected {
        Selected::Round(record) => Some(Done::of_round(record)),
        Selected::Exhausted => None,
    };
    let (selected, footprint) = footprint::run(account, &mut context, global, work, done)?;
    let (mut text, record) = match selected {
        Selected::Round(record) => (selected_words(&record, ledger.location()), Some(record)),
        Selected::Exhausted => ("no row of the pool is left to choose: nothing was written\n".into(), None),
    };
    if let Some(footprint) = &footprint {
        text += &format!("footprint  {}\n", footprint_words(footprint));
    }
    let json = json!({
        "command": "tamis al select",
        "ledger": ledger.location(),
        "round": record,
        "footprint": footprint.as_ref().map(of_report),
    });
    answer::print(&text, &json, global.format)?;
    let n_rejected = record.map_or(0, |record| record.pool.rows.rejected);
    Ok(if 0 < n_rejected { Exit::Rejects } else { Exit::Clean })
}

/// What a round reads, and what is accounted for beside: the loop.
fn accounted(ledger: &Ledger) -> Config {
    let settings = ledger.settings();
    let score = ScoreConfig { scorer: settings.scorer.clone(), ..ScoreConfig::default() };
    Config { score: Some(score), ..Config::new(settings.pool.clone(), OutputConfig::new(ledger.location().to_owned())) }
}

fn selected_words(record: &RoundRecord, location: &str) -> String {
    let RoundRecord { round, selection, pool, model, .. } = record;
    let again = match selection.relabelled_rows {
        0 => String::new(),
        n => format!(", {} once more", count(n)),
    };
    let mut text = format!(
        "round {round}    {} to label, {} of them at random{again}\n",
        counted(selection.batch_rows, "row"),
        count(selection.random_rows)
    );
    if let Some(shortfall) = &selection.shortfall {
        text += &format!("           {shortfall}\n");
    }
    text += &format!("strategy   {} ({})\n", selection.strategy, selection.why);
    text += &format!(
        "pool       {}, {} near-duplicates, {} rejected, {} to choose from\n",
        counted(pool.rows.rows_in, "row"),
        count(pool.rows.dropped),
        count(pool.rows.rejected),
        count(selection.pool_rows)
    );
    text += &format!(
        "model      {} on {}, learned from {}\n",
        model.scorer.name,
        model.scorer.device,
        counted(model.scorer.labelled_rows, "label")
    );
    if 0 < model.scorer.cached_rows {
        text += &format!("           the cache had the embeddings of {}\n", counted(model.scorer.cached_rows, "text"));
    }
    if 0 < selection.unknown_labels {
        text +=
            &format!("           {} of rows that are not in the pool\n", counted(selection.unknown_labels, "label"));
    }
    text + &format!("next       tamis al export {location} --tool TOOL -o DIR\n")
}

fn export(args: &ActiveExport, global: &Global) -> anyhow::Result<Exit> {
    let (stores, context) = (settings::stores(), settings::context(global)?);
    let ledger = Ledger::open(&args.ledger.ledger, &stores, &context)?;
    let exported = active::export(&ledger, args.round, args.tool, &args.output, args.overwrite, &stores, &context)?;
    let mut text = format!("round {}    {} for {}\n", exported.round, counted(exported.rows, "row"), args.tool.name());
    for file in &exported.files {
        text += &format!("written    {file}\n");
    }
    text += &format!("next       label them, then: tamis al import {} FILE\n", ledger.location());
    let json = json!({
        "command": "tamis al export",
        "ledger": ledger.location(),
        "tool": args.tool.name(),
        "round": exported.round,
        "rows": exported.rows,
        "files": exported.files,
    });
    answer::print(&text, &json, global.format)?;
    Ok(Exit::Clean)
}

fn import(args: &ActiveImport, global: &Global) -> anyhow::Result<Exit> {
    let (stores, context) = (settings::stores(), settings::context(global)?);
    let ledger = Ledger::open(&args.ledger.ledger, &stores, &context)?;
    let request = Import {
        files: args.files.clone(),
        settings: ImportSettings {
            tool: args.tool,
            question: args.question.clone(),
            label_column: args.label_column.clone(),
            id_column: args.id_column.clone(),
            is_approved_only: args.approved_only,
            ..ImportSettings::default()
        },
        outside: args.outside,
    };
    let imported = active::import(&ledger, &request, &stores, &context)?;
    warn(&imported);
    let n_left_out = imported.unknown + imported.unmatched + imported.rejected.len() as u64;
    answer::print(&imported_words(&imported, ledger.location()), &imported_fields(&imported), global.format)?;
    Ok(if 0 < n_left_out { Exit::Rejects } else { Exit::Clean })
}

fn warn(imported: &ImportedFiles) {
    if 0 < imported.unknown {
        diagnostic::warn(
            &format!(
                "{} of rows that no round handed out: left out, first {}",
                counted(imported.unknown, "label row"),
                imported.unknown_ids.join(", ")
            ),
            "labels from before the loop are taken in with --outside",
        );
    }
    if 0 < imported.unmatched {
        diagnostic::warn(
            &format!("{} without an id: left out", counted(imported.unmatched, "label row")),
            "the tool must keep `tamis_id`, which exports have; --id-column names another column",
        );
    }
    for (file, rows, _) in &imported.unanswered {
        let (what, hint) = match rows {
            0 => ("has no row".to_owned(), "export it from the tool again if there should be some"),
            _ => (
                format!("has {} and no answer", counted(*rows, "row")),
                "hand the answers in (submit them in the tool) and export again; --tool says whose file it is, if that was not found out",
            ),
        };
        diagnostic::warn(&format!("`{file}` {what}"), hint);
    }
    for (file, row, reason) in imported.rejected.iter().take(MOST_REJECTS) {
        diagnostic::warn(&format!("`{file}`, row {row}: {reason}"), "correct it and import the file again");
    }
    if MOST_REJECTS < imported.rejected.len() {
        diagnostic::note(&format!("{} more could not be read", count((imported.rejected.len() - MOST_REJECTS) as u64)));
    }
    if !imported.new_classes.is_empty() {
        diagnostic::warn(
            &format!("labels that are not among --classes: {}", imported.new_classes.join(", ")),
            "they count as classes of their own; correct them in the tool and import again if they are not meant",
        );
    }
}

fn imported_words(imported: &ImportedFiles, location: &str) -> String {
    let mut text = format!("read       {}\n", counted(imported.rows, "label row"));
    for (round, rows) in &imported.by_round {
        text += &format!("round {round}    {}\n", count(*rows));
    }
    if 0 < imported.outside {
        text += &format!("outside    {} of rows that no round handed out\n", count(imported.outside));
    }
    if imported.rows == 0 {
        text += "           there is nothing to take in\n";
    } else if !imported.is_new {
        text += "           all of it was there already: nothing was written\n";
    }
    text + &format!("next       tamis al status {location}\n")
}

fn imported_fields(imported: &ImportedFiles) -> serde_json::Value {
    let rejected: Vec<_> = imported
        .rejected
        .iter()
        .map(|(file, row, reason)| json!({ "file": file, "row": row, "reason": reason }))
        .collect();
    let unanswered: Vec<_> = imported
        .unanswered
        .iter()
        .map(|(file, rows, tool)| json!({ "file": file, "rows": rows, "looks_like": tool.map(LabelTool::name) }))
        .collect();
    let by_round: BTreeMap<String, u64> =
        imported.by_round.iter().map(|(round, rows)| (round.to_string(), *rows)).collect();
    json!({
        "command": "tamis al import",
        "rows": imported.rows,
        "by_round": by_round,
        "outside": imported.outside,
        "unknown": imported.unknown,
        "unknown_ids": imported.unknown_ids,
        "unmatched": imported.unmatched,
        "unanswered": unanswered,
        "rejected": rejected,
        "new_classes": imported.new_classes,
        "new": imported.is_new,
    })
}
