//! What labels are: one class of several, any number of them, or a number.

use crate::{Error, Result};

/// What is learned from labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Task {
    /// One class for each text.
    #[default]
    Classes,
    /// Any number of labels for each text: a list, or one text with `;` between them.
    MultiLabel,
    /// A number for each text.
    Regression,
}

/// What the column of the labels holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LabelKind {
    /// Texts, whole numbers and whatever else has a text form.
    #[default]
    Text,
    /// Lists.
    Lists,
    /// Numbers with a fraction.
    Fractions,
}

impl Task {
    /// Name in config and manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classes => "classes",
            Self::MultiLabel => "multi-label",
            Self::Regression => "regression",
        }
    }

    /// What a column of labels is for, if nobody says: lists are several labels, numbers of which one is not whole are
    /// numbers, all else are classes.
    pub fn of_labels<'a>(kind: LabelKind, labels: impl IntoIterator<Item = &'a str>) -> Self {
        let is_whole = |label: &str| label.parse::<f64>().is_ok_and(|number| number.fract() == 0.0);
        match kind {
            LabelKind::Lists => Self::MultiLabel,
            LabelKind::Fractions if !labels.into_iter().all(is_whole) => Self::Regression,
            LabelKind::Fractions | LabelKind::Text => Self::Classes,
        }
    }
}

/// Labels of one text, in order and distinct: a JSON list, or texts with `;` between them.
pub(super) fn label_list(text: &str) -> Vec<String> {
    let mut labels: Vec<String> = match serde_json::from_str::<Vec<String>>(text) {
        Ok(labels) => labels,
        Err(_) => text.split(';').map(str::trim).map(str::to_owned).collect(),
    };
    labels.retain(|label| !label.is_empty());
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// The number that a label is.
pub(super) fn number(label: &str) -> Result<f32> {
    let number = label.trim().parse::<f32>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| Error::Config {
        message: format!("the label `{label}` is not a finite number, and the task is regression"),
        hint: Some("correct it, leave it out, or say what the labels are with --task (score.task)".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_labels() {
        for (text, expect) in [
            ("b;a", &["a", "b"][..]),
            (" a ; ;a", &["a"]),
            ("[\"x;y\",\"z\",\"z\"]", &["x;y", "z"]),
            ("[]", &[]),
            ("[draft]", &["[draft]"]),
        ] {
            assert_eq!(label_list(text), expect, "{text}");
        }
    }

    #[test]
    fn tasks_follow_from_labels() {
        for (kind, labels, expect) in [
            (LabelKind::Text, &["0.5", "1"][..], Task::Classes),
            (LabelKind::Fractions, &["0.0", "1.0"], Task::Classes),
            (LabelKind::Fractions, &["0.5", "1.0"], Task::Regression),
            (LabelKind::Fractions, &["NaN", "1.0"], Task::Regression),
            (LabelKind::Lists, &["[]"], Task::MultiLabel),
        ] {
            assert_eq!(Task::of_labels(kind, labels.iter().copied()), expect, "{labels:?}");
        }
    }

    #[test]
    fn numbers_are_finite() {
        assert!((number(" 2.5 ").unwrap() - 2.5).abs() < f32::EPSILON);
        for bad in ["NaN", "inf", "-inf", "1e99", "good", ""] {
            assert!(number(bad).unwrap_err().to_string().contains("finite number"), "{bad}");
        }
    }
}
