//! The map stage: which rows contain a held-out item.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Builder, RecordBatch, StringArray, UInt32Builder, UInt64Builder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tamis_schemas::columns::TEXT;

use super::find::Finder;
use super::held_out::{HeldOut, Names};
use crate::stage::MapStage;
use crate::{Error, Result};

/// Index of the held-out item that a row contains; null: none. `UInt32`.
pub const ITEM: &str = "tamis_held_out_item";
/// Share of the item's n-grams that the row has. `Float64`.
pub(super) const SHARE: &str = "tamis_held_out_share";
/// First byte of the row's text that the item has too. `UInt64`.
pub(super) const SPAN_START: &str = "tamis_held_out_start";
/// End of these bytes. `UInt64`.
pub(super) const SPAN_END: &str = "tamis_held_out_end";

/// Map stage: appends which held-out item each row contains, how much of it, and where. Needs `tamis_text`.
#[derive(Debug)]
pub struct Decontaminate {
    held_out: HeldOut,
}

impl Decontaminate {
    /// Looks for `held_out`.
    pub fn new(held_out: HeldOut) -> Self {
        Self { held_out }
    }

    /// What is looked for.
    pub fn held_out(&self) -> &HeldOut {
        &self.held_out
    }

    pub(super) fn into_names(self) -> Names {
        self.held_out.into_names()
    }
}

impl MapStage for Decontaminate {
    fn name(&self) -> &'static str {
        "decontamination"
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        let mut fields = input.fields().to_vec();
        for (name, kind) in [
            (ITEM, DataType::UInt32),
            (SHARE, DataType::Float64),
            (SPAN_START, DataType::UInt64),
            (SPAN_END, DataType::UInt64),
        ] {
            fields.push(Arc::new(Field::new(name, kind, true)));
        }
        Ok(Arc::new(Schema::new_with_metadata(fields, input.metadata().clone())))
    }

    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let texts: &StringArray = batch
            .column_by_name(TEXT)
            .and_then(|texts| texts.as_any().downcast_ref())
            .ok_or_else(|| Error::Invariant(format!("rows have no column `{TEXT}` to look for held-out items in")))?;
        let mut finder = Finder::new(&self.held_out);
        let n_rows = texts.len();
        let (mut items, mut shares) = (UInt32Builder::with_capacity(n_rows), Float64Builder::with_capacity(n_rows));
        let (mut starts, mut ends) = (UInt64Builder::with_capacity(n_rows), UInt64Builder::with_capacity(n_rows));
        for text in texts {
            let found = finder.find(text.unwrap_or_default());
            items.append_option(found.as_ref().map(|found| found.item as u32));
            shares.append_option(found.as_ref().map(|found| found.share));
            starts.append_option(found.as_ref().map(|found| found.span.start as u64));
            ends.append_option(found.as_ref().map(|found| found.span.end as u64));
        }
        let added: [ArrayRef; 4] =
            [Arc::new(items.finish()), Arc::new(shares.finish()), Arc::new(starts.finish()), Arc::new(ends.finish())];
        let schema = self.output_schema(batch.schema_ref())?;
        Ok(RecordBatch::try_new(schema, batch.columns().iter().cloned().chain(added).collect())?)
    }
}
