//! The command that runs a config once, as another process gets it.

use std::ffi::OsString;
use std::path::Path;

use tamis_pipeline::run::IfLocked;
use tamis_schemas::config::OutputMode;
use tamis_schemas::time_span::TimeSpan;

use crate::args::{Accounting, Format, Global, Run, Switch};
use crate::log::LogFormat;

/// For how long a scheduled run waits for another that adds to the same output, if nobody says what it is to do.
const PATIENCE: TimeSpan = TimeSpan { seconds: 600 };

/// The arguments of `tamis` for the same config and flags. What comes from the environment is written out.
pub(crate) fn arguments(
    config: &Path,
    mode: OutputMode,
    args: &Run,
    accounting: &Accounting,
    global: &Global,
) -> Vec<OsString> {
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
    let number = |value: Option<f64>| value.map(|value| value.to_string().into());
    let text = |value: &Option<String>| value.as_ref().map(Into::into);
    flag("--footprint", accounting.footprint.filter(|switch| *switch == Switch::Off).map(|_| "off".into()));
    flag("--region", text(&accounting.region));
    flag("--intensity", number(accounting.intensity));
    flag("--actuals", text(&accounting.actuals));
    flag("--pue", number(accounting.pue));
    flag("--power-file", text(&accounting.power_file));
    flag("--method", accounting.method.map(|method| serde_json::json!(method).as_str().unwrap_or_default().into()));
    flag("--max-g", number(accounting.max_g));
    flag("--start-within", accounting.start_within.map(|time| time.to_string().into()));
    flag("--forecast", text(&accounting.forecast));
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

/// Files that the command reads beside config and input.
pub(crate) fn files(accounting: &Accounting) -> Vec<&str> {
    [&accounting.forecast, &accounting.actuals, &accounting.power_file]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect()
}

pub(crate) fn if_locked(action: IfLocked) -> OsString {
    match action {
        IfLocked::Fail => "fail".into(),
        IfLocked::Skip => "skip".into(),
        IfLocked::Wait(time) => format!("wait:{}", TimeSpan { seconds: time.as_secs() }).into(),
    }
}
