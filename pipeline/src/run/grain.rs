//! The rules that look at paragraphs and lines: one more pass over the rows that stay, and what is cut while writing.

use arrow::array::{RecordBatch, StringArray, UInt64Array};
use tamis_schemas::columns;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::GrainRecord;

use super::plan::GrainPlan;
use super::survey::without;
use super::{Run, pass};
use crate::dedup::NearDuplicateResult;
use crate::dedup::grain::{Cutter, DuplicateUnits, DuplicateUnitsFound, Span, SpanTable, Unit, UnitKeys};
use crate::sink::Output;
use crate::source::{Columns, Decoded, InputSchema, Request};
use crate::stage::MapStage;
use crate::{Result, RowSet};

/// What the rules decided.
#[derive(Debug)]
pub(super) struct Grain {
    /// Takes out of kept texts what is to be cut.
    pub(super) cutter: Option<Cutter>,
    record: GrainRecord,
}

/// Looks for units that several of the rows that stay so far have; `contaminated` ones are dropped already.
pub(super) fn decide(
    run: Run<'_>,
    schema: &InputSchema,
    plan: &GrainPlan,
    contaminated: Option<&RowSet>,
    result: NearDuplicateResult,
) -> Result<(NearDuplicateResult, Grain)> {
    let mut record = GrainRecord::default();
    let Some((settings, action)) = plan.duplicates else {
        return Ok((result, Grain { cutter: plan.cutter(None), record }));
    };
    let keys = UnitKeys::new(settings, result.verdict.clone());
    let mut barrier = DuplicateUnits::new(settings, action, run.context);
    run.begin(match settings.unit {
        Unit::Paragraph => "comparing paragraphs",
        Unit::Line => "comparing lines",
    });
    let request =
        Request { columns: Columns::Named(Vec::new()), text: Some(run.plan.text.clone()), id: None, rows: None };
    pass::for_each(
        run.scan(schema, &request)?,
        run.context,
        |decoded| {
            let decoded = without(decoded, contaminated)?;
            decoded.batches.into_iter().map(|batch| keys.apply(batch)).collect::<Result<Vec<_>>>()
        },
        |batches| {
            for batch in batches {
                run.progress.add_rows(batch.num_rows() as u64);
                barrier.observe(&batch, run.context)?;
            }
            Ok(())
        },
    )?;
    let DuplicateUnitsFound { result, held, n_units, n_duplicates, n_spared } = barrier.finish(result, run.context)?;
    record.units = n_units;
    record.duplicate_units = n_duplicates;
    record.spared_rows = n_spared;
    Ok((result, Grain { cutter: plan.cutter(Some(held)), record }))
}

impl Grain {
    /// Cuts by what another process has found.
    pub(super) fn cutting(cutter: Option<Cutter>) -> Self {
        Self { cutter, record: GrainRecord::default() }
    }

    /// Cuts the texts of a block, if they are there.
    pub(super) fn cut(&self, decoded: Decoded) -> Result<Decoded> {
        let batches = decoded.batches.into_iter().map(|batch| self.cut_batch(batch)).collect::<Result<Vec<_>>>()?;
        Ok(Decoded { batches, ..decoded })
    }

    /// The same for a batch.
    pub(super) fn cut_batch(&self, batch: RecordBatch) -> Result<RecordBatch> {
        match &self.cutter {
            Some(cutter) if batch.column_by_name(columns::TEXT).is_some() => cutter.apply(batch),
            _ => Ok(batch),
        }
    }
}

/// Counts what was cut, and keeps it for the table `spans`.
#[derive(Debug)]
pub(super) struct CutRows<'a> {
    run: Run<'a>,
    record: GrainRecord,
    table: Option<SpanTable>,
}

impl<'a> CutRows<'a> {
    pub(super) fn new(run: Run<'a>, grain: &Grain) -> Self {
        let cutter = grain.cutter.as_ref().filter(|_| run.plan.writes(Table::Spans));
        Self { run, record: grain.record, table: cutter.map(|cutter| SpanTable::new(cutter, run.context)) }
    }

    /// Sees the ids of rows, kept or not.
    pub(super) fn observe_ids(&mut self, rows: &UInt64Array, ids: &StringArray) -> Result<()> {
        self.table.as_mut().map_or(Ok(()), |table| table.observe_ids(rows, ids, self.run.context))
    }

    /// Sees the spans of some rows, each row's together.
    pub(super) fn push(&mut self, spans: Vec<Span>) -> Result<()> {
        self.record.cut_rows += spans.chunk_by(|left, right| left.row() == right.row()).count() as u64;
        self.record.cut_spans += spans.len() as u64;
        for span in spans {
            self.record.cut_bytes += span.n_bytes();
            if let Some(table) = &mut self.table {
                table.push(span, self.run.context)?;
            }
        }
        Ok(())
    }

    /// Writes the table `spans`.
    pub(super) fn finish(self, output: &mut Output) -> Result<GrainRecord> {
        if self.table.is_none() {
            return Ok(self.record);
        }
        let mut writer = output.table(Table::Spans, SpanTable::schema())?;
        let record = self.finish_with(|batch| writer.write(batch))?;
        output.finish_table(Table::Spans, writer)?;
        Ok(record)
    }

    /// Hands on what goes into that table.
    pub(super) fn finish_with(self, mut write: impl FnMut(&RecordBatch) -> Result<()>) -> Result<GrainRecord> {
        if let Some(table) = self.table {
            for batch in table.finish(self.run.context)? {
                self.run.context.cancel.check()?;
                write(&batch?)?;
            }
        }
        Ok(self.record)
    }
}
