//! What has been read so far.

use std::collections::BTreeSet;

use super::{ImportSettings, Imported};
use crate::label_tools::LabelTool;
use crate::label_tools::answer::{Answer, Answers};
use crate::{Error, Result};

/// Answers, and what is told about the others.
#[derive(Debug, Default)]
pub(super) struct Found {
    answers: Answers,
    rejected: Vec<(u64, String)>,
    unmatched: u64,
    /// Questions that somebody has answered.
    questions: BTreeSet<String>,
    /// Whether a question has to be among these.
    is_asked: bool,
    /// Whether the label column was seen; `None` where there is none to be seen.
    has_label_column: Option<bool>,
}

impl Found {
    /// Labels that differ in the spaces around them are the same one.
    pub(super) fn add(&mut self, mut answer: Answer) {
        for label in answer.labels.iter_mut().flatten() {
            *label = label.trim().to_owned();
        }
        if let Some(labels) = &mut answer.labels {
            labels.retain(|label| !label.is_empty());
        }
        self.answers.add(answer);
    }

    /// A row of the file, or of one of several.
    pub(super) fn reject(&mut self, row: u64, file: Option<&str>, reason: &str) {
        let place = file.map(|file| format!("{file}: ")).unwrap_or_default();
        self.rejected.push((row, place + reason));
    }

    pub(super) fn miss(&mut self) {
        self.unmatched += 1;
    }

    /// Somebody has answered this question.
    pub(super) fn answered(&mut self, question: &str) {
        if !self.questions.contains(question) {
            self.questions.insert(question.to_owned());
        }
    }

    /// There are answers, so that the one question must have been answered at least once.
    pub(super) fn asked(&mut self) {
        self.is_asked = true;
    }

    /// A row has, or has not, the label column.
    pub(super) fn column_seen(&mut self, is_there: bool) {
        self.has_label_column = Some(self.has_label_column.unwrap_or(false) | is_there);
    }

    pub(super) fn into_imported(mut self, tool: LabelTool, settings: &ImportSettings) -> Result<Imported> {
        self.check_question(settings)?;
        if self.has_label_column == Some(false) {
            return Err(Error::Column {
                message: format!("no row has the label column `{}`", settings.label_column),
                hint: Some("name the column that holds the labels, or the tool that wrote the file".into()),
            });
        }
        self.answers.fill_empty();
        let labels = self.answers.into_table(tool)?;
        Ok(Imported { labels, rejected: self.rejected, unmatched: self.unmatched, rows: 0, looks_like: None })
    }

    fn check_question(&self, settings: &ImportSettings) -> Result<()> {
        let names = || self.questions.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match &settings.question {
            None if 1 < self.questions.len() => Err(Error::Config {
                message: format!("the file answers several questions: {}", names()),
                hint: Some("name the one whose answers are the labels".into()),
            }),
            Some(name) if !self.questions.is_empty() && !self.questions.contains(name) => Err(Error::Config {
                message: format!("the file has no answer to `{name}`"),
                hint: Some(format!("it answers {}", names())),
            }),
            _ if self.is_asked && self.questions.is_empty() => Err(Error::Config {
                message: "no row of the file has an answer".into(),
                hint: Some("name the question as in the tool: `from_name` of the control in Label Studio".into()),
            }),
            _ => Ok(()),
        }
    }
}
