//! `tamis kernel`, and runs on a cluster.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use tamis_pipeline::run::IfLocked;

use super::{Accounting, Overwrite, if_locked};

/// `tamis kernel`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum KernelCommand {
    /// Plan a run, hold its output, commit it: one for each run
    Session(Box<KernelSession>),
    /// Read units, make fingerprints
    Scan,
    /// Compare the rows that share keys, in some buckets
    Bucket,
    /// Link the rows that have to be decided together
    Link,
    /// Leave out the pairs of all buckets that nothing depends on
    Prune,
    /// Do both of it for all rows
    Compare,
    /// Read units again, for the sets of some rows
    Prove,
    /// Decide which rows are dropped for which
    Assign,
    /// Read units again, for the paragraphs or lines of rows that stay so far
    Divide,
    /// Decide which row holds each that several rows have
    Hold,
    /// Read units again, for embeddings of rows that stay so far
    Embed,
    /// Decide which of them say what others say
    Fold,
    /// Read units again, judge the quality of rows that stay so far
    Judge,
    /// Decide which of them stay
    Sift,
    /// Read units again for what a scorer learns from
    Texts,
    /// Learn a scorer
    Learn,
    /// Read units again, score and embed the rows that stay
    Score,
    /// Join what was seen of rows that may be selected
    Gather,
    /// Choose the batch
    Choose,
    /// Read units again, for the chosen rows
    Pick,
    /// Write scores and embeddings to their tables
    Tabulate,
    /// Read units again and write their rows to the tables
    Write,
}

/// `tamis kernel session`.
#[derive(Debug, Clone, Args)]
pub(crate) struct KernelSession {
    /// Config file
    #[arg(value_name = "CONFIG.toml")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) overwrite: Overwrite,
    /// While another run adds to the output: fail, skip or wait:TIME [default: fail]
    #[arg(long, value_name = "ACTION", value_parser = if_locked)]
    pub(crate) if_locked: Option<IfLocked>,
    #[command(flatten)]
    pub(crate) accounting: Accounting,
}

/// Who runs a config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Engine {
    /// This process
    #[default]
    Local,
    /// Apache Spark; docs/scale.md says how
    Spark,
}

/// How a run on a cluster is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Cluster {
    /// Who runs it
    #[arg(long, value_name = "ENGINE", value_enum, default_value_t)]
    pub(crate) engine: Engine,
    /// Where Spark is: `local[4]`, `spark://HOST:PORT`, `yarn`, `k8s://HOST`, `sc://HOST` for Spark Connect [default: this machine, as many tasks as --threads]
    #[arg(long, value_name = "URL")]
    pub(crate) master: Option<String>,
    /// Where stages are kept, so that a run that was killed goes on: a folder or URL that every machine of the cluster reaches
    ///
    /// As Spark names it, e.g., s3a://. [default on this machine: a temporary one, so that a run that was killed begins anew]
    #[arg(long, value_name = "URL")]
    pub(crate) checkpoint: Option<String>,
    /// GPUs of a task that scores or embeds: 1, or 0.25 of one that four tasks share [default: none are asked for; tasks use what they see]
    ///
    /// Executors must have some: `spark.executor.resource.gpu.amount`. docs/scale.md says how.
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    pub(crate) score_gpus: Option<String>,
    /// Options of spark-submit, after --
    #[arg(last = true, value_name = "SPARK-SUBMIT OPTION")]
    pub(crate) submit: Vec<String>,
}

impl Cluster {
    /// # Errors
    /// If something is said of a cluster, and this process is to do the work.
    pub(crate) fn check_unused(&self) -> anyhow::Result<()> {
        let given = [
            ("--master", self.master.is_some()),
            ("--checkpoint", self.checkpoint.is_some()),
            ("--score-gpus", self.score_gpus.is_some()),
            ("options of spark-submit", !self.submit.is_empty()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => {
                anyhow::bail!("{flag} without --engine spark: this process would do all the work itself")
            }
            None => Ok(()),
        }
    }
}

/// What Spark can give a task of, as it was given.
fn amount(text: &str) -> Result<String, String> {
    match text.parse::<f64>() {
        Ok(number) if 0.0 < number && (number <= 1.0 || number.is_finite() && number.fract() == 0.0) => {
            Ok(text.to_owned())
        }
        _ => Err("must be a share, above 0 to 1, or a whole number".into()),
    }
}
