//! `tamis runs`, `export`, `verify`, `gc` and `compact`: looking after an output.

use serde_json::{Value, json};
use tamis_pipeline::context::Context;
use tamis_pipeline::dedup::index::Stamp;
use tamis_pipeline::finished::{self, FinishedRun, Garbage};
use tamis_pipeline::progress::Progress;
use tamis_pipeline::run::Sharing;
use tamis_pipeline::store::Stores;
use tamis_pipeline::upkeep::{self, Site};
use tamis_schemas::commit::{Commit, CommitKind};

use crate::answer::print;
use crate::args::{Export, FinishedOutput, Gc, Global};
use crate::exit::Exit;
use crate::number::{bytes, count, counted, utc};
use crate::progress::Display;
use crate::settings;

pub(crate) fn runs(output: &FinishedOutput, global: &Global) -> anyhow::Result<Exit> {
    look(output, global, |run| {
        let commits = run.commits();
        if commits.is_empty() {
            anyhow::bail!("`{}` is the output of one run, to which none is added; see its manifest.json", output.url);
        }
        let line = |cells: [&str; 9]| {
            let [version, time, files, rows_in, kept, dropped, rejected, withdrawn, run] = cells;
            format!(
                "{version:>7}  {time:<19}  {files:>9}  {rows_in:>13}  {kept:>13}  {dropped:>13}  {rejected:>11}  \
                 {withdrawn:>11}  {run}\n"
            )
        };
        let names =
            ["version", "committed (UTC)", "files in", "rows in", "kept", "dropped", "rejected", "withdrawn", "run"];
        let mut text = line(names);
        for commit in commits {
            let rows = &commit.manifest.rows;
            text += &line([
                &commit.version.to_string(),
                &utc(commit.committed_at),
                &count(commit.inputs.len() as u64),
                &count(rows.rows_in),
                &count(rows.kept),
                &count(rows.dropped),
                &count(rows.rejected),
                &count(withdrawn(commit)),
                &match commit.kind {
                    CommitKind::Run => commit.run.clone(),
                    CommitKind::Compact => format!("{} (compaction)", commit.run),
                    CommitKind::Expire => format!("{} (retention)", commit.run),
                },
            ]);
        }
        let json = |commit: &Commit| {
            json!({
                "version": commit.version,
                "run": commit.run,
                "run_id": commit.run_id,
                "kind": commit.kind,
                "committed_at": commit.committed_at,
                "files": commit.inputs.len(),
                "rows": commit.manifest.rows,
                "withdrawn_rows": withdrawn(commit),
                "config_sha256": commit.manifest.config_sha256,
                "tamis_version": commit.manifest.tamis_version,
            })
        };
        Ok((text, commits.iter().map(json).collect(), Exit::Clean))
    })
}

/// Rows of earlier runs that left the output with a commit.
fn withdrawn(commit: &Commit) -> u64 {
    commit.withdrawn.as_ref().map_or(0, |withdrawn| withdrawn.rows.rows_in)
}

pub(crate) fn export(args: &Export, global: &Global) -> anyhow::Result<Exit> {
    look(&args.output, global, |run| {
        let text = lines(run.files(args.table).map(|(url, _)| url));
        let json = run.files(args.table).map(
            |(url, record)| json!({"url": url, "rows": record.rows, "bytes": record.bytes, "sha256": record.sha256}),
        );
        Ok((text, json.collect(), Exit::Clean))
    })
}

pub(crate) fn verify(output: &FinishedOutput, global: &Global) -> anyhow::Result<Exit> {
    look(output, global, |run| {
        let found = finished::verify(run)?;
        let is_sound = found.problems.is_empty();
        let mut text = lines(&found.problems);
        let n_files = counted(found.files, "file");
        text += &if is_sound {
            format!("the output is sound: {n_files}, {}\n", bytes(found.bytes))
        } else {
            format!("the output is not sound: {} in {n_files}\n", counted(found.problems.len() as u64, "problem"))
        };
        if let Some(first) = found.archived.first() {
            let archived = counted(found.archived.len() as u64, "file");
            text += &format!(
                "{archived} in an archive: not read, only the size was compared (`tamis restore --ask-for` has them brought \
                 back), first: {first}\n"
            );
        }
        if let Some(first) = found.orphans.first() {
            let orphans = counted(found.orphans.len() as u64, "file");
            text += &format!(
                "{orphans} of runs that did not end, or still go on (`tamis gc` removes them), first: {first}\n"
            );
        }
        let json = json!({
            "sound": is_sound,
            "files": found.files,
            "bytes": found.bytes,
            "problems": found.problems,
            "archived": found.archived,
            "orphans": found.orphans,
        });
        Ok((text, json, if is_sound { Exit::Clean } else { Exit::Failed }))
    })
}

pub(crate) fn gc(args: &Gc, global: &Global) -> anyhow::Result<Exit> {
    let stamp = settings::stamp();
    work(&args.output, global, |work| {
        let url = &args.output.url;
        let expired = upkeep::expire(work.site(url, &stamp, &settings::sharing(None, &stamp)), args.dry_run)?;
        let run = FinishedRun::open(url, work.stores, work.context, work.progress)?;
        let before = stamp.now.saturating_sub(args.grace.seconds);
        let Garbage { files, uploads } = finished::gc(&run, before, args.dry_run)?;
        let would = if args.dry_run { "would be " } else { "" };
        let mut text = lines(&files);
        text += &format!("{} {would}removed\n", counted(files.len() as u64, "file"));
        if !uploads.is_empty() {
            text += &lines(&uploads);
            text += &format!("{} that never ended {would}aborted\n", counted(uploads.len() as u64, "upload"));
        }
        if !expired.files.is_empty() {
            text += &format!(
                "{} with {} past the retention {}\n",
                counted(expired.files.len() as u64, "file"),
                counted(expired.rows, "row"),
                if args.dry_run {
                    "would leave the output"
                } else {
                    "left the output, and are removed after the grace period"
                },
            );
        }
        let expired = json!({"files": expired.files, "rows": expired.rows});
        let json = json!({"removed": files, "aborted": uploads, "expired": expired, "dry_run": args.dry_run});
        Ok((text, json, Exit::Clean))
    })
}

pub(crate) fn compact(output: &FinishedOutput, global: &Global) -> anyhow::Result<Exit> {
    let stamp = settings::stamp();
    work(output, global, |work| {
        let done = upkeep::compact(work.site(&output.url, &stamp, &settings::sharing(None, &stamp)))?;
        let mut text = lines(done.left.iter().map(|left| format!("left as it is: {left}")));
        text += &match done.removed_files {
            0 => "nothing to compact\n".to_owned(),
            n => format!("{} in place of {}\n", counted(done.added_files, "file"), counted(n, "small one")),
        };
        let json = json!({"removed_files": done.removed_files, "added_files": done.added_files, "left": done.left});
        Ok((text, json, Exit::Clean))
    })
}

/// What a command works with.
struct Work<'a> {
    stores: &'a Stores,
    context: &'a Context,
    progress: &'a Progress,
}

impl<'a> Work<'a> {
    fn site(&self, location: &'a str, stamp: &'a Stamp, sharing: &'a Sharing) -> Site<'a> {
        Site { location, stamp, sharing, stores: self.stores, context: self.context, progress: self.progress }
    }
}

/// Does something at the output and prints what came of it.
fn work(
    output: &FinishedOutput,
    global: &Global,
    answer: impl FnOnce(&Work<'_>) -> anyhow::Result<(String, Value, Exit)>,
) -> anyhow::Result<Exit> {
    let (stores, context) = (settings::stores_by(&output.reach)?, settings::context(global)?);
    let display = Display::start(global);
    let answer = answer(&Work { stores: &stores, context: &context, progress: display.progress() });
    drop(display);
    let (text, json, exit) = answer?;
    print(&text, &json, global.format)?;
    Ok(exit)
}

/// Looks at the output and prints what `answer` makes of it.
fn look(
    output: &FinishedOutput,
    global: &Global,
    answer: impl FnOnce(&FinishedRun<'_>) -> anyhow::Result<(String, Value, Exit)>,
) -> anyhow::Result<Exit> {
    work(output, global, |work| answer(&FinishedRun::open(&output.url, work.stores, work.context, work.progress)?))
}

/// One a line.
fn lines(texts: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    texts.into_iter().fold(String::new(), |lines, text| lines + text.as_ref() + "\n")
}
