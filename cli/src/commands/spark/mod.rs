//! `tamis run --engine spark`: starts the driver, which starts kernels.

mod package;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tamis_pipeline::Error;
use tamis_pipeline::footprint::KeptLedger;
use tamis_pipeline::footprint::forecast::time_text;
use tamis_pipeline::footprint::report::{Report, report as last_report};
use tamis_pipeline::run::kernel::Ended;
use tamis_schemas::config::{Config, OutputMode};
use tamis_schemas::footprint::ViewConfig;
use tamis_schemas::manifest::Manifest;

use crate::args::{Format, Global, Run, Switch};
use crate::exit::Exit;
use crate::footprint::{self, flags_of_session};
use crate::metrics::MetricsFile;
use crate::report::{self, Finished};
use crate::schedule::command::if_locked;
use crate::{log, settings, signals};

use super::pipeline::{check_added, write_metrics};

/// Names the Python that has pyspark.
const PYTHON: &str = "TAMIS_PYTHON";
/// Tries of a task on this machine.
const LOCAL_TRIES: u32 = 3;

/// What the driver has to say at the end.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Said {
    Ended(Ended),
    Run(Box<Manifest>),
}

pub(crate) fn run(args: &Run, global: &Global) -> anyhow::Result<Exit> {
    check(args, global)?;
    let (config, _) = settings::load(&args.config)?;
    tamis_pipeline::run::check(&config)?;
    footprint::check_on_cluster(&args.accounting, &config.footprint.clone().unwrap_or_default())?;
    check_added(&config, args.added)?;
    let metrics_file = args.metrics.metrics_file.as_deref().map(MetricsFile::open).transpose()?;
    let (started, started_at) = (Instant::now(), SystemTime::now());
    let folder = tempfile::Builder::new().prefix("tamis-spark-").tempdir().context("could not make a folder")?;
    let main = package::write(folder.path()).context("could not write the driver")?;
    let manifest_file = folder.path().join("manifest.json");
    let mut command = command(args, global, &main, &manifest_file)?;
    let code = wait_for(&mut command)?;
    let said: Option<Said> = match std::fs::read(&manifest_file) {
        Ok(text) if code < 2 => Some(serde_json::from_slice(&text).context("the manifest cannot be read")?),
        _ => None,
    };
    let exit = match &said {
        Some(Said::Run(manifest)) if manifest.rows.rejected > 0 => Exit::Rejects,
        Some(Said::Ended(Ended::NothingNew(_))) => args.added.exit_empty.map_or(Exit::Clean, Exit::NothingNew),
        Some(_) => Exit::Clean,
        None => Exit::OfDriver(code.max(Exit::Failed.code())),
    };
    if let Some(file) = metrics_file {
        let nothing = Manifest::default();
        let manifest = said.as_ref().map(|said| match said {
            Said::Run(manifest) => manifest,
            Said::Ended(_) => &nothing,
        });
        write_metrics(file, exit, started.elapsed(), manifest);
    }
    let (command, output) = ("tamis run", config.output.path.clone());
    let manifest = match said {
        Some(Said::Run(manifest)) => manifest,
        Some(Said::Ended(Ended::NothingNew(n_inputs))) => {
            report::print_nothing_new(command, &output, n_inputs, global.format)?;
            return Ok(exit);
        }
        Some(Said::Ended(Ended::Skipped(holder))) => {
            report::print_skipped(command, &output, &holder, global.format)?;
            return Ok(exit);
        }
        // The driver has said why.
        None => return Ok(exit),
    };
    let used = match args.accounting.footprint {
        Some(Switch::Off) => None,
        _ => footprint_since(started_at, &config, global),
    };
    let finished = Finished {
        command,
        manifest: &manifest,
        n_parts: 1,
        n_withdrawn: 0,
        output: &output,
        elapsed: started.elapsed(),
        n_threads: settings::n_threads(global),
        footprint: used.as_ref(),
    };
    report::print(&finished, global.format)?;
    Ok(exit)
}

/// What the session has kept of the run, the last one in the ledger of the output. It has said why if there is nothing; no run that
/// is done fails for it.
fn footprint_since(started_at: SystemTime, config: &Config, global: &Global) -> Option<Report> {
    let (context, stores) = (settings::context(global).ok()?, settings::stores().with_tiers(config).ok()?);
    let is_added_to = config.output.mode == OutputMode::Append;
    let ledger = KeptLedger::of_output(&config.output.path, is_added_to, &stores, context.runtime.handle()).ok()?;
    let rows = ledger.verified_rows().ok()?;
    let started_at = started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let is_ours = time_text(started_at.cast_signed()) <= rows.last()?.start_at;
    is_ours.then(|| last_report(&rows, None, ViewConfig::Provisioned).ok()).flatten()
}

/// # Errors
/// `Error::Config` for flags that a run on a cluster does not look at.
fn check(args: &Run, global: &Global) -> anyhow::Result<()> {
    let flags = [
        ("--threads beside --master", global.threads.is_some() && args.cluster.master.is_some()),
        ("--deploy-mode", args.cluster.submit.iter().any(|option| option.starts_with("--deploy-mode"))),
    ];
    let Some((flag, _)) = flags.iter().find(|(_, is_given)| *is_given) else { return Ok(()) };
    let hint = match *flag {
        "--deploy-mode" => "give the driver itself to spark-submit: docs/scale.md says how",
        _ => "say it in the master: local[4]",
    };
    Err(Error::Config { message: format!("{flag} does not work with --engine spark yet"), hint: Some(hint.into()) }
        .into())
}

fn command(args: &Run, global: &Global, main: &Path, manifest: &Path) -> anyhow::Result<Command> {
    let cluster = &args.cluster;
    let own_master = || format!("local[{},{LOCAL_TRIES}]", settings::n_threads(global));
    let master = cluster.master.clone().or_else(|| cluster.submit.is_empty().then(own_master));
    let mut command = if cluster.submit.is_empty() {
        Command::new(std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into()))
    } else {
        let mut command = Command::new(spark_submit());
        command.args(master.iter().flat_map(|master| ["--master", master.as_str()])).args(&cluster.submit);
        command
    };
    command.arg(main).arg(&args.config).arg("--manifest").arg(manifest);
    command.args(master.iter().flat_map(|master| ["--master", master.as_str()]));
    command.args(cluster.checkpoint.iter().flat_map(|url| ["--checkpoint", url.as_str()]));
    command.args(cluster.score_gpus.iter().flat_map(|amount| ["--score-gpus", amount.as_str()]));
    if args.overwrite.overwrite {
        command.arg("--overwrite");
    }
    if let Some(action) = args.added.if_locked {
        command.arg("--if-locked").arg(if_locked(action));
    }
    command.args(flags_of_session(&args.accounting).iter().map(|flag| format!("--session-arg={flag}")));
    if let Some(limit) = global.memory_limit {
        command.args(["--memory-limit", &format!("{}", limit.0)]);
    }
    if global.no_progress || global.format != Format::Text {
        command.arg("--no-progress");
    }
    if let Some(folder) = &global.temp_dir {
        let folder = std::path::absolute(folder)?;
        for name in ["TAMIS_TEMP_DIR", "TMPDIR", "SPARK_LOCAL_DIRS"] {
            command.env(name, &folder);
        }
    }
    command.env("TAMIS_BATCH_ROWS", global.batch_rows.to_string());
    if log::is_json() {
        command.env(log::LOG_FORMAT, "json");
    }
    command.env("TAMIS_BIN", std::env::current_exe().context("could not find this program")?);
    // Ours is for the summary. spark-submit sends there what the driver has to say.
    command.stdin(Stdio::null()).stdout(io::stderr());
    Ok(command)
}

/// That of `SPARK_HOME`, or the one on the `PATH`.
fn spark_submit() -> OsString {
    let of_home = |home| PathBuf::from(home).join("bin/spark-submit").into();
    std::env::var_os("SPARK_HOME").map_or_else(|| "spark-submit".into(), of_home)
}

/// Waits for the driver, which hears of the signals that ask us to stop; gives its exit code.
fn wait_for(command: &mut Command) -> anyhow::Result<u8> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| Error::Config {
        message: format!("could not start `{program}`: {error}"),
        hint: Some(format!(
            "install Python 3 with pyspark and pyarrow, or name it in {PYTHON}; docs/scale.md says how"
        )),
    })?;
    let id = Pid::from_raw(child.id() as i32);
    signals::listen(&signals::STOPPING, move |signal| {
        // Ctrl-C reaches the driver without us: the terminal sends it to both.
        if let (Some(id), true) = (id, signal != signal_hook::consts::SIGINT) {
            let _ = kill_process(id, Signal::TERM);
        }
    })?;
    let status = child.wait().context("could not wait for the driver")?;
    let code = status.code().ok_or_else(|| {
        let signal = status.signal().unwrap_or_default();
        Error::config(format!("the driver was killed by signal {signal}; nothing was written"))
    })?;
    Ok(u8::try_from(code).unwrap_or(2))
}
