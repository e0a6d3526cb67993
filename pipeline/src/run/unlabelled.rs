//! Scorers that learn without labels.

use tamis_schemas::manifest::InputRecord;

use super::survey::Survey;
use super::{Run, texts};
use crate::score::{ImportanceScorer, NgramScorer, Unlabelled};
use crate::stage::MapStage;
use crate::store::Stores;
use crate::{Error, Result};

/// A scorer that has learnt.
#[derive(Debug)]
pub(super) struct Learnt {
    pub(super) scorer: Box<dyn MapStage>,
    /// What the manifest says of the files that it learnt from.
    pub(super) reference: Vec<InputRecord>,
}

impl Learnt {
    /// What `choice` learns from the reference and from the rows that stay so far.
    pub(super) fn new(
        choice: Unlabelled,
        reference: &[String],
        seed: u64,
        run: Run<'_>,
        survey: &Survey,
        stores: &Stores,
    ) -> Result<Self> {
        let of_rows = || texts::of_rows(run, survey, seed);
        let context = run.context;
        if choice == Unlabelled::Ngram && reference.is_empty() {
            let scorer = NgramScorer::of_pool(&of_rows()?.texts, context)?;
            return Ok(Self { scorer: Box::new(scorer), reference: Vec::new() });
        }
        let (target, reference) = texts::of_reference(run, reference, seed, stores)?;
        let scorer: Box<dyn MapStage> = match choice {
            Unlabelled::Ngram => Box::new(NgramScorer::of_reference(&target.texts, context)?),
            Unlabelled::Dsir => Box::new(ImportanceScorer::fit(&target.texts, &of_rows()?.texts, context)),
        };
        Ok(Self { scorer, reference })
    }
}

/// # Errors
/// `Error::Config` if `choice` cannot work without a reference.
pub(super) fn check(choice: Unlabelled, section: &str, reference: &[String]) -> Result<()> {
    if choice == Unlabelled::Dsir && reference.is_empty() {
        return Err(Error::Config {
            message: format!(
                "the scorer `dsir` needs the texts that rows are to be like, and {section}.reference names none"
            ),
            hint: Some(format!("name files with {section}.reference (--reference)")),
        });
    }
    Ok(())
}
