//! The command that runs a config once, as another process gets it.

use std::ffi::OsString;
use std::path::Path;

use crate::args::{Format, Global, Run};
use crate::log::LogFormat;

/// The arguments of `tamis` for the same config and flags. What comes from the environment is written out.
pub(crate) fn arguments(config: &Path, args: &Run, global: &Global) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["run".into(), config.into()];
    let mut flag = |name: &str, value: Option<OsString>| {
        if let Some(value) = value {
            words.extend([name.into(), value]);
        }
    };
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
