//! A batch as the files that a tool imports.

mod argilla;
mod chunks;
mod doccano;
mod label_studio;
mod prodigy;
mod rows;
mod tasks;

use arrow::array::RecordBatch;

use super::{LABEL_KEY, LabelTool, TEXT_KEY};
use crate::Result;
use tasks::Tasks;

/// Most tasks of a file: a project of Label Studio is at home with twice that, and takes one import in 30 seconds.
const MAX_TASKS_PER_FILE: usize = 50_000;

/// How a batch is put to people.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportSettings {
    /// Whose files.
    pub tool: LabelTool,
    /// Column of the batch that is labelled.
    pub text_column: String,
    /// Labels to choose from, in order. Without them Prodigy asks about the suggestion only, and Label Studio gets no config.
    pub classes: Vec<String>,
    /// Round that the batch is of; part of the files' names.
    pub round: u32,
    /// What made the suggestions.
    pub model_version: String,
    /// What chose the rows.
    pub strategy: String,
    /// With which seed.
    pub seed: u64,
    /// Most tasks of a file.
    pub max_tasks_per_file: usize,
    /// Label Studio: name of the control that asks.
    pub from_name: String,
    /// Label Studio: name of the object that is asked about.
    pub to_name: String,
    /// Argilla: name of the question.
    pub question: String,
}

impl ExportSettings {
    /// Those for a tool and a column, with defaults for the rest.
    pub fn new(tool: LabelTool, text_column: impl Into<String>) -> Self {
        Self {
            tool,
            text_column: text_column.into(),
            classes: Vec::new(),
            round: 0,
            model_version: String::new(),
            strategy: String::new(),
            seed: 0,
            max_tasks_per_file: MAX_TASKS_PER_FILE,
            from_name: LABEL_KEY.into(),
            to_name: TEXT_KEY.into(),
            question: LABEL_KEY.into(),
        }
    }

    /// Name of the round, as in `r003`.
    fn batch_name(&self) -> String {
        format!("r{:03}", self.round)
    }

    /// Name of a file of the batch, counted from 1.
    fn file_name(&self, place: usize, extension: &str) -> String {
        format!("{}-{:05}.{extension}", self.batch_name(), place + 1)
    }
}

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFile {
    /// Its name within a folder.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The batch as import files of a tool, in the order of the batch.
///
/// The batch has the columns of its input, `tamis_id`, and those of `tamis_rank`, `tamis_score`, `tamis_reason`,
/// `tamis_label` and `tamis_probability` that are there; the last two are the suggestion and its confidence. A file has at
/// most [`ExportSettings::max_tasks_per_file`] tasks and 100 MB, unless one task alone is larger. Label Studio
/// also gets a labelling config, if the classes are known. A batch of no rows has no files.
///
/// # Errors
///
/// `Error::Column` if the text or `tamis_id` is missing or not text, or null in a row.
pub fn export(batch: &RecordBatch, settings: &ExportSettings) -> Result<Vec<ExportFile>> {
    let tasks = Tasks::of(batch, settings)?;
    if tasks.len() == 0 {
        return Ok(Vec::new());
    }
    match settings.tool {
        LabelTool::LabelStudio => label_studio::files(batch, &tasks, settings),
        LabelTool::Argilla => Ok(argilla::files(&tasks, settings)),
        LabelTool::Doccano => Ok(doccano::files(&tasks, settings)),
        LabelTool::Prodigy => Ok(prodigy::files(&tasks, settings)),
        LabelTool::Csv | LabelTool::Jsonl | LabelTool::Parquet => rows::files(batch, settings),
    }
}
