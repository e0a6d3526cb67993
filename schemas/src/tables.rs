//! Arrow schemas of the tables whose columns do not come from the input.
//!
//! Numbers are signed: Delta Lake and Apache Spark have no others.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::columns;
use crate::config::EmbeddingType;

/// One row per row that could not be read.
///
/// `source` names the file, `row` is its ordinal there from 0, `byte_offset` where it begins in the decompressed file,
/// `raw` its first bytes.
pub fn rejected_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("source", DataType::Utf8, false),
        Field::new("row", DataType::Int64, true),
        Field::new("byte_offset", DataType::Int64, true),
        Field::new("reason", DataType::Utf8, false),
        Field::new("raw", DataType::Binary, false),
    ]))
}

/// One row per dropped row: who stands for it, and the proof.
///
/// `span_start` and `span_end` are the bytes of its text that a held-out item has too; null under other rules.
pub fn evidence_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("dropped_id", DataType::Utf8, false),
        Field::new("kept_id", DataType::Utf8, false),
        Field::new("similarity", DataType::Float64, false),
        Field::new("method", DataType::Utf8, false),
        Field::new("rule", DataType::Utf8, false),
        Field::new("shared_bands", DataType::Int32, false),
        Field::new("cluster_id", DataType::Utf8, false),
        Field::new("cluster_size", DataType::Int64, false),
        Field::new("span_start", DataType::Int64, true),
        Field::new("span_end", DataType::Int64, true),
    ]))
}

/// One row per span that was cut out of a kept row.
///
/// `start` and `end` are bytes of the text as it was read, `text` is what stood there, `first_id` the row in which the
/// same paragraph or line stays: for what repeats within a row, the row itself.
pub fn spans_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("start", DataType::Int64, false),
        Field::new("end", DataType::Int64, false),
        Field::new("text", DataType::Utf8, false),
        Field::new("rule", DataType::Utf8, false),
        Field::new("first_id", DataType::Utf8, false),
    ]))
}

/// One row per kept row: the embedding of its text, `dimensions` components of the type `item`, of length 1.
pub fn embeddings_schema(item: EmbeddingType, dimensions: usize) -> SchemaRef {
    let item = match item {
        EmbeddingType::F16 => DataType::Float16,
        EmbeddingType::F32 => DataType::Float32,
    };
    let list = DataType::FixedSizeList(Arc::new(Field::new_list_field(item, false)), dimensions as i32);
    Arc::new(Schema::new(vec![Field::new(columns::ID, DataType::Utf8, false), Field::new("embedding", list, false)]))
}
