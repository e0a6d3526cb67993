//! `tamis restore`.

use std::time::Instant;

use serde_json::{Value, json};
use tamis_pipeline::finished::{FinishedRun, Pile, Waiting, bring_back};
use tamis_pipeline::run::{Restoration, RestoreSettings, Restored, Selectors, restore};
use tamis_pipeline::store::{Speed, Thaw};

use crate::answer;
use crate::args::{self, Global, Restore, RestoreTier};
use crate::exit::Exit;
use crate::number::{bytes, counted};
use crate::progress::Display;
use crate::report::{self, Finished};
use crate::settings;

pub(crate) fn run(args: &Restore, global: &Global) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let (stores, context) = (settings::stores_by(&args.reach)?, settings::context(global)?);
    let thaw = thaw(&args.thaw);
    let display = Display::start(global);
    let Some(output) = &args.output else {
        let run = FinishedRun::open(&args.from, &stores, &context, display.progress())?;
        let files = args.thaw.ask_for.iter().flat_map(|&table| run.files(table));
        let waiting = bring_back(&run, files, thaw);
        drop(display);
        return print_waiting(waiting?.as_ref(), thaw, global);
    };
    let settings = RestoreSettings { restored: restored(args), thaw, existing: settings::existing(args.overwrite) };
    let result = restore(&args.from, output, &settings, &stores, &context, display.progress());
    drop(display);
    let manifest = match result? {
        Restoration::Written(manifest) => manifest,
        Restoration::Waiting(waiting) => return print_waiting(Some(&waiting), thaw, global),
    };
    let finished = Finished {
        command: "tamis restore",
        manifest: &manifest,
        n_parts: 1,
        n_withdrawn: 0,
        output,
        elapsed: started.elapsed(),
        n_threads: settings::n_threads(global),
        footprint: None,
    };
    report::print(&finished, global.format)?;
    Ok(Exit::Clean)
}

fn restored(args: &Restore) -> Restored {
    let selectors = Selectors { runs: args.run.clone(), ids: args.id.clone(), clusters: args.cluster.clone() };
    match (args.kept_only, selectors == Selectors::default()) {
        (true, _) => Restored::KeptOnly,
        (false, true) => Restored::All,
        (false, false) => Restored::Dropped(selectors),
    }
}

fn thaw(args: &args::Thaw) -> Thaw {
    let speed = match args.restore_tier {
        RestoreTier::Standard => Speed::Standard,
        RestoreTier::Bulk => Speed::Bulk,
        RestoreTier::Expedited => Speed::Expedited,
    };
    Thaw { days: args.restore_days, speed }
}

/// Says what was asked of an archive.
fn print_waiting(waiting: Option<&Waiting>, thaw: Thaw, global: &Global) -> anyhow::Result<Exit> {
    let Some(waiting) = waiting else {
        answer::print("no file lies in an archive\n", &json!({"waiting": null}), global.format)?;
        return Ok(Exit::Clean);
    };
    answer::print(&words(waiting, thaw), &json!({"waiting": fields(waiting, thaw)}), global.format)?;
    Ok(Exit::Temporary)
}

fn words(waiting: &Waiting, thaw: Thaw) -> String {
    let Waiting { asked, coming, classes, hours } = waiting;
    let pile = |pile: &Pile| format!("{} ({})", counted(pile.files, "file"), bytes(pile.bytes));
    let classes: Vec<&str> = classes.iter().map(String::as_str).collect();
    let mut text = format!("nothing was restored: files lie in an archive ({})\n", classes.join(", "));
    if asked.files > 0 {
        text += &format!(
            "  asked for now: {}, {}: back in {} at most, for {}\n",
            pile(asked),
            thaw.speed.name(),
            counted(u64::from(*hours), "hour"),
            counted(u64::from(thaw.days), "day"),
        );
    }
    if coming.files > 0 {
        text += &format!("  asked for before: {}\n", pile(coming));
    }
    text + "run the same command again when they are back\n"
}

fn fields(waiting: &Waiting, thaw: Thaw) -> Value {
    let pile = |pile: &Pile| json!({"files": pile.files, "bytes": pile.bytes});
    json!({
        "asked": pile(&waiting.asked),
        "coming": pile(&waiting.coming),
        "classes": waiting.classes,
        "tier": thaw.speed.name(),
        "days": thaw.days,
        "hours": waiting.hours,
    })
}
