//! The passes of the search: who samples what, and who has it.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tamis_schemas::columns::{ROW, TEXT};

use super::super::columns::{SAMPLE, SET_SIZE, SHINGLES, column, column_by_name};
use super::super::fingerprint::Reader;
use super::super::lists::{Lists, list_field, lists};
use super::super::near_duplicates::Closing;
use super::super::scope::{Places, shift};
use super::super::settings::Settings;
use super::super::shingle::to_set;
use super::super::tape::{RowTable, RowTableWriter};
use super::filter::ShingleFilter;
use super::lookup::{Limits, Search};
use super::postings::{Occurrence, Postings, occurrence};
use super::sampling::Sampling;
use crate::context::Context;
use crate::spill::ExternalSorter;
use crate::stage::{BarrierStage, MapStage, Next};
use crate::{Error, Result, RowSet};

const STAGE: &str = "near-duplicates: containment";

/// What the first pass brings: the samples of all rows, and the sizes of their sets.
#[derive(Debug)]
pub(in super::super) struct Samples {
    sampling: Sampling,
    sampled: ExternalSorter<u64>,
    sizes: RowTableWriter<u64>,
    /// Rows with a token.
    rows: RowSet,
}

impl Samples {
    /// None yet.
    pub(in super::super) fn new(sampling: Sampling, context: &Context) -> Self {
        Self {
            sampling,
            sampled: ExternalSorter::new(STAGE, &context.budget),
            sizes: RowTableWriter::new(STAGE, context),
            rows: RowSet::new(),
        }
    }

    /// Sees the fingerprints of rows.
    pub(in super::super) fn observe(
        &mut self,
        batch: &RecordBatch,
        rows: &UInt64Array,
        context: &Context,
    ) -> Result<()> {
        let sizes: &UInt64Array = column(batch, SET_SIZE)?;
        for ((row, sample), size) in lists(batch, SAMPLE, rows)?.zip(sizes.values()) {
            if sample.is_empty() {
                continue;
            }
            self.rows.insert(row);
            self.sizes.push(row, size, context)?;
            for &shingle in sample {
                self.sampled.push(shingle, context)?;
            }
        }
        Ok(())
    }

    /// Asks for the second pass, over all rows that are compared at all.
    pub(in super::super) fn finish(self, closing: Closing, context: &Context) -> Result<Next> {
        let Self { sampling, sampled, sizes, rows } = self;
        let mut compared = RowSet::new();
        for row in rows.iter() {
            if !closing.identical.collapsed.contains(closing.ranks.rank(row)?) {
                compared.insert(row);
            }
        }
        let n_rows = compared.len();
        if n_rows < 2 {
            return closing.close(context);
        }
        let filter = Arc::new(ShingleFilter::new(STAGE, sampled, context)?);
        let map = SampledShingles { settings: closing.settings.clone(), places: Arc::clone(&closing.places), filter };
        let barrier = Occurrences {
            closing,
            sampling,
            sizes: sizes.finish(context)?,
            observed: ExternalSorter::new(STAGE, &context.budget),
            n_rows,
            n_missing_rows: n_rows,
        };
        Ok(Next::Again { rows: compared, map: Box::new(map), barrier: Box::new(barrier) })
    }
}

/// Map stage: replaces `tamis_text` by those of its shingles that some row has sampled, and a few others. Out: `tamis_row`,
/// `tamis_shingles`.
#[derive(Debug)]
struct SampledShingles {
    settings: Settings,
    /// Says which group was mixed into a row's sample.
    places: Arc<Places>,
    filter: Arc<ShingleFilter>,
}

impl MapStage for SampledShingles {
    fn name(&self) -> &'static str {
        "sampled shingles"
    }

    fn output_schema(&self, _input: &SchemaRef) -> Result<SchemaRef> {
        Ok(Arc::new(Schema::new(vec![Field::new(ROW, DataType::UInt64, false), list_field(SHINGLES)])))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let texts: &StringArray = column(&batch, TEXT)?;
        let rows: &UInt64Array = column(&batch, ROW)?;
        let mut reader = Reader::new(&self.settings);
        let mut shingles = Lists::with_capacity(texts.len(), 0);
        for (text, &row) in texts.iter().zip(rows.values()) {
            let found = reader.read_shingles(text.unwrap_or_default());
            if let Some(group) = self.places.group(row)? {
                shift(found, group);
            }
            self.filter.retain(found);
            to_set(found);
            shingles.push(found);
        }
        let columns = vec![Arc::clone(column_by_name(&batch, ROW)?), shingles.into_column()?];
        Ok(RecordBatch::try_new(self.output_schema(batch.schema_ref())?, columns)?)
    }
}

/// Barrier stage: observes [`SampledShingles`] and finds the pairs in which a row has enough of a smaller row's sample.
#[derive(Debug)]
struct Occurrences {
    closing: Closing,
    sampling: Sampling,
    sizes: RowTable<u64>,
    observed: ExternalSorter<Occurrence>,
    n_rows: u64,
    n_missing_rows: u64,
}

impl BarrierStage for Occurrences {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn observe(&mut self, batch: &RecordBatch, context: &Context) -> Result<()> {
        let rows: &UInt64Array = column(batch, ROW)?;
        for (row, shingles) in lists(batch, SHINGLES, rows)? {
            let rank = self.closing.ranks.rank(row)?;
            // All of the row's own sample passed, and nothing smaller is in its set.
            let n_sampled = self.sampling.of(self.sizes.get(row)? as usize).n_sampled;
            for (index, &shingle) in shingles.iter().enumerate() {
                self.observed.push(occurrence(shingle, rank, index < n_sampled), context)?;
            }
            self.n_missing_rows = self.n_missing_rows.saturating_sub(1);
        }
        Ok(())
    }

    fn end_of_pass(self: Box<Self>, context: &Context) -> Result<Next> {
        let Self { mut closing, sampling, sizes, observed, n_rows, n_missing_rows } = *self;
        if n_missing_rows > 0 {
            let message = format!("{n_missing_rows} rows were not there when the input was read again");
            return Err(Error::Invariant(message));
        }
        let limits = if sampling.sizes().is_some() { Limits::of(n_rows) } else { Limits::NONE };
        let (postings, lookups) = Postings::new(STAGE, observed, context)?;
        let Closing { ranks, places, .. } = &closing;
        let search = Search { postings: &postings, ranks, places, sizes: &sizes, sampling, limits };
        let found = search.run(lookups, context)?;
        drop(postings);
        drop(sizes);
        closing.report.n_candidate_pairs = found.n_pairs;
        closing.untested = found.untested;
        closing.prove(found.edges, found.grey, context)
    }
}
