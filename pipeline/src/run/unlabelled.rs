//! Scorers that need no labels.

use tamis_schemas::manifest::{InputRecord, ScorerRecord};

use super::training::TrainingData;
use super::{Run, texts};
use crate::score::device::{DeviceChoice, ResolvedDevice, resolve};
use crate::score::{CausalScorer, ImportanceScorer, NgramScorer, Unlabelled};
use crate::stage::MapStage;
use crate::store::Stores;
use crate::{Error, Result};

/// A scorer of its kind.
#[derive(Debug)]
pub(super) enum UnlabelledScorer {
    Ngram(Box<NgramScorer>),
    Importance(Box<ImportanceScorer>),
    Causal(Box<CausalScorer>),
}

impl UnlabelledScorer {
    pub(super) fn into_stage(self) -> Box<dyn MapStage> {
        match self {
            Self::Ngram(scorer) => scorer,
            Self::Importance(scorer) => scorer,
            Self::Causal(scorer) => scorer,
        }
    }

    /// The scorer as a file.
    ///
    /// # Errors
    /// `Error::Config` for one that is read from a file of its own.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        match self {
            Self::Ngram(scorer) => scorer.to_bytes(),
            Self::Importance(scorer) => scorer.to_bytes(),
            Self::Causal(_) => Err(Error::config("a language model has learnt what it knows")),
        }
    }
}

/// A scorer that has learnt.
#[derive(Debug)]
pub(super) struct Learnt {
    pub(super) scorer: UnlabelledScorer,
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
        data: &dyn TrainingData,
        stores: &Stores,
    ) -> Result<Self> {
        let of_rows = || data.drawn();
        let of_reference = || texts::of_reference(run, reference, seed, stores);
        let context = run.context;
        let cpu = ResolvedDevice::cpu();
        Ok(match choice {
            Unlabelled::Ngram if reference.is_empty() => Self {
                scorer: UnlabelledScorer::Ngram(NgramScorer::of_pool(&of_rows()?.texts, context)?.into()),
                reference: Vec::new(),
                device: cpu,
            },
            Unlabelled::Ngram => {
                let (target, reference) = of_reference()?;
                let scorer = UnlabelledScorer::Ngram(NgramScorer::of_reference(&target.texts, context)?.into());
                Self { scorer, reference, device: cpu }
            }
            Unlabelled::Dsir => {
                let (target, reference) = of_reference()?;
                let scorer = ImportanceScorer::fit(&target.texts, &of_rows()?.texts, context);
                Self { scorer: UnlabelledScorer::Importance(scorer.into()), reference, device: cpu }
            }
            Unlabelled::Causal(file) => {
                let (scorer, device) = open_causal(run, file, device, stores)?;
                Self { scorer: UnlabelledScorer::Causal(scorer.into()), reference: Vec::new(), device }
            }
        })
    }

    /// What the manifest says of it.
    pub(super) fn record(&self, name: &str) -> ScorerRecord {
        ScorerRecord {
            name: name.to_owned(),
            device: self.device.description.clone(),
            device_note: self.device.fallback_reason.clone(),
            reference: self.reference.clone(),
            ..ScorerRecord::default()
        }
    }
}

/// A language model, and where it computes.
pub(super) fn open_causal(
    run: Run<'_>,
    file: &str,
    device: DeviceChoice,
    stores: &Stores,
) -> Result<(CausalScorer, ResolvedDevice)> {
    let device = resolve(device)?;
    run.begin("reading the language model");
    Ok((CausalScorer::open(file, &device, stores, run.context)?, device))
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
