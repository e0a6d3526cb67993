//! `tamis inspect`: a finished run, looked at.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::Context as _;
use tamis_pipeline::finished::FinishedRun;
use tamis_pipeline::inspect::{Cluster, ClusterSort, OverviewSettings, clusters, dropped, overview};

use crate::args::{ClusterOrder, Format, Global, Inspect};
use crate::exit::Exit;
use crate::inspect::{Found, Paint, View, html, json, terminal};
use crate::progress::Display;
use crate::settings;

/// Columns where there is no terminal.
const DEFAULT_COLUMNS: u16 = 100;
/// Bytes that are read of a text without `--full`.
const TEXT_BYTES: usize = 256 << 10;

pub(crate) fn run(args: &Inspect, global: &Global) -> anyhow::Result<Exit> {
    let to_terminal = args.output.is_none() && std::io::stdout().is_terminal();
    if global.format == Format::Html && to_terminal {
        anyhow::bail!("a page is not for a terminal; name a file with -o, for instance -o page.html");
    }
    if let Some(path) = args.output.as_ref().filter(|path| !args.overwrite && path.exists()) {
        anyhow::bail!("`{}` is there already; pass --overwrite to replace it", path.display());
    }
    let context = settings::context(global)?;
    let stores = settings::stores_by(&args.reach)?;
    let display = Display::start(global);
    let run = FinishedRun::open(&args.run, &stores, &context, display.progress())?;
    let found = find(args, global.format, &run)?;
    let view = View { run: &run, found, is_full: args.full };
    let shown = show(args, global.format, &view)?;
    drop(display);
    if let Some(path) = &args.output {
        write_file(path, &shown)?;
    } else {
        let mut out = std::io::stdout().lock();
        out.write_all(&shown)?;
        out.flush()?;
    }
    Ok(Exit::Clean)
}

fn find(args: &Inspect, format: Format, run: &FinishedRun<'_>) -> anyhow::Result<Found> {
    let max_bytes = if args.full { usize::MAX } else { TEXT_BYTES };
    let limit = usize::from(args.limit);
    if let Some(id) = &args.dropped {
        return Ok(Found::Dropped(dropped(run, id, max_bytes)?));
    }
    if let Some(id) = &args.cluster {
        return Ok(Found::Cluster(clusters(run, &[id], limit, max_bytes)?.remove(0)));
    }
    let sort = match args.sort {
        ClusterOrder::Size => ClusterSort::Size,
        ClusterOrder::Similarity => ClusterSort::Similarity,
        ClusterOrder::Source => ClusterSort::Source,
    };
    let overview = overview(run, &OverviewSettings { top: usize::from(args.top), sort, by: args.by.clone() })?;
    let in_full: Vec<Cluster> = if format == Format::Html {
        let ids: Vec<&str> = overview.clusters.iter().map(|cluster| cluster.id.as_str()).collect();
        clusters(run, &ids, limit, max_bytes)?
    } else {
        Vec::new()
    };
    Ok(Found::Overview(overview, in_full))
}

fn show(args: &Inspect, format: Format, view: &View<'_>) -> anyhow::Result<Vec<u8>> {
    let mut shown = Vec::new();
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut shown, &json::value(view))?;
            shown.push(b'\n');
        }
        Format::Html => shown.extend_from_slice(html::page(view).as_bytes()),
        _ => {
            let width = args.width.unwrap_or_else(|| {
                terminal_size::terminal_size().map_or(DEFAULT_COLUMNS, |(width, _)| width.0.max(20))
            });
            let paint = Paint::new(args.color, args.output.is_none());
            terminal::write(&mut shown, view, usize::from(width), paint)?;
        }
    }
    Ok(shown)
}

/// Writes beside the file and renames, so that it is never there in part.
fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut name = path.file_name().context("-o names no file")?.to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    std::fs::write(&temporary, bytes)
        .and_then(|()| std::fs::rename(&temporary, path))
        .with_context(|| format!("could not write `{}`", path.display()))
}
