//! The end of a session: what was decided and written is checked, and made visible.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use tamis_schemas::config::Table;
use tamis_schemas::manifest::{FilePart, FileRecord, IndexRecord, Manifest};

use super::Surroundings;
use super::index::TaskSegments;
use super::more::More;
use super::record::for_each_record;
use super::session::Session;
use super::stream::{Incoming, Outgoing};
use super::told::Told;
use crate::dedup::{DropReason, MoreDrops};
use crate::run::guards::Guards;
use crate::run::index::IndexRun;
use crate::run::survey::Survey;
use crate::run::write::{Written, index_record, write_decisions};
use crate::run::{Job as RunJob, Run};
use crate::{Error, Result, RowSet};

/// A run that is visible.
#[derive(Debug)]
pub struct Committed {
    /// What was done.
    pub manifest: Manifest,
    /// What each of its tasks says that it used, in JSON, as far as the driver has handed it on.
    pub used: Vec<Vec<u8>>,
}

impl Committed {
    /// Writes the manifest.
    pub fn write(&self, output: impl Write) -> Result<()> {
        let text = serde_json::to_string(&self.manifest)
            .map_err(|error| Error::Invariant(format!("the manifest is not JSON: {error}")))?;
        let mut output = Outgoing::new(output);
        let schema = output.begin(&Schema::new(vec![Field::new("manifest", DataType::Utf8, false)]), &[])?;
        output.write(&RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(vec![text]))])?)?;
        output.finish().map(drop)
    }
}

impl Session<'_> {
    /// Reads what was decided and written, and makes it visible.
    pub fn commit(mut self, input: impl Read) -> Result<Committed> {
        let context = self.with.context;
        let schema =
            self.schema.take().ok_or_else(|| Error::Invariant("rows are placed before they are written".into()))?;
        let n_contaminated = self.contaminated.as_ref().map_or(0, |found| found.rows().len());
        let n_repeated = self.repeated.rows(DropReason::Repetition).map_or(0, RowSet::len);
        let n_clean = self.rows.rows_in - self.rows.rejected - n_contaminated;
        let told = self.read(input, n_clean - n_repeated)?;
        // Now that all is there: hours may have passed.
        self.check_turn()?;
        self.check_units(&told)?;
        let Told { files, rows, decisions, more, ids, sources, scored, judged, picked, used, .. } = told;
        let found = decisions.map(|decisions| decisions.finish(context)).transpose()?;
        let repeated = std::mem::replace(&mut self.repeated, MoreDrops::new(context));
        let More { mut found, grain, semantic } = more.finish(self.run(), found, repeated, rows.cuts)?;
        let scored =
            self.job.scoring.as_ref().map(|scoring| scored.finish(scoring.learns, self.units.len(), rows.kept));
        let scored = scored.transpose()?.unwrap_or_default();
        let n_duplicates = found.as_ref().map_or(0, |found| found.verdict.n_dropped());
        let judged = judged.finish(self.job.quality.as_ref(), n_clean.saturating_sub(n_duplicates), rows.kept)?;
        let (n_judged, n_judged_good) =
            judged.as_ref().map_or((0, 0), |(quality, _)| (quality.record.judged_rows, quality.record.kept_rows));
        let mut files = self.files_of(files)?;
        self.check_files(
            &files,
            &[
                (Table::Quality, n_judged),
                (Table::Control, n_judged_good),
                (Table::Kept, rows.kept),
                (Table::Dropped, rows.dropped),
                (Table::Rejected, rows.rejected),
                (Table::Scores, rows.kept),
                (Table::Embeddings, rows.kept),
                (Table::Spans, rows.cuts[1]),
            ],
        )?;
        let n_decided = n_duplicates + n_contaminated + (n_judged - n_judged_good);
        if rows.dropped != n_decided {
            let message = format!("{n_decided} rows were to be dropped, and {} were", rows.dropped);
            return Err(Error::Invariant(message));
        }
        let contaminated = &mut self.contaminated;
        ids.for_each(context, |rows, ids| {
            found.as_mut().map_or(Ok(()), |found| found.evidence.observe_ids(rows, ids, context))?;
            contaminated.as_mut().map_or(Ok(()), |found| found.observe_ids(rows, ids, context))
        })?;
        let carried = self.carried(&schema);
        let Self { config, plan, existing, with, mut output, added, inputs, rows: counts, mut index, .. } = self;
        let (contaminated, decontamination) = (self.contaminated, self.decontamination);
        let (quality, of_quality) = judged.unzip();
        let of_quality = of_quality.map(|schema| (Table::Quality, schema));
        let schemas = carried.into_iter().chain(of_quality).chain(scored.schemas);
        for (table, schema) in schemas.filter(|(table, _)| plan.writes(*table)) {
            output.adopt(table, schema, files.remove(&table).unwrap_or_default())?;
        }
        let selection = picked.finish(&plan, &schema, scored.predicts, context, &mut output)?;
        if selection.is_some() != config.select.is_some() {
            return Err(Error::Invariant("nothing is said of the batch, or of one that nobody asked for".into()));
        }
        let mut survey = Survey {
            schema,
            rows: counts,
            contaminated,
            decontamination,
            near_duplicates: found,
            grain: None,
            semantic,
            quality,
        };
        let indexed = index.as_mut().map(|(_, segments)| segments.finish(rows.kept)).transpose()?;
        let index_record = survey.near_duplicates.as_ref().zip(indexed.as_ref()).map(|(found, added)| {
            let run = added.first().and_then(|segment| segment.runs.first()).map(|run| run.run.clone());
            let added_rows = added.iter().map(|segment| segment.rows).sum();
            IndexRecord { run, added_rows, ..index_record(&found.report) }
        });
        let mut written = Written {
            index: index_record,
            kept: rows.kept,
            dropped: rows.dropped,
            dropped_by_reason: rows.reasons,
            embedding: scored.embedding,
            scorer: scored.scorer,
            selection,
            grain,
            ..Written::default()
        };
        let Surroundings { stores, context, progress } = with;
        let run = Run { config: &config, plan: &plan, inputs: &inputs, context, progress };
        write_decisions(run, &mut survey, Guards::counted(run, sources), &mut written, &mut output)?;
        let job = RunJob { config: &config, plan: &plan, existing, stores, context, progress };
        let manifest = job.manifest(&inputs, survey, written, &output)?;
        let (index, mut segments) = index.unzip();
        let (index, indexed) = (index.as_ref(), indexed.unwrap_or_default());
        let keep = || segments.as_mut().map_or((), TaskSegments::keep);
        if let Some(added) = added {
            added.commit(output, (index, indexed), &inputs, &manifest, keep, context)?;
            return Ok(Committed { manifest, used });
        }
        index.map_or(Ok(()), IndexRun::check_unchanged)?;
        output.commit(&manifest)?;
        index.map_or(Ok(()), |index| index.commit_segments(indexed, keep))?;
        Ok(Committed { manifest, used })
    }

    /// Reads all records.
    fn read(&mut self, input: impl Read, n_compared: u64) -> Result<Told> {
        let context = self.with.context;
        let mut told = Told::new(self.plan.deduplicate.as_ref(), n_compared, context);
        for_each_record(&mut Incoming::open(input)?, |record| {
            if let Err(error) = context.cancel.check() {
                self.check_turn()?;
                return Err(error);
            }
            told.take(record, self.index.as_mut().map(|(_, segments)| segments), context)
        })?;
        Ok(told)
    }

    /// # Errors
    /// `Error::Invariant` if a unit was not written, or other rows of it could not be read than before.
    fn check_units(&self, Told { units, rows, .. }: &Told) -> Result<()> {
        if units.len() == self.units.len() && rows.rejected == self.rows.rejected {
            return Ok(());
        }
        let (n_units, n_rejected) = (self.units.len(), self.rows.rejected);
        Err(Error::Invariant(format!(
            "{} of {n_units} units were written, with {} of {n_rejected} rejected rows",
            units.len(),
            rows.rejected
        )))
    }

    /// The files of each table. Of tables whose rows do not name their input, the file does, where later runs may have to know.
    fn files_of(
        &self,
        files: BTreeMap<Table, Vec<(Option<u64>, FileRecord)>>,
    ) -> Result<BTreeMap<Table, Vec<FileRecord>>> {
        let names_inputs =
            |table| self.added.is_some() && matches!(table, Table::Kept | Table::Scores | Table::Embeddings);
        let named = |(unit, mut record): (Option<u64>, FileRecord)| {
            let unit = unit.and_then(|unit| self.units.get(unit as usize));
            let unit = unit.ok_or_else(|| Error::Invariant(format!("`{}` is of no unit of this run", record.path)))?;
            record.parts = vec![FilePart { input: unit.file.url.clone(), rows: record.rows }];
            Ok(record)
        };
        let of_table = |(table, files): (Table, Vec<(Option<u64>, FileRecord)>)| {
            let files = files.into_iter();
            let files = if names_inputs(table) {
                files.map(named).collect::<Result<_>>()?
            } else {
                files.map(|(_, record)| record).collect()
            };
            Ok((table, files))
        };
        files.into_iter().map(of_table).collect()
    }

    /// # Errors
    /// `Error::Invariant` if the files of a table have not as many rows as they must.
    fn check_files(&self, files: &BTreeMap<Table, Vec<FileRecord>>, n_rows: &[(Table, u64)]) -> Result<()> {
        for (table, n_rows) in n_rows.iter().filter(|(table, _)| self.plan.writes(*table)) {
            let n_written: u64 = files.get(table).into_iter().flatten().map(|file| file.rows).sum();
            if n_written != *n_rows {
                let message = format!("the files of `{}` have {n_written} rows, not {n_rows}", table.name());
                return Err(Error::Invariant(message));
            }
        }
        Ok(())
    }
}
