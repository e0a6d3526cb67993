//! Arrow schemas of the tables whose columns do not come from the input.
//!
//! Numbers are signed: Delta Lake and Apache Spark have no others.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

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

/// One row per row of a labelling loop's stop set: what was predicted for it in a round. `label` and `entropy` are null while the
/// scorer has learned nothing.
pub fn stop_set_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(columns::ID, DataType::Utf8, false),
        Field::new("label", DataType::Utf8, true),
        Field::new("entropy", DataType::Float32, true),
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

/// One row per answer that somebody gave about a row in a label tool.
///
/// `labels` is null where no label was asked for or given, `[]` where the answer is that there is none; a single choice is
/// one item, a number its text. `spans` are null where none were asked for, `start` and `end` are bytes of the text. `status`
/// is `submitted`, `draft`, `discarded` (the row is no good) or `skipped` (no answer); only `submitted` is one to learn from.
/// `tool_task_id` and `tool_annotation_id` name the answer in its tool: the same three again are the same answer, edited.
/// `suggestion` and `suggestion_score` are what `model_version` had proposed.
pub fn labels_schema() -> SchemaRef {
    let created_at = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new(columns::ID, DataType::Utf8, false),
        Field::new("round", DataType::Int32, true),
        Field::new("annotator", DataType::Utf8, true),
        Field::new("labels", DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, false))), true),
        Field::new(
            "spans",
            DataType::List(Arc::new(Field::new_list_field(DataType::Struct(span_fields()), false))),
            true,
        ),
        Field::new("status", DataType::Utf8, false),
        Field::new("created_at", created_at, true),
        Field::new("lead_time_s", DataType::Float64, true),
        Field::new("tool", DataType::Utf8, false),
        Field::new("tool_task_id", DataType::Utf8, true),
        Field::new("tool_annotation_id", DataType::Utf8, true),
        Field::new("model_version", DataType::Utf8, true),
        Field::new("suggestion", DataType::Utf8, true),
        Field::new("suggestion_score", DataType::Float64, true),
    ]))
}

/// Fields of an item of `spans` in [`labels_schema`].
pub fn span_fields() -> Fields {
    Fields::from(vec![
        Field::new("start", DataType::Int64, false),
        Field::new("end", DataType::Int64, false),
        Field::new("label", DataType::Utf8, false),
    ])
}
