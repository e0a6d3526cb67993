//! The label tools, by name.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A label tool, or a format that people label in by other means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LabelTool {
    /// Label Studio: a JSON list of tasks; its exports JSON, `JSON_MIN`, CSV and TSV.
    LabelStudio,
    /// Argilla 2: a JSON list of records, nested or flattened.
    Argilla,
    /// doccano: JSON Lines; its exports JSON, JSON Lines, CSV, or a zip with a file for each annotator.
    Doccano,
    /// Prodigy: JSON Lines.
    Prodigy,
    /// CSV with a column to fill in.
    Csv,
    /// JSON Lines with a key to fill in.
    Jsonl,
    /// Parquet with a column to fill in.
    Parquet,
}

impl LabelTool {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::LabelStudio, Self::Argilla, Self::Doccano, Self::Prodigy, Self::Csv, Self::Jsonl, Self::Parquet];

    /// Name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::LabelStudio => "label-studio",
            Self::Argilla => "argilla",
            Self::Doccano => "doccano",
            Self::Prodigy => "prodigy",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

impl fmt::Display for LabelTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LabelTool {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == text).ok_or_else(|| Error::Config {
            message: format!("`{text}` is not a label tool"),
            hint: Some(format!("those known are {}", Self::ALL.map(Self::name).join(", "))),
        })
    }
}
