//! The two kinds of stage: row-local ones, and barriers that become row-local once they have seen every row.

use std::fmt::Debug;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::context::Context;
use crate::{Result, RowSet};

/// Row-local work: any batch, any order, any thread.
pub trait MapStage: Debug + Send + Sync {
    /// Name in logs, errors and the manifest.
    fn name(&self) -> &'static str;

    /// Schema of what [`apply`](Self::apply) returns for batches of `input`.
    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef>;

    /// Transforms one batch. Rows stay in order; a stage may drop rows only if its name says so.
    fn apply(&self, batch: RecordBatch) -> Result<RecordBatch>;
}

/// Work that must see every row before it can answer about any.
///
/// ```text
///            pass 1                      pass 2 .. n (only the rows asked for)
/// source -> map stages -> observe ... -> end_of_pass -> Next::Again -> source -> map -> observe ... -> end_of_pass -> Next::Done(map stage)
/// ```
pub trait BarrierStage: Debug + Send {
    /// Name in logs, errors and the manifest.
    fn name(&self) -> &'static str;

    /// Sees one batch, in source order, on one thread.
    fn observe(&mut self, batch: &RecordBatch, context: &Context) -> Result<()>;

    /// All batches of this pass were seen: answer, or ask for another pass over some rows.
    fn end_of_pass(self: Box<Self>, context: &Context) -> Result<Next>;
}

/// What a barrier wants after a pass.
#[derive(Debug)]
pub enum Next {
    /// Another pass over `rows` only, through `map`, into `barrier`.
    Again {
        /// The rows to read again.
        rows: RowSet,
        /// The row-local work before the barrier in that pass.
        map: Box<dyn MapStage>,
        /// Who observes that pass.
        barrier: Box<dyn BarrierStage>,
    },
    /// The answer, as a row-local stage.
    Done(Box<dyn MapStage>),
}
