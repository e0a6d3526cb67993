//! Plain text: one column, `text`.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder, new_null_array};

use super::plan::Output;
use super::records::RecordBlock;
use super::unify::adapt;
use crate::Result;

/// The only column of a text file.
pub(super) const COLUMN: &str = "text";

/// Decodes a block, in a survey or a scan.
pub(super) fn decode(output: &mut Output<'_>, block: &RecordBlock, damage: Option<&str>) -> Result<()> {
    let mut texts = StringBuilder::new();
    let mut rows = Vec::new();
    output.for_each_record(block, damage, |output, index, text| {
        texts.append_value(text);
        rows.push(block.first_row + index as u64);
        if rows.len() == output.plan.batch_rows {
            flush(output, block, &mut texts, &mut rows)?;
        }
        Ok(None)
    })?;
    flush(output, block, &mut texts, &mut rows)
}

fn flush(output: &mut Output<'_>, block: &RecordBlock, texts: &mut StringBuilder, rows: &mut Vec<u64>) -> Result<()> {
    let texts: ArrayRef = Arc::new(texts.finish());
    let plan = output.plan;
    let input = plan.columns.iter().map(|column| match column.name().as_str() {
        COLUMN => adapt(&texts, column.data_type()),
        _ => Ok(new_null_array(column.data_type(), rows.len())),
    });
    let special: Vec<Option<ArrayRef>> =
        plan.special.columns.iter().map(|name| (name == COLUMN).then(|| texts.clone())).collect();
    output.push_checked(block, input.collect::<Result<Vec<_>>>()?, rows, &special)?;
    rows.clear();
    Ok(())
}
