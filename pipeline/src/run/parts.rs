//! A run that is added to others, in parts: each takes the next new files, goes through all stages, and is a commit of its own.
//!
//! ```text
//! open: commit log, inputs that no commit names -> lease -> part: output, index, stages, commit -> part -> ... until nothing
//! is new
//! ```
//!
//! What was added stays, whatever becomes of the parts after it: a run that is killed loses one part at most.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tamis_schemas::commit::{Commit, CommitKind, Withdrawn};
use tamis_schemas::config::{Changed, CommitMode, Config, OutputConfig, OutputMode};
use tamis_schemas::index::SegmentRecord;
use tamis_schemas::manifest::Manifest;

use super::changed::Superseded;
use super::index::IndexRun;
use super::{Job, Outcome};
use crate::context::Context;
use crate::dataset::{Dataset, IfLocked, Lease, NewCommit, NewInputs, Sharing, Turn, committed};
use crate::dedup::index::{StagedSegment, Stamp};
use crate::finished::merged;
use crate::sink::{Added, Existing, Output};
use crate::source::{InputFile, Inputs};
use crate::{Error, Result};

/// Of runs that are added to the same output at once, one is first, and the others begin anew: so often in a row at most.
const MOST_TRIES: usize = 8;

/// # Errors
/// `Error::Config` for settings of added runs that cannot work, or that nothing looks at.
pub(super) fn check(config: &Config) -> Result<()> {
    let OutputConfig { mode, commit_files, commit_bytes, lease, commit, .. } = &config.output;
    let is_divided = commit_files.is_some() || commit_bytes.is_some();
    if *mode != OutputMode::Append && (is_divided || lease.is_some()) {
        return Err(Error::Config {
            message: "output.commit_files, commit_bytes and lease are for runs that are added to others".into(),
            hint: Some("set output.mode to \"append\", or leave them out".into()),
        });
    }
    if *commit != CommitMode::default() && *mode != OutputMode::Append && config.index.is_none() {
        return Err(Error::Config {
            message: "output.commit is set, but this run is neither added to others nor has it an index".into(),
            hint: Some("leave it out".into()),
        });
    }
    if *commit_files == Some(0) {
        return Err(Error::config("output.commit_files is 0: a commit has a file at least"));
    }
    if is_divided && config.select.is_some() {
        return Err(Error::Config {
            message:
                "output.commit_files and commit_bytes do not go with [select]: each commit would have a batch of its own"
                    .into(),
            hint: Some("leave them out, or choose in a run of its own: tamis select".into()),
        });
    }
    Ok(())
}

/// Adds the new files among the inputs of `job` to its output.
///
/// # Errors
/// `Error::Part` around whatever stops a run of which parts were added.
pub(super) fn run(job: Job<'_>, stamp: &Stamp, sharing: &Sharing) -> Result<Outcome> {
    refuse_overwriting(job.existing)?;
    let mut parts = Parts {
        job,
        stamp,
        sharing,
        began: Instant::now(),
        lease: None,
        n_begun: 0,
        added: Vec::new(),
        counted: BTreeMap::new(),
    };
    let ended = match (parts.add_all(), &parts.lease) {
        // What stopped it was no signal.
        (Err(Error::Interrupted), Some(lease)) if lease.is_lost() => Err(lease.taken_over()),
        (ended, _) => ended,
    };
    match (ended, merged(parts.added.iter())) {
        (Ok(_), Some(manifest)) => {
            let withdrawn = parts.added.iter().filter_map(|commit| commit.withdrawn.as_ref());
            let n_withdrawn = withdrawn.map(|withdrawn| withdrawn.rows.rows_in).sum();
            Ok(Outcome::Written { manifest: Box::new(manifest), n_parts: parts.added.len(), n_withdrawn })
        }
        (Ok(Ended::NothingNew(n_inputs)), None) => Ok(Outcome::NothingNew { n_inputs }),
        (Ok(Ended::Skipped(holder)), None) => Ok(Outcome::Skipped { holder }),
        (Err(error), None) => Err(error),
        (Err(error), Some(_)) => Err(Error::Part {
            location: job.config.output.path.clone(),
            n_added: parts.added.len(),
            source: Box::new(error),
        }),
    }
}

/// # Errors
/// `Error::Config` for a run that would replace an output that runs are added to.
pub(super) fn refuse_overwriting(existing: Existing) -> Result<()> {
    match existing {
        Existing::Refuse => Ok(()),
        Existing::Overwrite => Err(Error::Config {
            message: "output.mode is \"append\": there is nothing to overwrite".into(),
            hint: Some("leave out --overwrite, or set output.mode to \"new\"".into()),
        }),
    }
}

/// Why a run has nothing to do any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All inputs were read, which are so many files.
    NothingNew(usize),
    /// Another run is adding to the output, and this one was told to leave then: who that is, and since when.
    Skipped(String),
}

/// Looks for files that no earlier run has read as they are.
pub(super) fn find_new(job: Job<'_>, dataset: &Dataset<'_>) -> Result<Result<(Inputs, NewInputs), Ended>> {
    let inputs = match job.discover() {
        // Files that were read may be moved away.
        Err(Error::NoInput { .. }) if !dataset.commits().is_empty() => return Ok(Err(Ended::NothingNew(0))),
        inputs => inputs?,
    };
    let found = dataset.new_inputs(inputs.files(), job.config.input.changed)?;
    let is_any_new = found.are_new.contains(&true);
    Ok(if is_any_new { Ok((inputs, found)) } else { Err(Ended::NothingNew(inputs.files().len())) })
}

/// Takes the lease of the output, if it has one. Gives its holder if that is another, and this run is to leave then.
pub(super) fn claim(job: Job<'_>, dataset: &Dataset<'_>, sharing: &Sharing) -> Result<Result<Option<Lease>, Ended>> {
    let Job { config, context, progress, .. } = job;
    progress.begin("waiting for its turn");
    match dataset.turn(&config.output, sharing, &context.cancel)? {
        Some(Turn::Ours(lease)) => Ok(Ok(Some(lease))),
        Some(Turn::Theirs(holder)) if sharing.if_locked == IfLocked::Skip => Ok(Err(Ended::Skipped(holder))),
        Some(Turn::Theirs(holder)) => Err(Error::Leased { location: config.output.path.clone(), holder }),
        None => Ok(Ok(None)),
    }
}

/// The parts of a run.
#[derive(Debug)]
struct Parts<'a> {
    job: Job<'a>,
    stamp: &'a Stamp,
    sharing: &'a Sharing,
    began: Instant,
    /// From the first part to the last.
    lease: Option<Lease>,
    /// Parts that were begun, whatever became of them.
    n_begun: usize,
    /// Those that were added.
    added: Vec<Commit>,
    /// Requests that these have counted.
    counted: BTreeMap<String, u64>,
}

impl Parts<'_> {
    /// Adds part after part until nothing is new.
    fn add_all(&mut self) -> Result<Ended> {
        let (mut n_tries, mut n_added) = (0, 0);
        while n_tries < MOST_TRIES {
            if let Some(ended) = self.add_until_overtaken()? {
                return Ok(ended);
            }
            tracing::info!("another run was added first: begin anew");
            n_tries = if n_added < self.added.len() { 1 } else { n_tries + 1 };
            n_added = self.added.len();
        }
        Err(Error::Overtaken { location: self.job.config.output.path.clone() })
    }

    /// `None`: another run was added meanwhile.
    fn add_until_overtaken(&mut self) -> Result<Option<Ended>> {
        let Job { config, stores, context, .. } = self.job;
        let first = self.next_stamp();
        let Some(mut dataset) = Dataset::open(config, stores, &first, context.runtime.handle())? else {
            return Err(Error::Invariant("nothing is added to an output of one run".into()));
        };
        let mut part = Part::open(self.job, self.sharing, &dataset)?;
        let (inputs, NewInputs { are_new: mut is_left, are_changed }) = match find_new(self.job, &dataset)? {
            Ok(found) => found,
            Err(ended) => return Ok(Some(ended)),
        };
        let ended = Ended::NothingNew(inputs.files().len());
        if self.lease.is_none() {
            match claim(self.job, &dataset, self.sharing)? {
                Ok(lease) => self.lease = lease,
                Err(ended) => return Ok(Some(ended)),
            }
            if !dataset.is_newest()? {
                return Ok(None);
            }
        }
        loop {
            let is_taken = take(inputs.files(), &mut is_left, &config.output);
            let taken = inputs.only(&is_taken);
            let files = inputs.files().iter().zip(is_taken.iter().zip(&are_changed));
            let changed: Vec<&InputFile> = match config.input.changed {
                Changed::Replace => files.filter(|(_, of)| *of == (&true, &true)).map(|(file, _)| file).collect(),
                Changed::Read | Changed::Refuse => Vec::new(),
            };
            let n_left = is_left.iter().filter(|is_left| **is_left).count();
            tracing::info!(
                files = taken.files().len(),
                bytes = taken.total_bytes(),
                files_left = n_left,
                "part begins"
            );
            let n_runs = dataset.commits().len();
            let is_added = part.run(&taken, &changed, &mut dataset, self.lease.as_ref(), &mut self.counted);
            self.added.extend(dataset.commits()[n_runs..].iter().cloned());
            if !is_added? {
                return Ok(None);
            }
            if n_left == 0 {
                return Ok(Some(ended));
            }
            context.cancel.check()?;
            dataset.begin(self.next_stamp());
            part = Part::open(self.job, self.sharing, &dataset)?;
        }
    }

    /// A name and a time of its own for the next part.
    fn next_stamp(&mut self) -> Stamp {
        let Stamp { nonce, now } = self.stamp;
        let stamp = Stamp { nonce: format!("{nonce}-{}", self.n_begun), now: now + self.began.elapsed().as_secs() };
        self.n_begun += 1;
        stamp
    }
}

/// Takes the next files, as many as go into one commit: one at least.
fn take(files: &[InputFile], is_left: &mut [bool], limits: &OutputConfig) -> Vec<bool> {
    let most_files = limits.commit_files.unwrap_or(u64::MAX);
    let most_bytes = limits.commit_bytes.map_or(u64::MAX, |bytes| bytes.0);
    let (mut n_files, mut n_bytes) = (0, 0);
    let mut is_taken = vec![false; files.len()];
    for (index, file) in files.iter().enumerate() {
        if !is_left[index] {
            continue;
        }
        n_files += 1;
        n_bytes += file.size_bytes;
        if 1 < n_files && (most_files < n_files || most_bytes < n_bytes) {
            break;
        }
        (is_left[index], is_taken[index]) = (false, true);
    }
    is_taken
}

/// A part that is under way.
#[derive(Debug)]
pub(super) struct Part<'a> {
    job: Job<'a>,
    sharing: &'a Sharing,
    pub(super) output: Output,
    pub(super) index: Option<IndexRun>,
}

impl<'a> Part<'a> {
    pub(super) fn open(job: Job<'a>, sharing: &'a Sharing, dataset: &Dataset<'_>) -> Result<Self> {
        let Job { config, plan, existing, stores, context, .. } = job;
        let output = job.output(Some(Added { run: dataset.run(), tables: dataset.tables() }))?;
        let search = plan.deduplicate.as_ref();
        let index = IndexRun::open(config, search, existing, Some(dataset), stores, dataset.stamp(), context)?;
        Ok(Self { job, sharing, output, index })
    }

    /// Goes through all stages with `inputs`, of which some have `changed`, and adds the result. `false`: another run was added
    /// meanwhile, and this part is not.
    fn run(
        mut self,
        inputs: &Inputs,
        changed: &[&InputFile],
        dataset: &mut Dataset<'_>,
        lease: Option<&Lease>,
        counted: &mut BTreeMap<String, u64>,
    ) -> Result<bool> {
        let Job { config, stores, context, progress, .. } = self.job;
        let superseded = Superseded::of(changed, dataset, &mut self.output, self.index.as_mut(), context, progress)?;
        let plan = superseded.as_ref().map(|superseded| superseded.plan(config)).transpose()?.flatten();
        let job = Job { plan: plan.as_ref().unwrap_or(self.job.plan), ..self.job };
        let read = match &superseded {
            Some(superseded) => superseded.before(inputs.clone(), stores, context)?,
            None => inputs.clone(),
        };
        let (mut manifest, staged) = job.make(&read, dataset.encoder(), self.index.as_ref(), &mut self.output)?;
        manifest.inputs = manifest.inputs.split_off(read.files().len() - inputs.files().len());
        let requests = manifest.requests.clone();
        for (name, n_requests) in &mut manifest.requests {
            *n_requests -= counted.get(name).copied().unwrap_or_default();
        }
        if !is_ours(self.index.as_ref(), lease, dataset)? {
            return Ok(false);
        }
        let has_index = self.index.is_some();
        let withdrawn = superseded.map(|superseded| superseded.withdraw(dataset, has_index)).transpose()?;
        let made = Made {
            sharing: self.sharing,
            output: self.output,
            index: self.index.as_ref(),
            inputs,
            segments: staged.iter().map(|staged| staged.record(dataset.stamp().now)).collect(),
            withdrawn,
        };
        let keep = || staged.into_iter().for_each(StagedSegment::keep);
        let is_added = made.add(dataset, lease, &manifest, keep, context)?;
        if is_added {
            *counted = requests;
        }
        Ok(is_added)
    }
}

/// Whether nothing was added to the index that the rows were compared with. `false`: another run was faster.
///
/// # Errors
/// `Error::TakenOver` if another run has the lease.
pub(super) fn is_ours(index: Option<&IndexRun>, lease: Option<&Lease>, dataset: &Dataset<'_>) -> Result<bool> {
    if !index.map_or(Ok(true), IndexRun::is_unchanged)? {
        return Ok(false);
    }
    lease.map_or(Ok(()), |lease| lease.check(dataset.epoch()))?;
    Ok(true)
}

/// All that a part has written.
#[derive(Debug)]
pub(super) struct Made<'a> {
    pub(super) sharing: &'a Sharing,
    pub(super) output: Output,
    pub(super) index: Option<&'a IndexRun>,
    /// What it has read.
    pub(super) inputs: &'a Inputs,
    /// Rows for the index.
    pub(super) segments: Vec<SegmentRecord>,
    /// Rows that leave the output with it.
    pub(super) withdrawn: Option<Withdrawn>,
}

impl Made<'_> {
    /// Adds it to the output; `keep` is called as soon as its segments may be part of it. `false`: another run was added
    /// meanwhile, and this part is not.
    pub(super) fn add(
        self,
        dataset: &mut Dataset<'_>,
        lease: Option<&Lease>,
        manifest: &Manifest,
        keep: impl FnOnce(),
        context: &Context,
    ) -> Result<bool> {
        let Self { sharing, output, index, inputs, segments, withdrawn } = self;
        let new = NewCommit {
            kind: CommitKind::Run,
            run_id: sharing.run_id.clone(),
            epoch: lease.map_or(0, Lease::epoch),
            inputs: inputs.files().iter().map(committed).collect(),
            tables: output.added_tables(),
            segments,
            replaced: output.replaced().clone(),
            withdrawn,
        };
        let is_added = dataset.commit(new, manifest);
        if let Ok(false) = is_added {
            return Ok(false);
        }
        // Nor is anything removed if nobody knows whether the commit is there: it may name these files.
        output.keep();
        keep();
        is_added?;
        let follow = || {
            index.map_or(Ok(()), |index| index.follow(dataset, context))?;
            dataset.follow_tables()
        };
        follow().map_err(|error| dataset.behind(error))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use tamis_schemas::size::ByteSize;

    use super::*;
    use crate::source::Format;

    #[test]
    fn parts_are_filled_in_order() {
        let check = |files: Option<u64>, bytes: Option<u64>, sizes: &[u64], expect: &[&[usize]]| {
            let limits = OutputConfig {
                commit_files: files,
                commit_bytes: bytes.map(ByteSize),
                ..OutputConfig::new("out".into())
            };
            let file = |&size_bytes: &u64| InputFile {
                name: String::new(),
                url: String::new(),
                size_bytes,
                e_tag: None,
                version: None,
                format: Format::Text,
                compression: None,
            };
            let files: Vec<InputFile> = sizes.iter().map(file).collect();
            // The first file was read by an earlier run.
            let mut is_left: Vec<bool> = (0..files.len()).map(|index| index > 0).collect();
            let mut parts = Vec::new();
            while is_left.contains(&true) {
                let is_taken = take(&files, &mut is_left, &limits);
                parts.push((0..files.len()).filter(|&index| is_taken[index]).collect::<Vec<_>>());
            }
            assert_eq!(parts, expect, "{files:?} {bytes:?}");
        };
        check(None, None, &[9, 1, 2, 3], &[&[1, 2, 3]]);
        check(Some(2), None, &[9, 1, 2, 3], &[&[1, 2], &[3]]);
        check(Some(1), None, &[9, 1, 2, 3], &[&[1], &[2], &[3]]);
        check(None, Some(3), &[9, 1, 2, 3], &[&[1, 2], &[3]]);
        check(None, Some(0), &[9, 1, 0, 0], &[&[1], &[2, 3]]);
        check(Some(3), Some(4), &[9, 1, 7, 1, 1, 1, 1], &[&[1], &[2], &[3, 4, 5], &[6]]);
        check(None, Some(4), &[9], &[]);
    }
}
