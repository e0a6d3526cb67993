//! Scorers that need no labels.

use tamis_schemas::manifest::InputRecord;

use super::survey::Survey;
use super::{Run, texts};
use crate::score::device::{DeviceChoice, ResolvedDevice, resolve};
use crate::score::{CausalScorer, ImportanceScorer, NgramScorer, Unlabelled};
use crate::stage::MapStage;
use crate::store::Stores;
use crate::{Error, Result};

/// A scorer that has learnt.
#[derive(Debug)]
pub(super) struct Learnt {
    pub(super) scorer: Box<dyn MapStage>,
    /// What the manifest says of the files that it learnt from.
    pub(super) reference: Vec<InputRecord>,
    /// Where it computes.
    pub(super) device: ResolvedDevice,
}

impl Learnt {
    /// What `choice` learns from the reference and from the rows that stay so far.
    pub(super) fn new(
        choice: &Unlabelled,
        reference: &[String],
        seed: u64,
        device: DeviceChoice,
        run: Run<'_>,
        survey: &Survey,
        stores: &Stores,
    ) -> Result<Self> {
        let of_rows = || texts::of_rows(run, survey, seed);
        let of_reference = || texts::of_reference(run, reference, seed, stores);
        let context = run.context;
        let cpu = ResolvedDevice::cpu();
        Ok(match choice {
            Unlabelled::Ngram if reference.is_empty() => Self {
                scorer: Box::new(NgramScorer::of_pool(&of_rows()?.texts, context)?),
                reference: Vec::new(),
                device: cpu,
            },
            Unlabelled::Ngram => {
                let (target, reference) = of_reference()?;
                Self { scorer: Box::new(NgramScorer::of_reference(&target.texts, context)?), reference, device: cpu }
            }
            Unlabelled::Dsir => {
                let (target, reference) = of_reference()?;
                let scorer = ImportanceScorer::fit(&target.texts, &of_rows()?.texts, context);
                Self { scorer: Box::new(scorer), reference, device: cpu }
            }
            Unlabelled::Causal(file) => {
                let device = resolve(device)?;
                run.begin("reading the language model");
                let scorer = CausalScorer::open(file, &device, stores, context)?;
                Self { scorer: Box::new(scorer), reference: Vec::new(), device }
            }
        })
    }
}

/// # Errors
/// `Error::Config` if `choice` cannot work without a reference, or does not look at it.
pub(super) fn check(choice: &Unlabelled, section: &str, reference: &[String]) -> Result<()> {
    match choice {
        Unlabelled::Dsir if reference.is_empty() => Err(Error::Config {
            message: format!(
                "the scorer `dsir` needs the texts that rows are to be like, and {section}.reference names none"
            ),
            hint: Some(format!("name files with {section}.reference (--reference)")),
        }),
        Unlabelled::Causal(_) if !reference.is_empty() => Err(Error::Config {
            message: format!("{section}.reference is set, but a language model has learnt what it knows"),
            hint: Some("leave it out, or use the scorer `ngram` or `dsir`".into()),
        }),
        _ => Ok(()),
    }
}
