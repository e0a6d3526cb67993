//! `tamis simulate`: read, replay, write.

use tamis_schemas::config::{InputConfig, ScoreConfig};
use tamis_schemas::manifest::InputRecord;

use super::judged::read_judged;
use crate::context::Context;
use crate::place::Place;
use crate::progress::Progress;
use crate::score::ScorerChoice;
use crate::score::device::resolve;
use crate::score::encoder::{Encoder, EncoderOptions};
use crate::simulate::{self, SimulateSettings, Summary};
use crate::sink::Existing;
use crate::store::Stores;
use crate::{Error, Result};

/// Which columns say what.
#[derive(Debug, Clone, Copy)]
pub struct JudgedColumns<'a> {
    /// The label.
    pub label: &'a str,
    /// What tells test rows from others; needed if the settings name a value of it.
    pub split: Option<&'a str>,
}

/// What was replayed.
#[derive(Debug)]
pub struct Simulated {
    /// What came of it.
    pub summary: Summary,
    /// The files that were read.
    pub inputs: Vec<InputRecord>,
    /// Where an encoder ran, if one did.
    pub device: Option<String>,
}

/// Refuses an output that has a summary already, unless it may be replaced.
///
/// # Errors
/// `Error::Config`, and whatever stops the look at it.
pub fn check_simulated(output: &str, existing: Existing, stores: &Stores, context: &Context) -> Result<()> {
    simulate::check_free(&Place::new(output, stores, context.runtime.handle())?, existing)
}

/// Replays strategies on the rows of `input`, and writes curves, plot and summary to `output`.
///
/// # Errors
/// Whatever stops the reading, the replay or the writing; nothing but whole files is visible at the output then.
pub fn simulate(
    input: &InputConfig,
    columns: JudgedColumns<'_>,
    score: &ScoreConfig,
    settings: &SimulateSettings,
    (output, existing): (&str, Existing),
    (stores, context, progress): (&Stores, &Context, &Progress),
) -> Result<Simulated> {
    check_simulated(output, existing, stores, context)?;
    let choice = score.scorer.parse()?;
    if score.head.is_some() && choice == ScorerChoice::Builtin {
        return Err(Error::Config {
            message: "--head is set, but the built-in scorer has no embeddings to learn from".into(),
            hint: Some("leave it out, or name an encoder with --scorer".into()),
        });
    }
    let mut device = None;
    let encoder = match &choice {
        ScorerChoice::Builtin | ScorerChoice::Column(_) => None,
        ScorerChoice::Encoder(location) => {
            let resolved = resolve(score.device.parse()?)?;
            device = Some(resolved.description.clone());
            Some(Encoder::open(location, &EncoderOptions::default(), &resolved, stores, context)?)
        }
        ScorerChoice::Unlabelled(_) => {
            return Err(Error::Config {
                message: format!("the scorer `{}` learns nothing from labels", score.scorer),
                hint: Some("use `builtin`, or the folder or URL of an encoder".into()),
            });
        }
    };
    let embeddings = match &choice {
        ScorerChoice::Column(name) => Some(name.as_str()),
        _ => None,
    };
    let (judged, inputs) = read_judged(input, columns, embeddings, stores, context, progress)?;
    let (points, summary) = simulate::simulate(judged, encoder.as_ref(), settings, context, progress)?;
    progress.begin("writing");
    simulate::write(&points, &summary, output, existing, stores, context)?;
    Ok(Simulated { summary, inputs, device })
}
