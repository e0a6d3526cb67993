//! The table of what was cut.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringArray, StringBuilder, UInt64Array};
use arrow::datatypes::SchemaRef;
use tamis_schemas::tables::spans_schema;

use super::cut::{Cutter, Span};
use crate::context::Context;
use crate::dedup::assign::Rule;
use crate::dedup::edge::Grouped;
use crate::dedup::evidence::unmatched;
use crate::spill::{ExternalSorter, Sorted};
use crate::{Result, RowSet};

const STAGE: &str = "spans";
/// Each sorter takes at most one of so many shares of the budget: tables are written meanwhile, and what is sorted comes
/// nearly in order, so that memory saves little.
const SHARES: usize = 32;
/// Bytes of text from which a batch ends.
const BATCH_BYTES: usize = 8 << 20;

/// Collects spans, and the ids of the rows that they name.
#[derive(Debug)]
pub struct SpanTable {
    spans: ExternalSorter<Span>,
    /// The row that keeps a unit, and row and start of a span that has it.
    references: ExternalSorter<(u64, u64, u64)>,
    holders: RowSet,
    ids: ExternalSorter<(u64, Vec<u8>)>,
}

impl SpanTable {
    /// An empty table of what `cutter` cuts.
    pub fn new(cutter: &Cutter, context: &Context) -> Self {
        Self {
            spans: ExternalSorter::with_share(STAGE, &context.budget, SHARES),
            references: ExternalSorter::with_share(STAGE, &context.budget, SHARES),
            holders: cutter.holders(),
            ids: ExternalSorter::with_share(STAGE, &context.budget, SHARES),
        }
    }

    /// Columns of the table.
    pub fn schema() -> SchemaRef {
        spans_schema()
    }

    /// Sees the ids of rows; of the whole input, in any order, each row once.
    pub fn observe_ids(&mut self, rows: &UInt64Array, ids: &StringArray, context: &Context) -> Result<()> {
        for (&row, id) in rows.values().iter().zip(ids) {
            if self.holders.contains(row) {
                self.ids.push((row, id.unwrap_or_default().as_bytes().to_vec()), context)?;
            }
        }
        Ok(())
    }

    /// Adds a span.
    pub fn push(&mut self, span: Span, context: &Context) -> Result<()> {
        if span.rule != Rule::Repetition {
            self.references.push((span.first_row, span.row, span.start), context)?;
        }
        self.spans.push(span, context)
    }

    /// Joins ids and spans. The batches come in order of row and start.
    pub fn finish(self, context: &Context) -> Result<SpanBatches> {
        let mut first_ids = ExternalSorter::with_share(STAGE, &context.budget, SHARES);
        let mut references = Grouped::new(self.references.finish(context)?)?;
        for id in self.ids.finish(context)? {
            context.cancel.check()?;
            let (first_row, id) = id?;
            while let Some((_, row, start)) = references.next_if(|(first, ..)| *first == first_row)? {
                first_ids.push((row, start, id.clone()), context)?;
            }
        }
        if let Some((first_row, ..)) = references.peek() {
            return Err(unmatched(*first_row));
        }
        Ok(SpanBatches {
            spans: Grouped::new(self.spans.finish(context)?)?,
            first_ids: first_ids.finish(context)?,
            batch_rows: context.batch_rows,
        })
    }
}

/// Spans in batches of [`SpanTable::schema`].
#[derive(Debug)]
pub struct SpanBatches {
    spans: Grouped<Span>,
    first_ids: Sorted<(u64, u64, Vec<u8>)>,
    batch_rows: usize,
}

impl SpanBatches {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let (mut ids, mut texts, mut rules, mut first_ids) =
            (StringBuilder::new(), StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
        let (mut starts, mut ends) = (Int64Builder::new(), Int64Builder::new());
        let (mut n_rows, mut n_bytes) = (0, 0);
        while n_rows < self.batch_rows && n_bytes < BATCH_BYTES {
            let Some(span) = self.spans.next()? else { break };
            if span.rule == Rule::Repetition {
                first_ids.append_value(String::from_utf8_lossy(&span.id));
            } else {
                let (row, start, id) = self.first_ids.next().ok_or_else(|| unmatched(span.row))??;
                if (row, start) != (span.row, span.start) {
                    return Err(unmatched(span.row));
                }
                first_ids.append_value(String::from_utf8_lossy(&id));
            }
            ids.append_value(String::from_utf8_lossy(&span.id));
            starts.append_value(span.start.cast_signed());
            ends.append_value(span.end.cast_signed());
            texts.append_value(String::from_utf8_lossy(&span.text));
            rules.append_value(span.rule.name());
            n_rows += 1;
            n_bytes += span.text.len();
        }
        if n_rows == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ids.finish()),
            Arc::new(starts.finish()),
            Arc::new(ends.finish()),
            Arc::new(texts.finish()),
            Arc::new(rules.finish()),
            Arc::new(first_ids.finish()),
        ];
        Ok(Some(RecordBatch::try_new(SpanTable::schema(), columns)?))
    }
}

impl Iterator for SpanBatches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}
