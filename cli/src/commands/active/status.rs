//! `tamis al status`.

use serde_json::json;
use tamis_pipeline::active::stop::{Interval, Rule};
use tamis_pipeline::active::{self, Ledger, RoundStatus, Status};

use crate::args::{ActiveLedger, Global};
use crate::exit::Exit;
use crate::number::{count, counted};
use crate::{answer, settings};

/// Classes that are shown.
const MOST_CLASSES: usize = 12;

pub(super) fn run(args: &ActiveLedger, global: &Global) -> anyhow::Result<Exit> {
    let (stores, context) = (settings::stores(), settings::context(global)?);
    let ledger = Ledger::open(&args.ledger, &stores, &context)?;
    let status = active::status(&ledger)?;
    let mut json = json!(status);
    json["command"] = "tamis al status".into();
    answer::print(&words(&status), &json, global.format)?;
    Ok(Exit::Clean)
}

fn words(status: &Status) -> String {
    let mut text = String::new();
    if !status.rounds.is_empty() {
        text += "round  strategy          rows  again  labelled   open  skipped  disagree  learned from  right at random     kappa  changed  entropy\n";
    }
    for round in &status.rounds {
        text += &line(round);
    }
    text += &format!(
        "labels     {} labelled, {} open, {} skipped, {} with answers that disagree\n",
        count(status.labelled),
        count(status.open),
        count(status.skipped),
        count(status.disagreeing)
    );
    if 0 < status.outside {
        text += &format!("           {} of the labels are of rows that no round handed out\n", count(status.outside));
    }
    if let Some(left) = status.left_in_pool {
        text += &format!("pool       {} left to choose from\n", counted(left, "row"));
    }
    text += &classes(status);
    if let Some(accuracy) = status.accuracy {
        text += &format!(
            "accuracy   {} on {} chosen at random, predicted before they were labelled\n",
            interval(accuracy),
            counted(status.accuracy_rows, "row")
        );
    }
    if let Some(median) = status.median_seconds {
        text += &format!("time       {median:.1} s an answer (median), {} so far", duration(status.spent_seconds));
        if let Some(next) = status.next_seconds {
            text += &format!(", about {} for what is open and one more round", duration(next));
        }
        text += "\n";
    }
    for Rule { name, says_stop, words, .. } in &status.rules {
        text += &format!("{:<10} {name}: {words}\n", if *says_stop { "stop" } else { "go on" });
    }
    text + &format!("\n{}\n", status.advice.why)
}

fn line(round: &RoundStatus) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.3}"));
    let right = match round.accuracy {
        Some(_) => format!("{}/{}", round.right.right, round.right.of),
        None => "-".into(),
    };
    format!(
        "{:>5}  {:<16}{:>6}{:>7}{:>10}{:>7}{:>9}{:>10}{:>14}  {right:>15}{:>10}{:>9}{:>9}\n",
        round.round,
        round.strategy,
        count(round.rows),
        count(round.again),
        count(round.labelled),
        count(round.open),
        count(round.skipped),
        count(round.disagreeing),
        count(round.learned_from),
        number(round.stability.kappa),
        number(round.stability.changed_ratio),
        number(round.stability.mean_entropy),
    )
}

fn classes(status: &Status) -> String {
    if status.classes.is_empty() {
        return String::new();
    }
    let shown = status.classes.iter().take(MOST_CLASSES).map(|class| {
        let unexpected = if class.expected { "" } else { " (not among --classes)" };
        format!("{} {}{unexpected}", class.label, count(class.rows))
    });
    let more = status.classes.len().saturating_sub(MOST_CLASSES);
    let more = if 0 < more { format!(" and {more} more") } else { String::new() };
    format!("classes    {}{more}\n", shown.collect::<Vec<_>>().join(", "))
}

fn interval(Interval { estimate, low, high }: Interval) -> String {
    format!("{:.1} % ({:.1} to {:.1} %)", 100.0 * estimate, 100.0 * low, 100.0 * high)
}

/// Seconds as the largest unit that fits.
fn duration(seconds: f64) -> String {
    match seconds {
        _ if seconds < 90.0 => format!("{seconds:.0} s"),
        _ if seconds < 90.0 * 60.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}
