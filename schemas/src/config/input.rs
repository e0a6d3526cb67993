//! What is read, and how.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{is_default, one};
use crate::size::ByteSize;

/// What is read, and what its columns mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputConfig {
    /// Files, folders, globs, object-store URLs, or `-` for standard input. Their order does not matter.
    pub paths: Vec<String>,
    /// The column that holds the text, or a template of several: `"{title}\n\n{body}"`.
    #[serde(default = "default_text")]
    pub text: String,
    /// The column that holds a unique id. Default: `id` if there is one, else rows are named `<file>#<row>`. Empty: always `<file>#<row>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The column that says which source a row is from, for `deduplicate.scope` and `guards`. Default: its source is its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Format of all inputs; found out for each file by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<InputFormat>,
    /// What a document is in a plain text file.
    #[serde(default)]
    pub text_documents: TextDocuments,
    /// The type of every column, for instance `{ id = "int64", text = "utf8" }`: a file with another column is refused, a row
    /// that does not fit is rejected. Default: inferred over the whole input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<BTreeMap<String, String>>,
    /// A longer row is rejected.
    #[serde(default = "default_max_row")]
    pub max_row: ByteSize,
    /// The run stops if a larger share of the rows is rejected, 0 to 1.
    #[serde(default = "one")]
    pub max_reject_ratio: f64,
    /// What a run that is added to others (`output.mode = "append"`) does with a file that has changed since one of them read it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub changed: Changed,
}

/// What becomes of a file that has changed since an earlier run has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Changed {
    /// What earlier runs made of it leaves the output, and what it holds now takes its place. Rows of other files that were
    /// dropped for its rows are decided again.
    #[default]
    Replace,
    /// The run stops.
    Refuse,
    /// It is read again, whole: rows that earlier runs kept are dropped as their duplicates, what is new is added. Rows that are
    /// no longer in it stay. For files that grow. Needs `deduplicate`.
    Read,
}

fn default_text() -> String {
    "text".into()
}

fn default_max_row() -> ByteSize {
    ByteSize(64 << 20)
}

impl InputConfig {
    /// The defaults over `paths`.
    pub fn new(paths: Vec<String>) -> Self {
        Self {
            paths,
            text: default_text(),
            id: None,
            source: None,
            format: None,
            text_documents: TextDocuments::default(),
            schema: None,
            max_row: default_max_row(),
            max_reject_ratio: one(),
            changed: Changed::default(),
        }
    }
}

/// Formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InputFormat {
    /// A JSON object per line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC, file or stream.
    Arrow,
    /// Plain text.
    Text,
}

/// What a document is in a plain text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextDocuments {
    /// Every line that is not blank.
    #[default]
    Line,
    /// The whole file.
    File,
}
