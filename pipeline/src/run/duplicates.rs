//! `tamis_duplicates`: how many rows each kept row stands for, earlier runs included.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, UInt64Type};
use tamis_schemas::columns::DUPLICATES;
use tamis_schemas::config::Table;

use super::ids::rows_of;
use super::survey::Survey;
use super::{Run, pass, route};
use crate::Result;
use crate::dedup::DuplicateCounts;
use crate::source::{Columns, Request};

/// The column that every kept row gets when near-duplicates are dropped.
pub(super) fn duplicates_field() -> Field {
    Field::new(DUPLICATES, DataType::Int64, false)
}

/// Counts for `kept`, if it is written.
///
/// Where the input brings counts of an earlier run, those of the dropped rows are read first.
pub(super) fn count(run: Run<'_>, survey: &mut Survey) -> Result<Option<DuplicateCounts>> {
    let Some(found) = survey.near_duplicates.as_mut().filter(|_| run.plan.writes(Table::Kept)) else {
        return Ok(None);
    };
    let Some(duplicates) = found.duplicates.take() else { return Ok(None) };
    let dropped = found.verdict.duplicates();
    let brings_counts =
        survey.schema.schema().field_with_name(DUPLICATES).is_ok_and(|field| field.data_type().is_integer());
    if !brings_counts || dropped.is_empty() {
        return Ok(Some(duplicates.count()));
    }
    run.begin("counting duplicates");
    let request = Request {
        columns: Columns::Named(vec![DUPLICATES.to_owned()]),
        text: None,
        id: None,
        rows: Some(Arc::new(dropped)),
    };
    let mut weighing = duplicates.weigh(run.context)?;
    pass::for_each(run.scan(&survey.schema, &request)?, run.context, Ok, |decoded| {
        for batch in &decoded.batches {
            run.progress.add_rows(batch.num_rows() as u64);
            for (&row, weight) in rows_of(batch)?.values().iter().zip(brought(batch)?) {
                weighing.observe(row, weight, run.context)?;
            }
        }
        Ok(())
    })?;
    weighing.finish(run.context).map(Some)
}

/// Rows that each row of an input batch stands for by itself: what it brings, at least 1.
fn brought(batch: &RecordBatch) -> Result<Vec<u64>> {
    let brought = batch.column_by_name(DUPLICATES).filter(|column| column.data_type().is_integer());
    let Some(brought) = brought else { return Ok(vec![1; batch.num_rows()]) };
    // What is negative becomes null.
    let brought = cast(brought, &DataType::UInt64)?;
    Ok(brought.as_primitive::<UInt64Type>().iter().map(|count| count.unwrap_or(1).max(1)).collect())
}

/// Appends the column to kept rows.
pub(super) fn append(batch: &RecordBatch, counts: &DuplicateCounts) -> Result<RecordBatch> {
    let own = brought(batch)?.into_iter();
    let sums = own.zip(rows_of(batch)?.values()).map(|(own, &row)| {
        let sum = own.saturating_add(counts.dropped_for(row)?);
        Ok(i64::try_from(sum).unwrap_or(i64::MAX))
    });
    route::append(batch, duplicates_field(), Arc::new(Int64Array::from(sums.collect::<Result<Vec<_>>>()?)))
}
