//! An output that a run on a cluster is added to: what is new to it, whose turn it is, and the commit.

use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tamis_schemas::config::Changed;
use tamis_schemas::index::SegmentRecord;
use tamis_schemas::manifest::Manifest;

use super::Surroundings;
use super::stream::Outgoing;
use super::units::units_schema;
use crate::context::Context;
use crate::dataset::{Dataset, Lease, Sharing};
use crate::dedup::index::Stamp;
use crate::run::Job as RunJob;
use crate::run::index::IndexRun;
use crate::run::parts::{Ended, Made, Part, claim, find_new, is_ours, refuse_overwriting};
use crate::sink::Output;
use crate::source::Inputs;
use crate::{Error, Result};

impl Ended {
    /// Tells whoever waits for units.
    ///
    /// # Errors
    /// Whatever keeps it from being written.
    pub fn write(&self, output: impl Write) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|error| Error::Invariant(format!("no JSON: {error}")))?;
        let mut output = Outgoing::new(output);
        let schema = output.begin(&units_schema(), &[("tamis.ended", &text)])?;
        output.write(&RecordBatch::new_empty(Arc::clone(&schema)))?;
        output.finish().map(drop)
    }
}

/// An output with the runs before this one.
#[derive(Debug)]
pub(super) struct AddedRun<'a> {
    pub(super) dataset: Dataset<'a>,
    lease: Option<Lease>,
    sharing: Sharing,
}

/// What a run begins with.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    pub(super) run: AddedRun<'a>,
    /// Files that are new.
    pub(super) inputs: Inputs,
    pub(super) output: Output,
    pub(super) index: Option<IndexRun>,
}

impl<'a> AddedRun<'a> {
    /// Opens the output and its index, finds the files that are new, and takes the lease.
    ///
    /// # Errors
    /// `Error::Config` if rows of earlier runs would have to leave the output; `Error::Leased`.
    pub(super) fn open(
        job: RunJob<'_>,
        stamp: &Stamp,
        sharing: &Sharing,
        Surroundings { stores, context, .. }: Surroundings<'a>,
    ) -> Result<Result<Opened<'a>, Ended>> {
        refuse_overwriting(job.existing)?;
        loop {
            let dataset = Dataset::open(job.config, stores, stamp, context.runtime.handle())?
                .ok_or_else(|| Error::Invariant("nothing is added to an output of one run".into()))?;
            let Part { output, index, .. } = Part::open(job, sharing, &dataset)?;
            let (inputs, found) = match find_new(job, &dataset)? {
                Ok(found) => found,
                Err(ended) => return Ok(Err(ended)),
            };
            let changed = inputs.files().iter().zip(&found.are_changed).find(|(_, is_changed)| **is_changed);
            if let (Some((file, _)), Changed::Replace) = (changed, job.config.input.changed) {
                return Err(Error::Config {
                    message: format!(
                        "`{}` has changed since an earlier run has read it, whose rows a cluster does not replace yet",
                        file.name
                    ),
                    hint: Some(
                        "run this once on one machine, without --engine spark; or set input.changed to \"read\" if it only grows"
                            .into(),
                    ),
                });
            }
            let lease = match claim(job, &dataset, sharing)? {
                Ok(lease) => lease,
                Err(ended) => return Ok(Err(ended)),
            };
            // Another may have been added while this one waited.
            if dataset.is_newest()? {
                let run = Self { dataset, lease, sharing: sharing.clone() };
                return Ok(Ok(Opened { run, inputs: inputs.only(&found.are_new), output, index }));
            }
        }
    }

    /// # Errors
    /// `Error::TakenOver` if this run has shown no sign of life for so long that another one has the output, `Error::Overtaken`
    /// if another was added.
    pub(super) fn check(&self) -> Result<()> {
        self.lease.as_ref().filter(|lease| lease.is_lost()).map_or(Ok(()), |lease| Err(lease.taken_over()))?;
        if self.dataset.is_newest()? { Ok(()) } else { Err(self.dataset.overtaken()) }
    }

    /// Adds the run; `keep` is called as soon as its segments may be part of the output.
    ///
    /// # Errors
    /// `Error::Overtaken` if another run was added meanwhile: this one was not compared with its rows.
    pub(super) fn commit(
        mut self,
        output: Output,
        (index, segments): (Option<&IndexRun>, Vec<SegmentRecord>),
        inputs: &Inputs,
        manifest: &Manifest,
        keep: impl FnOnce(),
        context: &Context,
    ) -> Result<()> {
        let made = Made { sharing: &self.sharing, output, index, inputs, segments, withdrawn: None };
        let lease = self.lease.as_ref();
        if is_ours(index, lease, &self.dataset)? && made.add(&mut self.dataset, lease, manifest, keep, context)? {
            return Ok(());
        }
        Err(self.dataset.overtaken())
    }
}
