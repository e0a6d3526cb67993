//! What goes to stderr while we work: lines for people, or a JSON object a line.

use std::ffi::OsString;
use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

use chrono::{SecondsFormat, Utc};
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};
use uuid::Uuid;

use crate::telemetry;

/// How stderr is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// A JSON object a line
    Json,
}

/// Variable that a run gets its id from.
pub(crate) const RUN_ID: &str = "TAMIS_RUN_ID";
/// Variable that chooses the format.
pub(crate) const LOG_FORMAT: &str = "TAMIS_LOG_FORMAT";

static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Debug)]
struct Log {
    format: LogFormat,
    run_id: String,
    /// Whether `TAMIS_RUN_ID` has named the run.
    is_given: bool,
}

/// A new id: the time of its making, then chance.
pub(crate) fn new_run_id() -> String {
    Uuid::now_v7().to_string()
}

/// Chooses how stderr is written from here on, and the id of this run.
pub(crate) fn choose(format: LogFormat) {
    let given = std::env::var(RUN_ID).ok().filter(|id| !id.is_empty());
    let is_given = given.is_some();
    let log = LOG.get_or_init(|| Log { format, run_id: given.unwrap_or_else(new_run_id), is_given });
    if log.format == LogFormat::Json {
        std::panic::set_hook(Box::new(|panic| {
            line("ERROR", &json!({"message": panic.to_string()}));
        }));
    }
}

/// Starts to log from `level` on, and to send spans where a collector is named.
pub(crate) fn start(level: &str) -> Option<telemetry::Exporter> {
    let filter = EnvFilter::try_from_env("TAMIS_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("off,tamis={level},tamis_pipeline={level}")));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if is_json() {
        lines.event_format(JsonLines).boxed()
    } else {
        let has_color = std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal();
        lines.with_ansi(has_color).boxed()
    };
    let (spans, exporter) = telemetry::start().unzip();
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).init();
    exporter
}

/// Id of this run.
pub(crate) fn run_id() -> Option<&'static str> {
    LOG.get().map(|log| log.run_id.as_str())
}

/// Id of this run, if somebody has chosen it: two runs may have been given the same.
pub(crate) fn given_run_id() -> Option<&'static str> {
    LOG.get().filter(|log| log.is_given).map(|log| log.run_id.as_str())
}

/// Whether every line on stderr is a JSON object.
pub(crate) fn is_json() -> bool {
    LOG.get().is_some_and(|log| log.format == LogFormat::Json)
}

/// The format that a command line asks for which cannot be understood as a whole.
pub(crate) fn format_of(args: impl Iterator<Item = OsString>) -> LogFormat {
    let args: Vec<OsString> = args.collect();
    let flag = args.iter().rev().find_map(|arg| arg.to_str()?.strip_prefix("--log-format="));
    let pair = args.windows(2).rev().find(|pair| pair[0] == "--log-format").and_then(|pair| pair[1].to_str());
    let variable = std::env::var(LOG_FORMAT).ok();
    if flag.or(pair).or(variable.as_deref()) == Some("json") { LogFormat::Json } else { LogFormat::Text }
}

/// Writes a line of its own, whatever the level.
pub(crate) fn line(level: &str, fields: &Value) {
    let fields = fields.as_object().cloned().unwrap_or_default();
    // stderr is the last resort: if it is closed, there is no one to tell.
    let _ = writeln!(std::io::stderr().lock(), "{}", record(level, "tamis", fields));
}

fn record(level: &str, target: &str, fields: Map<String, Value>) -> Value {
    let mut record = json!({
        "timestamp": Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
        "level": level,
        "run_id": run_id(),
        "target": target,
    });
    if let Some(record) = record.as_object_mut() {
        record.extend(fields);
    }
    record
}

/// Events of `tracing` as JSON objects, one a line.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        writeln!(writer, "{}", record(metadata.level().as_str(), metadata.target(), fields.0))
    }
}

/// The fields of an event; what they have no number for in JSON becomes text.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}
