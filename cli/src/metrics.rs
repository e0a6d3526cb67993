//! The numbers of one run, in a file that the textfile collector of Prometheus' node exporter reads.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tamis_schemas::manifest::Manifest;

use crate::atomic::Replacement;
use crate::exit::Exit;
use crate::prometheus::Exposition;

const LAST_SUCCESS: &str = "tamis_run_last_success_timestamp_seconds";

/// A metrics file that will be replaced when the run has ended.
#[derive(Debug)]
pub(crate) struct MetricsFile {
    path: PathBuf,
    replacement: Replacement,
    last_success: Option<f64>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    pub(crate) exit: Exit,
    pub(crate) elapsed: Duration,
    pub(crate) ended: SystemTime,
    pub(crate) peak_memory_bytes: Option<u64>,
    /// `None` if it failed.
    pub(crate) manifest: Option<&'a Manifest>,
}

impl MetricsFile {
    /// Makes sure, before anything else is done, that the file can be replaced.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let replacement = Replacement::new(path).with_context(|| unwritable(path))?;
        let last_success = std::fs::read_to_string(path).ok().and_then(|text| last_success(&text));
        Ok(Self { path: path.to_owned(), replacement, last_success })
    }

    /// Writes the file.
    pub(crate) fn finish(self, outcome: &Outcome<'_>) -> anyhow::Result<()> {
        // Of several files in one folder the collector makes one page: what tells their numbers apart is the file's name.
        let run = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let text = text(&run, self.last_success, outcome);
        self.replacement.finish(&text).with_context(|| unwritable(&self.path))
    }
}

fn unwritable(path: &Path) -> String {
    format!("could not write the metrics file `{}`", path.display())
}

fn text(run: &str, last_success: Option<f64>, outcome: &Outcome<'_>) -> String {
    let mut exposition = Exposition::default();
    let mut gauge = |name: &str, help: &str, value: f64| {
        exposition.gauge(name, help, [(Some(("run", run.to_owned())), value)]);
    };
    let ended = outcome.ended.duration_since(UNIX_EPOCH).unwrap_or_default();
    let last_success = if outcome.manifest.is_some() { Some(ended.as_secs_f64()) } else { last_success };
    if let Some(time) = last_success {
        gauge(LAST_SUCCESS, "When a run last finished, with or without rejected rows.", time);
    }
    gauge("tamis_run_duration_seconds", "How long the last run took.", outcome.elapsed.as_secs_f64());
    gauge("tamis_run_exit_code", "How the last run ended: 0 clean, 1 with rejects.", f64::from(outcome.exit.code()));
    if let Some(peak) = outcome.peak_memory_bytes {
        gauge("tamis_run_peak_memory_bytes", "Highest resident memory of the last run.", peak as f64);
    }
    if let Some(manifest) = outcome.manifest {
        let rows = &manifest.rows;
        for (name, help, value) in [
            ("tamis_run_docs_read", "Documents that the last run read.", rows.rows_in),
            ("tamis_run_docs_kept", "Documents that it kept.", rows.kept),
            ("tamis_run_docs_removed", "Documents that it removed.", rows.dropped),
            ("tamis_run_docs_rejected", "Documents that it could not read.", rows.rejected),
            ("tamis_run_input_bytes", "Bytes of its inputs, as stored.", input_bytes(manifest)),
            ("tamis_run_output_bytes", "Bytes of the tables that it wrote.", output_bytes(manifest)),
        ] {
            gauge(name, help, value as f64);
        }
    }
    exposition.into_text()
}

/// Bytes of the inputs of a run, as stored.
pub(crate) fn input_bytes(manifest: &Manifest) -> u64 {
    manifest.inputs.iter().map(|input| input.size_bytes).sum()
}

/// Bytes of the tables that a run wrote.
pub(crate) fn output_bytes(manifest: &Manifest) -> u64 {
    manifest.tables.values().flat_map(|table| &table.files).map(|file| file.bytes).sum()
}

fn last_success(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(LAST_SUCCESS))?;
    line.rsplit_once(' ')?.1.parse().ok().filter(|time: &f64| time.is_finite())
}

#[cfg(test)]
mod tests {
    use tamis_schemas::manifest::RowCounts;

    use super::*;

    #[test]
    fn a_failed_run_keeps_the_time_of_the_last_success() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nightly.prom");
        let manifest = Manifest {
            rows: RowCounts { rows_in: 7, kept: 4, dropped: 2, ..Default::default() },
            ..Default::default()
        };
        let run = |exit, at, manifest| {
            let ended = UNIX_EPOCH + Duration::from_secs(at);
            let elapsed = Duration::from_millis(1500);
            let outcome = Outcome { exit, elapsed, ended, peak_memory_bytes: Some(99), manifest };
            MetricsFile::open(&path).unwrap().finish(&outcome).unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        let has = |text: &str, line: &str| text.lines().any(|found| found == line);
        let failed = run(Exit::Credentials, 5, None);
        assert!(!failed.contains(LAST_SUCCESS) && has(&failed, "tamis_run_exit_code{run=\"nightly\"} 77"), "{failed}");
        let clean = run(Exit::Clean, 1_700_000_000, Some(&manifest));
        assert!(has(&clean, &format!("{LAST_SUCCESS}{{run=\"nightly\"}} 1700000000")), "{clean}");
        assert!(has(&clean, "tamis_run_docs_removed{run=\"nightly\"} 2"), "{clean}");
        for at in [1_700_000_100, 1_700_000_200] {
            let failed = run(Exit::Unavailable, at, None);
            assert!(has(&failed, &format!("{LAST_SUCCESS}{{run=\"nightly\"}} 1700000000")), "{failed}");
            assert!(!failed.contains("tamis_run_docs"), "{failed}");
        }
        let rejects = run(Exit::Rejects, 1_700_000_300, Some(&manifest));
        assert!(has(&rejects, &format!("{LAST_SUCCESS}{{run=\"nightly\"}} 1700000300")), "{rejects}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "temporary files stay behind");
    }

    #[test]
    fn what_is_no_time_is_not_kept() {
        let line = |value: &str| format!("{LAST_SUCCESS}{{run=\"x y\"}} {value}\n");
        assert_eq!(last_success(&line("1.5e9")), Some(1.5e9));
        for bad in ["", "soon", "NaN", "+Inf"] {
            assert_eq!(last_success(&line(bad)), None, "{bad}");
        }
        assert_eq!(last_success("# nothing\n"), None);
    }
}
