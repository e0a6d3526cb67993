//! The one error type of this crate: variants by what the caller can do about it.

use std::path::PathBuf;

use tamis_schemas::manifest::{LossOf, LossRecord};

use crate::footprint::ledger;
use crate::store;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run could not go on.
///
/// A bad row is not an error: it becomes a reject record. `Display` prints its own level only; causes are `source`s.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot work, or settings that contradict each other.
    #[error("{message}")]
    Config {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Folders or globs with nothing in them that could be read.
    #[error("there are no input files{}", if *.n_skipped == 0 { String::new() } else { format!(" of a known format; {n_skipped} were skipped") })]
    NoInput {
        /// Files of formats that are not known.
        n_skipped: usize,
        /// Formats that are.
        supported: String,
    },
    /// An input that is not there, or that we may not read.
    #[error("could not read `{location}`")]
    Unreadable {
        /// The file or URL.
        location: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An input whose bytes are not what its format promises.
    #[error("`{location}` is damaged or not {format}: {message}")]
    Corrupt {
        /// The file or URL.
        location: String,
        /// The format it was read as, e.g. "a Parquet file".
        format: &'static str,
        /// What was found.
        message: String,
    },
    /// A column that is not in the input, or has the wrong type.
    #[error("{message}")]
    Column {
        /// What is missing or wrong, where.
        message: String,
        /// The nearest thing that would work.
        hint: Option<String>,
    },
    /// An output that could not be written.
    #[error("could not write `{location}`")]
    Unwritable {
        /// The file or URL.
        location: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An output that another run is writing to.
    #[error("another run is writing to `{location}`{}", .process.as_ref().map(|id| format!(": process {id}")).unwrap_or_default())]
    Locked {
        /// The folder.
        location: String,
        /// The process that holds it, where it says so.
        process: Option<String>,
    },
    /// An output that another run is adding to.
    #[error("another run is adding to `{location}`: {holder}")]
    Leased {
        /// The output.
        location: String,
        /// Who, and since when.
        holder: String,
    },
    /// An output that another run took over because this one showed no sign of life.
    #[error("another run has taken over `{location}`: this one showed no sign of life for too long")]
    TakenOver {
        /// The output.
        location: String,
    },
    /// More rows would be dropped than the loss guards allow.
    #[error("{}", describe(.0))]
    Loss(Box<LossRecord>),
    /// The memory limit is too small for what cannot spill.
    #[error(
        "{stage} needs {requested_bytes} bytes more, the {limit_bytes} bytes that the memory limit leaves to it are used up"
    )]
    OverBudget {
        /// Who asked.
        stage: &'static str,
        /// How much.
        requested_bytes: usize,
        /// What all stages may hold together.
        limit_bytes: usize,
    },
    /// Temporary files could not be written or read back.
    #[error("temporary file in `{dir}`", dir = .dir.display())]
    Spill {
        /// The folder of the temporary files.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another run was added to the same output first, or to its index.
    #[error(
        "other runs were added to `{location}` or its index meanwhile, and this one was not compared with their rows"
    )]
    Overtaken {
        /// The output.
        location: String,
    },
    /// The run was added to its output, but what follows its commit could not be written.
    #[error("the run was added to `{location}`, but its index or the logs for readers of Delta Lake tables are behind")]
    Behind {
        /// The output.
        location: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// A run that is added in parts stopped after some of them.
    #[error("the run stopped in its part {}; those before it were added to `{location}` and stay", .n_added + 1)]
    Part {
        /// The output.
        location: String,
        /// How many were added.
        n_added: usize,
        /// What stopped it.
        #[source]
        source: Box<Error>,
    },
    /// A stream of another process that is not whole.
    #[error("the input ended in the middle: who sent it has died")]
    Torn,
    /// The user or the system asked us to stop.
    #[error("interrupted; nothing was written")]
    Interrupted,
    /// Arrow refused an operation: a type we do not carry.
    #[error("arrow operation failed")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A dataframe operation failed.
    #[error("dataframe operation failed")]
    Frame(#[from] polars::error::PolarsError),
    /// The model failed.
    #[error("the scorer failed")]
    Model(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The row accounting or another invariant of ours does not hold: a bug, or an input that changed while we read it.
    #[error("{0}")]
    Invariant(String),
}

/// What a caller that runs us again and again can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing: we were asked to stop.
    Interrupted,
    /// Wait until the other run has ended.
    Locked,
    /// Wait until the store answers: it refused connections, timed out or failed, and went on so while we tried again.
    StoreUnavailable,
    /// Give credentials, or permissions: the store got none, or none that it takes.
    Credentials,
    /// Try again: another process has died.
    Torn,
    /// Have the file restored: it lies in an archive.
    Archived,
    /// Change the config, the input or the machine: the same again would end the same.
    Other,
}

impl Error {
    /// A config error without a hint.
    pub fn config(message: impl Into<String>) -> Self {
        Self::Config { message: message.into(), hint: None }
    }

    /// What can be done about it by a caller that does not read messages.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Torn => ErrorKind::Torn,
            Self::Locked { .. } | Self::Leased { .. } | Self::TakenOver { .. } | Self::Overtaken { .. } => {
                ErrorKind::Locked
            }
            Self::Part { source, .. } => source.kind(),
            _ => store::kind_of_cause(self),
        }
    }

    /// What the user can do next, where we know it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config { hint, .. } | Self::Column { hint, .. } => hint.clone(),
            Self::NoInput { supported, .. } => Some(format!("supported are {supported}")),
            Self::Loss(_) => Some(
                "if this loss is meant, raise the limit, or pass --allow-loss (guards.allow_loss) and see every pair in the \
                 table `evidence`; if not, raise --threshold, or compare fewer rows with each other: --by, --scope"
                    .into(),
            ),
            Self::Corrupt { format: ledger::FORMAT, location, .. } => {
                Some(format!("move `{location}` away: the next run begins a new one"))
            }
            Self::Part { source, .. } => source.hint(),
            Self::Behind { .. } => Some("run the same command again: it completes them first".into()),
            Self::Overtaken { .. } => Some("run the same command again, with fewer others at once".into()),
            Self::Leased { .. } => Some("try again when it has ended, or wait for it: --if-locked wait:10m".into()),
            Self::TakenOver { .. } => Some(
                "run the same command again; if machines or their store are often that slow, raise output.lease".into(),
            ),
            Self::OverBudget { .. } => Some("raise --memory-limit".into()),
            Self::Locked { .. } => Some("wait until it has ended, or choose another output with -o (output.path)".into()),
            Self::Spill { .. } => Some("free space there, or name a folder on a disk with more with --temp-dir".into()),
            _ => match self.kind() {
                ErrorKind::StoreUnavailable => {
                    Some("try again when the store answers; if it never does, check its address and the network".into())
                }
                ErrorKind::Archived => Some(
                    "`tamis restore OUT --ask-for TABLE` asks the store for the archived files of an output of tamis; have \
                     others restored with the provider's means"
                        .into(),
                ),
                _ => None,
            },
        }
    }
}

/// What lost too much, a line each, with examples.
fn describe(record: &LossRecord) -> String {
    let mut lines = vec!["more rows would be dropped than the loss guards allow; nothing was written".to_owned()];
    for breach in &record.breaches {
        lines.push(format!("  {breach}; dropped -> kept (similarity):"));
        lines.extend(breach.examples.iter().map(|example| format!("    {example}")));
    }
    for (of, n, name) in [
        (LossOf::Cluster, record.clusters, "clusters too large"),
        (LossOf::Source, record.sources, "sources that lose too much"),
    ] {
        let n_told = record.breaches.iter().filter(|breach| breach.of == of).count() as u64;
        if n_told < n {
            lines.push(format!("  {name} not shown: {}", n - n_told));
        }
    }
    lines.join("\n")
}
