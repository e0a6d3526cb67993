//! Scorers that learn without labels.

use tamis_schemas::columns;
use tamis_schemas::manifest::InputRecord;

use super::survey::Survey;
use super::{Run, texts};
use crate::score::{ImportanceScorer, NgramScorer};
use crate::stage::MapStage;
use crate::store::Stores;
use crate::{Error, Result};

/// A scorer by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unlabelled {
    /// Bits per byte under a byte n-gram model.
    Ngram,
    /// Importance for a target.
    Dsir,
}

/// A scorer that has learnt.
#[derive(Debug)]
pub(super) struct Learnt {
    pub(super) scorer: Box<dyn MapStage>,
    /// What the manifest says of the files that it learnt from.
    pub(super) reference: Vec<InputRecord>,
}

impl Unlabelled {
    /// `None` if another scorer has this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "ngram" => Some(Self::Ngram),
            "dsir" => Some(Self::Dsir),
            _ => None,
        }
    }

    /// # Errors
    /// `Error::Config` if it cannot work without a reference.
    pub(super) fn check(self, section: &str, reference: &[String]) -> Result<()> {
        if self == Self::Dsir && reference.is_empty() {
            return Err(Error::Config {
                message: format!(
                    "the scorer `dsir` needs the texts that rows are to be like, and {section}.reference names none"
                ),
                hint: Some(format!("name files with {section}.reference (--reference)")),
            });
        }
        Ok(())
    }

    /// The column that it appends.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Ngram => columns::BITS_PER_BYTE,
            Self::Dsir => columns::LOG_IMPORTANCE,
        }
    }

    /// Learns from the reference and from the rows that stay so far.
    pub(super) fn learn(
        self,
        reference: &[String],
        seed: u64,
        run: Run<'_>,
        survey: &Survey,
        stores: &Stores,
    ) -> Result<Learnt> {
        let of_reference = || texts::of_reference(run, reference, seed, stores);
        let of_rows = || texts::of_rows(run, survey, seed);
        let context = run.context;
        if self == Self::Ngram && reference.is_empty() {
            let scorer = NgramScorer::of_pool(&of_rows()?.texts, context)?;
            return Ok(Learnt { scorer: Box::new(scorer), reference: Vec::new() });
        }
        let (target, reference) = of_reference()?;
        let scorer: Box<dyn MapStage> = match self {
            Self::Ngram => Box::new(NgramScorer::of_reference(&target.texts, context)?),
            Self::Dsir => Box::new(ImportanceScorer::fit(&target.texts, &of_rows()?.texts, context)),
        };
        Ok(Learnt { scorer, reference })
    }
}
