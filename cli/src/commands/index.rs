//! `tamis index show|expire|delete|compact|verify`.

use anyhow::Context as _;
use serde_json::{Value, json};
use std::collections::HashSet;
use tamis_pipeline::dedup::index::maintain::{self, Expire};
use tamis_pipeline::place::Place;
use tamis_schemas::index::{IndexManifest, SegmentRecord};

use crate::answer::print;
use crate::args::{Global, IndexCommand, IndexExpire, IndexUrl};
use crate::exit::Exit;
use crate::number::{bytes, count, counted};
use crate::settings;

pub(crate) fn run(args: &IndexCommand, global: &Global) -> anyhow::Result<Exit> {
    let (context, stamp) = (settings::context(global)?, settings::stamp());
    let place = |index: &IndexUrl| -> anyhow::Result<Place> {
        Ok(Place::new(&index.url, &settings::stores_by(&index.reach)?, context.runtime.handle())?)
    };
    let (text, json) = match args {
        IndexCommand::Show(index) => {
            let manifest = maintain::show(&place(index)?)?;
            (describe(&index.url, &manifest, stamp.now), serde_json::to_value(&manifest)?)
        }
        IndexCommand::Expire(args) => {
            let what = rows_to_expire(args, stamp.now)?;
            let expired = maintain::expire(&place(&args.index)?, &what, &stamp, &context)?;
            (expired_text(&expired), json!({"expired_rows": expired.expired_rows, "rows": expired.rows}))
        }
        IndexCommand::Delete(args) => match &args.run {
            Some(run) => {
                let place = place(&args.index)?;
                let expired = maintain::expire(&place, &Expire::Run(run.clone()), &stamp, &context)?;
                (expired_text(&expired), json!({"expired_rows": expired.expired_rows, "rows": expired.rows}))
            }
            None if !args.yes => anyhow::bail!(
                "the whole index `{}` would be removed; pass --yes to do so, or --run to remove the rows of a run",
                args.index.url
            ),
            None => {
                let manifest = maintain::delete(&place(&args.index)?)?;
                let rows: u64 = manifest.segments.iter().map(SegmentRecord::live_rows).sum();
                let n_segments = manifest.segments.len() as u64;
                let (n_rows, segments) = (counted(rows, "row"), counted(n_segments, "segment"));
                let text = format!("removed the index: {n_rows} in {segments}\n");
                (text, json!({"removed_rows": rows, "removed_segments": n_segments}))
            }
        },
        IndexCommand::Compact(args) => {
            let place = place(&args.index)?;
            let done = maintain::compact(&place, args.orphans.seconds, &stamp, &context)?;
            let text = format!(
                "{} segments are now {}; {} expired rows and {} orphaned files removed\n",
                count(done.segments_before),
                count(done.segments),
                count(done.removed_rows),
                count(done.orphans),
            );
            let json = json!({
                "segments_before": done.segments_before,
                "segments": done.segments,
                "removed_rows": done.removed_rows,
                "removed_orphans": done.orphans,
            });
            (text, json)
        }
        IndexCommand::Verify(index) => {
            let found = maintain::verify(&place(index)?, &context)?;
            let text = format!(
                "the index is sound: {}, {}, {} keys, {}\n",
                counted(found.segments, "segment"),
                counted(found.rows, "row"),
                count(found.keys),
                bytes(found.bytes),
            );
            let json = json!({
                "segments": found.segments, "rows": found.rows, "keys": found.keys, "bytes": found.bytes,
            });
            (text, json)
        }
    };
    print(&text, &json, global.format)?;
    Ok(Exit::Clean)
}

fn rows_to_expire(args: &IndexExpire, now: u64) -> anyhow::Result<Expire> {
    if let Some(age) = args.rows.older_than {
        return Ok(Expire::AddedBefore(now.saturating_sub(age.seconds)));
    }
    let mut ids: HashSet<String> = args.rows.id.iter().cloned().collect();
    if let Some(file) = &args.rows.ids {
        let text = std::fs::read_to_string(file).with_context(|| format!("could not read `{}`", file.display()))?;
        ids.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    }
    Ok(Expire::Ids(ids))
}

fn expired_text(expired: &maintain::Expired) -> String {
    let n_rows = count(expired.rows);
    format!("{} rows expired, {n_rows} stay; `tamis index compact` frees their space\n", count(expired.expired_rows))
}

fn describe(url: &str, manifest: &IndexManifest, now: u64) -> String {
    let rows: u64 = manifest.segments.iter().map(SegmentRecord::live_rows).sum();
    let size: u64 = manifest.segments.iter().map(SegmentRecord::bytes).sum();
    let segments = counted(manifest.segments.len() as u64, "segment");
    let mut text = format!("index {url}: {} in {segments}, {}\n\nparameters\n", counted(rows, "row"), bytes(size));
    if let Ok(Value::Object(parameters)) = serde_json::to_value(&manifest.parameters) {
        for (name, value) in parameters {
            text += &format!("  {name:<20}{value}\n");
        }
    }
    for segment in &manifest.segments {
        let expired = segment.rows - segment.live_rows();
        let note = if expired > 0 { format!(", {} expired", count(expired)) } else { String::new() };
        text += &format!("\n{}: {} rows{note}, {}\n", segment.path, count(segment.live_rows()), bytes(segment.bytes()));
        for run in &segment.runs {
            text += &format!("  run {}  {:>12} rows, added {}\n", run.run, count(run.rows), age(now, run.added_at));
        }
    }
    text
}

fn age(now: u64, then: u64) -> String {
    match now.saturating_sub(then) {
        seconds @ 0..3600 => format!("{} minutes ago", seconds / 60),
        seconds @ 3600..172_800 => format!("{} hours ago", seconds / 3600),
        seconds => format!("{} days ago", count(seconds / 86_400)),
    }
}
