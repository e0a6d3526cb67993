//! The span of a command, with what it counted. The pipeline makes one for each step beneath it.
//!
//! Without the feature `otel` nobody listens, and a span costs a look at an atomic. With it, spans go to the collector that
//! `OTEL_EXPORTER_OTLP_ENDPOINT` names, when they end and at the end of the process.

#[cfg_attr(not(feature = "otel"), path = "nowhere.rs")]
mod otlp;

pub(crate) use otlp::{Exporter, start};
use tamis_schemas::manifest::Manifest;
use tracing::Span;
use tracing::field::Empty;

use crate::exit::Exit;
use crate::{diagnostic, log, metrics};

/// What lines on stderr leave out: they have the id of the run anyway.
const TARGET: &str = "otel";

/// Does the `work` of a command in a span of its own.
pub(crate) fn in_span(command: Option<&str>, work: impl FnOnce() -> anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    let name = command.map_or_else(|| "tamis".to_owned(), |command| format!("tamis {command}"));
    let span = tracing::info_span!(
        target: TARGET,
        "command",
        otel.name = name,
        otel.status_code = Empty,
        otel.status_description = Empty,
        tamis.run_id = log::run_id(),
        tamis.exit_code = Empty,
        tamis.rows_in = Empty,
        tamis.rows_kept = Empty,
        tamis.rows_dropped = Empty,
        tamis.rows_rejected = Empty,
        tamis.input_bytes = Empty,
        tamis.output_bytes = Empty,
    );
    let result = span.in_scope(work);
    let exit = match &result {
        Ok(exit) => *exit,
        Err(error) if diagnostic::is_broken_pipe(error) => Exit::Clean,
        Err(error) => {
            span.record("otel.status_code", "ERROR").record("otel.status_description", format!("{error:#}"));
            Exit::of(error)
        }
    };
    span.record("tamis.exit_code", i64::from(exit.code()));
    result
}

/// Adds to the span of the command what its run counted. Signed: OpenTelemetry has no other numbers, and gets text instead.
pub(crate) fn record(manifest: &Manifest) {
    let (rows, span) = (&manifest.rows, Span::current());
    span.record("tamis.rows_in", rows.rows_in as i64)
        .record("tamis.rows_kept", rows.kept as i64)
        .record("tamis.rows_dropped", rows.dropped as i64)
        .record("tamis.rows_rejected", rows.rejected as i64)
        .record("tamis.input_bytes", metrics::input_bytes(manifest) as i64)
        .record("tamis.output_bytes", metrics::output_bytes(manifest) as i64);
}
