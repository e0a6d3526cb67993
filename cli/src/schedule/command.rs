//! The command that runs a config once, as another process gets it.

use std::ffi::OsString;
use std::path::Path;

use tamis_pipeline::run::IfLocked;
use tamis_schemas::config::OutputMode;
use tamis_schemas::time_span::TimeSpan;

use crate::args::{Format, Global, Run};
use crate::log::LogFormat;

/// For how long a scheduled run waits for another that adds to the same output, if nobody says what it is to do.
const PATIENCE: TimeSpan = TimeSpan { seconds: 600 };

/// The arguments of `tamis` for the same config and flags. What comes from the environment is written out.
pub(crate) fn arguments(config: &Path, mode: OutputMode, args: &Run, global: &Global) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["run".into(), config.into()];
    let mut flag = |name: &str, value: Option<OsString>| {
        if let Some(value) = value {
            words.extend([name.into(), value]);
        }
    };
    let waits = (mode == OutputMode::Append).then(|| IfLocked::Wait(PATIENCE.duration()));
    flag("--if-locked", args.added.if_locked.or(waits).map(if_locked));
    flag("--metrics-file", args.metrics.metrics_file.as_ref().map(Into::into));
    flag("--threads", global.threads.map(|n| n.to_string().into()));
    flag("--memory-limit", global.memory_limit.map(|size| size.to_string().into()));
    flag("--temp-dir", global.temp_dir.as_ref().map(Into::into));
    let batch_rows = global.batch_rows;
    flag("--batch-rows", (batch_rows != Global::BATCH_ROWS).then(|| batch_rows.to_string().into()));
    flag("--format", (global.format == Format::Json).then(|| "json".into()));
    flag("--log-format", (global.log_format == LogFormat::Json).then(|| "json".into()));
    if args.overwrite.overwrite {
        words.push("--overwrite".into());
    }
    if global.verbose > 0 {
        words.push(format!("-{}", "v".repeat(global.verbose.into())).into());
    }
    words
}

fn if_locked(action: IfLocked) -> OsString {
    match action {
        IfLocked::Fail => "fail".into(),
        IfLocked::Skip => "skip".into(),
        IfLocked::Wait(time) => format!("wait:{}", TimeSpan { seconds: time.as_secs() }).into(),
    }
}
