//! Kernels: what one task of a cluster does, as a process that reads and writes Arrow streams. `docs/kernel-protocol.md` is what they speak.
//!
//! ```text
//! session -> units -> scan -> fingerprints -> bucket, prune (or compare) -> prove -> assign -> divide -> hold -> embed -> fold
//!     -> judge -> sift -> texts -> learn -> score -> gather, choose -> pick -> tabulate, write -> session, which commits
//! ```
//!
//! They call what the executor of one machine calls, part by part.

mod added;
mod assign;
mod bucket;
mod choose;
mod columns;
mod commit;
mod compare;
mod cuts;
mod divide;
mod embed;
mod expected;
mod fate;
mod fold;
mod folder;
mod handed;
mod hold;
mod index;
mod job;
mod judge;
mod judged;
mod learn;
mod lesson;
mod link;
mod looked;
mod more;
mod pick;
mod picked;
mod pieces;
mod places;
mod prove;
mod prune;
mod record;
mod refusals;
mod right_size;
mod scan;
mod score;
mod scored;
mod scorer;
mod scoring;
mod seen;
mod session;
mod sift;
mod stream;
mod summary;
mod tabulate;
mod texts;
mod told;
mod units;
mod write;

use std::io::{BufReader, Read, Write};

use tamis_schemas::config::Config;

pub use super::parts::Ended;
pub use commit::Committed;
pub use session::Session;

use super::semantic::SemanticPlan;
use super::{Plan, Run};
use crate::context::Context;
use crate::dataset::Sharing;
use crate::dedup::grain::{DuplicateAction, UnitSettings};
use crate::dedup::index::Stamp;
use crate::progress::Progress;
use crate::sink::Existing;
use crate::source::Inputs;
use crate::store::Stores;
use crate::{Error, Result};

use job::Job;
use stream::{Incoming, Outgoing};

/// What a process does for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Reads units, makes fingerprints.
    Scan,
    /// Compares the rows that share keys, in some buckets.
    Bucket,
    /// Links the rows that have to be decided together.
    Link,
    /// Leaves out the pairs of all buckets that nothing depends on.
    Prune,
    /// Does both of it for all rows.
    Compare,
    /// Reads units again, for the sets of some rows.
    Prove,
    /// Decides which rows are dropped for which.
    Assign,
    /// Reads units again, for the paragraphs or lines of rows that stay so far.
    Divide,
    /// Decides which row holds each that several rows have.
    Hold,
    /// Reads units again, for embeddings of rows that stay so far.
    Embed,
    /// Decides which of them say what others say.
    Fold,
    /// Reads units again, judges the quality of rows that stay so far.
    Judge,
    /// Decides which of them stay.
    Sift,
    /// Reads units again for what a scorer learns from.
    Texts,
    /// Learns a scorer.
    Learn,
    /// Reads units again, scores and embeds the rows that stay.
    Score,
    /// Joins what was seen of rows that may be selected.
    Gather,
    /// Chooses the batch.
    Choose,
    /// Reads units again, for the chosen rows.
    Pick,
    /// Writes scores and embeddings to their tables.
    Tabulate,
    /// Reads units again and writes their rows to the tables.
    Write,
}

/// What a kernel works with.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Where inputs and outputs are.
    pub stores: &'a Stores,
    /// Resources.
    pub context: &'a Context,
    /// Told of rows and bytes.
    pub progress: &'a Progress,
}

/// Does one task: reads its stream, writes what comes of it.
///
/// `attempt` is a name that no other try has: files that are written have it in theirs. The process is to do nothing else: it works in
/// the folder of the run.
///
/// # Errors
/// Whatever is wrong with the input; `Error::Torn` if the stream is not whole. No end of the output is written then.
pub fn run_kernel(
    kernel: Kernel,
    attempt: &str,
    input: impl Read,
    output: impl Write,
    stores: Stores,
    context: &Context,
    progress: &Progress,
) -> Result<()> {
    progress.begin(kernel.name());
    let mut input = Incoming::open(BufReader::new(input))?;
    let job = Job::of_stream(&input)?;
    job.folder.as_deref().map_or(Ok(()), folder::enter)?;
    let config = job.config()?;
    let (stores, plan) = (&stores.with_tiers(&config)?, Plan::new(&config)?);
    let task = Task { job: &job, config: &config, plan: &plan, with: Surroundings { stores, context, progress } };
    match kernel {
        Kernel::Scan => scan::scan(task, &mut input, Outgoing::new(output)),
        Kernel::Bucket => bucket::bucket(task, &mut input, Outgoing::new(output)),
        Kernel::Link => link::link(task, &mut input, Outgoing::new(output)),
        Kernel::Prune => prune::prune(task, &mut input, Outgoing::new(output)),
        Kernel::Compare => compare::compare(task, &mut input, Outgoing::new(output)),
        Kernel::Prove => prove::prove(task, &mut input, Outgoing::new(output)),
        Kernel::Assign => assign::assign(task, &mut input, Outgoing::new(output)),
        Kernel::Divide => divide::divide(task, &mut input, Outgoing::new(output)),
        Kernel::Hold => hold::hold(task, &mut input, Outgoing::new(output)),
        Kernel::Embed => embed::embed(task, &mut input, Outgoing::new(output)),
        Kernel::Fold => fold::fold(task, &mut input, Outgoing::new(output)),
        Kernel::Judge => judge::judge(task, &mut input, Outgoing::new(output)),
        Kernel::Sift => sift::sift(task, &mut input, Outgoing::new(output)),
        Kernel::Texts => texts::texts(task, &mut input, Outgoing::new(output)),
        Kernel::Learn => learn::learn(task, &mut input, Outgoing::new(output)),
        Kernel::Score => score::score(task, &mut input, Outgoing::new(output)),
        Kernel::Gather => choose::gather(task, &mut input, Outgoing::new(output)),
        Kernel::Choose => choose::choose(task, &mut input, Outgoing::new(output)),
        Kernel::Pick => pick::pick(task, &mut input, Outgoing::new(output)),
        Kernel::Tabulate => tabulate::tabulate(task, attempt, &mut input, Outgoing::new(output)),
        Kernel::Write => write::write(task, attempt, &mut input, Outgoing::new(output)),
    }
}

/// What the parts of a kernel share.
#[derive(Debug, Clone, Copy)]
struct Task<'a> {
    job: &'a Job,
    config: &'a Config,
    plan: &'a Plan,
    with: Surroundings<'a>,
}

impl<'a> Task<'a> {
    /// What passes over some inputs share.
    fn run(self, inputs: &'a Inputs) -> Run<'a> {
        let Surroundings { context, progress, .. } = self.with;
        Run { config: self.config, plan: self.plan, inputs, context, progress }
    }

    /// Which paragraphs or lines are compared, and what happens to those that other rows hold.
    ///
    /// # Errors
    /// `Error::Invariant` if the run compares none: nobody should have asked.
    fn duplicate_units(&self) -> Result<(UnitSettings, DuplicateAction)> {
        let duplicates = self.plan.grain.as_ref().and_then(|grain| grain.duplicates);
        duplicates.ok_or_else(|| Error::Invariant("this run compares no paragraphs".into()))
    }

    /// How rows are compared by their embeddings.
    ///
    /// # Errors
    /// `Error::Invariant` if they are not: nobody should have asked.
    fn semantic(&self) -> Result<&SemanticPlan> {
        self.plan.semantic.as_ref().ok_or_else(|| Error::Invariant("this run compares no embeddings".into()))
    }

    /// The settings of near-duplicate removal.
    ///
    /// # Errors
    /// `Error::Invariant` if the run has none: nobody should have asked.
    fn deduplicate(&self) -> Result<&crate::dedup::Settings> {
        let settings = self.plan.deduplicate.as_ref();
        settings.ok_or_else(|| Error::Invariant("this run looks for no near-duplicates".into()))
    }
}

impl Kernel {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Bucket => "bucket",
            Self::Link => "link",
            Self::Prune => "prune",
            Self::Compare => "compare",
            Self::Prove => "prove",
            Self::Assign => "assign",
            Self::Divide => "divide",
            Self::Hold => "hold",
            Self::Embed => "embed",
            Self::Fold => "fold",
            Self::Judge => "judge",
            Self::Sift => "sift",
            Self::Texts => "texts",
            Self::Learn => "learn",
            Self::Score => "score",
            Self::Gather => "gather",
            Self::Choose => "choose",
            Self::Pick => "pick",
            Self::Tabulate => "tabulate",
            Self::Write => "write",
        }
    }
}

/// Starts a run on a cluster: see [`Session`]. The name in `stamp` is one that no other session has; `sharing` is for outputs that
/// runs are added to, where there may be nothing to do.
///
/// # Errors
/// Whatever keeps a run from beginning, and `Error::Config` for what does not work on a cluster yet.
pub fn open_session<'a>(
    config: &Config,
    existing: Existing,
    unit_bytes: u64,
    stamp: &Stamp,
    sharing: &Sharing,
    with: Surroundings<'a>,
) -> Result<Result<Session<'a>, Ended>> {
    Session::open(config, existing, unit_bytes, stamp, sharing, with)
}
