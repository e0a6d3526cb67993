//! Paragraphs, lines and repetition.

use tamis_schemas::columns;
use tamis_schemas::config::{Config, GrainConfig, RepetitionConfig, UnitAction};

use super::check_ratio;
use crate::dedup::Normalize;
use crate::dedup::grain::{Cutter, DuplicateAction, Held, Repetition, RepetitionLimits, Unit, UnitSettings};
use crate::source::{TextExpression, TextPart};
use crate::{Error, Result};

/// What the rules about paragraphs and lines will do.
#[derive(Debug)]
pub(in crate::run) struct GrainPlan {
    /// Units that an earlier row holds.
    pub(in crate::run) duplicates: Option<(UnitSettings, DuplicateAction)>,
    /// Rows that repeat themselves.
    pub(in crate::run) repetition: Option<Repetition>,
    /// Units to cut that occur earlier in the same text.
    cut_repeats: Option<UnitSettings>,
    text_column: String,
}

impl GrainPlan {
    pub(super) fn new(config: &Config, text: &TextExpression, normalize: Normalize) -> Result<Option<Self>> {
        if config.grain.is_none() && config.repetition.is_none() {
            return Ok(None);
        }
        let text_column = match text.parts.as_slice() {
            [TextPart::Column(name)] if !name.starts_with(columns::PREFIX) => name.clone(),
            _ if cuts_units(config) => {
                return Err(Error::Config {
                    message: format!("nothing can be cut out of the text `{}`", config.input.text),
                    hint: Some("name one input column as the text, or use the action drop".into()),
                });
            }
            _ => String::new(),
        };
        let duplicates = config.grain.as_ref().map(|grain| duplicate_units(grain, normalize)).transpose()?;
        let mut plan = Self { duplicates, repetition: None, cut_repeats: None, text_column };
        if let Some(repetition) = &config.repetition {
            let limits = repetition_limits(repetition, normalize)?;
            match repetition.action {
                UnitAction::Drop => plan.repetition = Some(Repetition::new(limits)),
                UnitAction::Cut => {
                    let settings =
                        UnitSettings { unit: unit(repetition.unit), min_tokens: repetition.min_tokens, normalize };
                    plan.cut_repeats = Some(settings);
                }
            }
        }
        if let (Some((left, DuplicateAction::Cut)), Some(right)) = (&plan.duplicates, &plan.cut_repeats)
            && left.unit != right.unit
        {
            return Err(Error::Config {
                message: "grain cuts one unit and repetition another".into(),
                hint: Some("give grain.unit and repetition.unit the same value".into()),
            });
        }
        Ok(Some(plan))
    }

    /// What cuts texts, if anything is to be cut.
    pub(in crate::run) fn cutter(&self, held: Option<Held>) -> Option<Cutter> {
        let held = held.filter(|_| matches!(self.duplicates, Some((_, DuplicateAction::Cut))));
        let unit = match (&held, &self.duplicates, &self.cut_repeats) {
            (Some(_), Some((settings, _)), _) | (_, _, Some(settings)) => settings.unit,
            _ => return None,
        };
        Some(Cutter::new(unit, held, self.cut_repeats, &self.text_column))
    }
}

pub(super) fn cuts_units(config: &Config) -> bool {
    config.grain.as_ref().is_some_and(|grain| grain.action == UnitAction::Cut)
        || config.repetition.as_ref().is_some_and(|repetition| repetition.action == UnitAction::Cut)
}

fn unit(unit: tamis_schemas::config::Unit) -> Unit {
    match unit {
        tamis_schemas::config::Unit::Paragraph => Unit::Paragraph,
        tamis_schemas::config::Unit::Line => Unit::Line,
    }
}

fn check_min_tokens(section: &str, min_tokens: usize) -> Result<()> {
    if min_tokens == 0 {
        return Err(Error::config(format!("{section}.min_tokens is 0: blank lines are no duplicates")));
    }
    Ok(())
}

fn duplicate_units(config: &GrainConfig, normalize: Normalize) -> Result<(UnitSettings, DuplicateAction)> {
    check_min_tokens("grain", config.min_tokens)?;
    check_ratio("grain.max_duplicate_ratio", config.max_duplicate_ratio)?;
    let action = match config.action {
        UnitAction::Drop => DuplicateAction::Drop { max_ratio: config.max_duplicate_ratio },
        UnitAction::Cut => DuplicateAction::Cut,
    };
    Ok((UnitSettings { unit: unit(config.unit), min_tokens: config.min_tokens, normalize }, action))
}

fn repetition_limits(config: &RepetitionConfig, normalize: Normalize) -> Result<RepetitionLimits> {
    check_min_tokens("repetition", config.min_tokens)?;
    for (name, value) in [
        ("max_line_ratio", config.max_line_ratio),
        ("max_paragraph_ratio", config.max_paragraph_ratio),
        ("max_top_bigram_ratio", config.max_top_bigram_ratio),
        ("max_tengram_ratio", config.max_tengram_ratio),
    ] {
        check_ratio(&format!("repetition.{name}"), value)?;
    }
    Ok(RepetitionLimits {
        normalize,
        min_tokens: config.min_tokens,
        min_document_tokens: config.min_document_tokens,
        max_line_ratio: config.max_line_ratio,
        max_paragraph_ratio: config.max_paragraph_ratio,
        max_top_bigram_ratio: config.max_top_bigram_ratio,
        max_tengram_ratio: config.max_tengram_ratio,
    })
}
