//! `tamis distill`.

use std::time::Instant;

use serde_json::{Value, json};
use tamis_pipeline::context::Context;
use tamis_pipeline::footprint::report::{Report, json::of_report};
use tamis_pipeline::progress::Progress;
use tamis_pipeline::run::{Distilled, check_distilled, distill};
use tamis_pipeline::score::agreement::Agreement;

use crate::args::{Distill, Global};
use crate::exit::Exit;
use crate::footprint::{self, Account, Done};
use crate::number::{bytes, count, counted};
use crate::report::footprint_words;
use crate::{answer, diagnostic, settings};

pub(crate) fn run(args: &Distill, global: &Global) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let config = settings::distill(args)?;
    let (stores, mut context) = (settings::stores(), settings::context(global)?);
    let existing = settings::existing(args.overwrite);
    let account = Account::open("tamis distill", (&config, ""), &args.accounting, &stores, &context)?;
    if args.accounting.print_start {
        return footprint::print_start(account.as_ref(), &args.accounting, (&stores, &context), global.format);
    }
    if let Some(account) = &account {
        let check_output = || check_distilled(&args.output, existing, &stores, &context);
        account.ready(&args.accounting, (&stores, &context), check_output)?;
    }
    let work = |context: &Context, progress: &Progress| distill(&config, existing, &stores, context, progress);
    let done = |distilled: &Distilled| Some(Done::of_distilled(distilled));
    let (distilled, footprint) = footprint::run(account, &mut context, global, work, done)?;
    let n_rejected = distilled.rows.rejected;
    if n_rejected > 0 {
        diagnostic::warn(
            &format!("{} could not be read, and taught nothing", counted(n_rejected, "row")),
            "`tamis convert` writes them to the table `rejected`, with reasons",
        );
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut text = words(&distilled, &args.output, seconds);
    if let Some(footprint) = &footprint {
        text += &format!("footprint      {}\n", footprint_words(footprint));
    }
    answer::print(&text, &fields(&distilled, footprint.as_ref(), seconds), global.format)?;
    Ok(if n_rejected > 0 { Exit::Rejects } else { Exit::Clean })
}

fn words(distilled: &Distilled, output: &str, seconds: f64) -> String {
    let Distilled { record, agreement, rows, location, n_bytes, .. } = distilled;
    let what = if record.classes.is_empty() {
        record.task.clone()
    } else {
        format!("{}: {}", record.task, names(&record.classes))
    };
    let mut text = format!(
        "scorer         {} on {}, {what}\nlearnt from    {} of {} rows, in {seconds:.1} s\n",
        record.name,
        record.device,
        count(record.labelled_rows),
        count(rows.rows_in)
    );
    if record.truncated_rows > 0 {
        text += &format!(
            "               {} longer than the encoder takes: the ends taught nothing\n",
            counted(record.truncated_rows, "text")
        );
    }
    text += &format!(
        "agreement      {}\n",
        agreement
            .map_or_else(|| "not known: fewer than 50 judged rows, or each is alone with its class".into(), describe)
    );
    text + &format!(
        "written to     {location} ({})\nuse it with    tamis score POOL --scorer {output} -o OUT, or [quality] scorer = \"{output}\"\n",
        bytes(*n_bytes)
    )
}

/// The first names of classes or labels.
fn names(classes: &[String]) -> String {
    const MOST: usize = 8;
    let more = classes.len().saturating_sub(MOST);
    let shown = classes[..classes.len().min(MOST)].join(", ");
    if more == 0 { shown } else { format!("{shown} and {} more", count(more as u64)) }
}

/// What models that had not seen the rows said of them.
fn describe(agreement: Agreement) -> String {
    match agreement {
        Agreement::Classes { accuracy, majority } => format!(
            "{:.1} % right on rows not learnt from ({:.1} % if it always said the most frequent class)",
            accuracy * 100.0,
            majority * 100.0
        ),
        Agreement::MultiLabel { micro_f1 } => format!("F1 {micro_f1:.3} over all labels of rows not learnt from"),
        Agreement::Regression { spearman, r2, mean_absolute_error } => format!(
            "rank correlation {spearman:.3}, R2 {r2:.3}, off by {mean_absolute_error:.3} on average, on rows not learnt from"
        ),
    }
}

fn fields(distilled: &Distilled, footprint: Option<&Report>, seconds: f64) -> Value {
    json!({
        "command": "tamis distill",
        "seconds": seconds,
        "scorer": distilled.record,
        "agreement": distilled.agreement,
        "rows": distilled.rows,
        "location": distilled.location,
        "bytes": distilled.n_bytes,
        "footprint": footprint.map(of_report),
    })
}
