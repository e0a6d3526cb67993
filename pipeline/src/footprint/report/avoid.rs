//! What a run may save later: training, storage, labelling. Scenarios, each with the floor 0, and never taken off what the run used.

use tamis_schemas::footprint::{Interval, LedgerRow, ViewConfig};

use super::totals::{report_of, runs};
use crate::footprint::J_PER_KWH;
use crate::footprint::tables::Tables;
use crate::{Error, Result};

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AvoidQuestion {
    /// Training on what stays instead of on all.
    pub training: Option<TrainingQuestion>,
    /// Not storing what was dropped.
    pub storage: Option<StorageQuestion>,
    /// Labels that were not needed.
    pub labels: Option<LabelQuestion>,
}

/// What bounds a training run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundBy {
    /// A number of passes over the data: less data, less work.
    Epochs,
    /// A number of tokens or hours: other data takes the place of what was dropped, and nothing is saved.
    Tokens,
    /// Not known.
    Unknown,
}

/// A model that is trained on the output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingQuestion {
    /// Parameters that take part in each token.
    pub params: f64,
    /// Passes over the data.
    pub epochs: f64,
    /// Times that it is trained.
    pub runs: f64,
    /// What bounds it.
    pub bound_by: BoundBy,
    /// Tokens dropped, if the run did not count them.
    pub tokens_removed: Option<f64>,
}

/// Data that is not stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StorageQuestion {
    /// Tier, as in the table.
    pub tier: String,
    /// Years it would have been stored.
    pub years: f64,
    /// Is the original really deleted? If it is kept, nothing is saved.
    pub is_deleted: bool,
    /// Bytes dropped, if the run did not count them.
    pub bytes_removed: Option<f64>,
}

/// Labels that were not needed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelQuestion {
    /// How many.
    pub labels_avoided: f64,
    /// Work for each, seconds.
    pub seconds_each: Option<f64>,
    /// What a place of work draws, watts.
    pub watts: Option<f64>,
}

/// Does a scenario apply?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// By what was said, yes.
    Yes,
    /// No: nothing is avoided.
    No,
    /// It is not known.
    Unknown,
}

/// One scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct AvoidedItem {
    /// `training`, `storage` or `labels`.
    pub name: &'static str,
    /// Does it apply?
    pub applies: Applies,
    /// If it does, kWh; 0 if it does not. Whatever it says, the floor is 0.
    pub kwh: Interval,
    /// If it does, grams of `CO2e`.
    pub g: Interval,
    /// Hours of work, of labels.
    pub hours: Option<f64>,
    /// What was assumed, one a line.
    pub assumptions: Vec<String>,
}

/// All scenarios of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Avoided {
    /// What the run itself used, kWh, provisioned; none if that is not known.
    pub own_kwh: Option<Interval>,
    /// What the run itself emitted, grams of `CO2e`, provisioned; none if that is not known.
    pub own_g: Option<Interval>,
    /// Scenarios.
    pub items: Vec<AvoidedItem>,
    /// What the run used over the lower bounds of what applies: below 1 it pays. None if nothing does, or only perhaps, or if
    /// what the run used is not known.
    pub payback_ratio: Option<f64>,
}

/// Scenarios of the last run of `rows`. Intensity is the run's.
///
/// # Errors
/// `Error::Config` if there is no run, a count is missing, or a number cannot be.
pub fn avoid(rows: &[LedgerRow], question: &AvoidQuestion, tables: &Tables) -> Result<Avoided> {
    let run = runs(rows).pop().ok_or_else(|| Error::config("the footprint ledger has no run"))?;
    let report = report_of(&run, ViewConfig::Provisioned);
    let mut items = Vec::new();
    if let Some(training) = &question.training {
        items.push(of_training(run[0], training, tables)?);
    }
    if let Some(storage) = &question.storage {
        items.push(of_storage(run[0], storage, tables)?);
    }
    if let Some(labels) = &question.labels {
        items.push(of_labels(run[0], labels)?);
    }
    let sure_kwh: f64 = items.iter().filter(|item| item.applies == Applies::Yes).map(|item| item.kwh.low()).sum();
    let own_kwh = report.totals.known_kwh();
    Ok(Avoided {
        own_kwh,
        own_g: report.totals.known_g(),
        payback_ratio: own_kwh.filter(|_| sure_kwh > 0.0).map(|kwh| kwh.mid() / sure_kwh),
        items,
    })
}

fn of_training(row: &LedgerRow, training: &TrainingQuestion, tables: &Tables) -> Result<AvoidedItem> {
    let TrainingQuestion { params, epochs, runs, bound_by, .. } = *training;
    positive(&[("--params", Some(params)), ("--epochs", Some(epochs)), ("--trainings", Some(runs))])?;
    positive(&[("--tokens-removed", training.tokens_removed)])?;
    let counted = || Some(row.run.tokens_in?.checked_sub(row.run.tokens_out?)? as f64);
    let removed =
        training.tokens_removed.or_else(counted).ok_or_else(|| missing(&row.run_id, "tokens", "--tokens-removed"))?;
    let energy = tables.coefficient("energy_per_flop")?.value();
    let flop = tables.coefficient("flop_per_param_token")?.value().mid() * params * removed * epochs * runs;
    let pue = tables.coefficient("training_pue")?.value();
    let applies = match bound_by {
        BoundBy::Epochs => Applies::Yes,
        BoundBy::Tokens => Applies::No,
        BoundBy::Unknown => Applies::Unknown,
    };
    let kwh = if applies == Applies::No { Interval::ZERO } else { energy.scale(flop / J_PER_KWH).times(&pue) };
    let bound = match bound_by {
        BoundBy::Epochs => "the trainer makes a fixed number of passes over what stays",
        BoundBy::Tokens => {
            "the trainer has a fixed number of tokens: others take the place of those dropped, and nothing is saved"
        }
        BoundBy::Unknown => "what bounds the trainer is not known: if it is a number of tokens, nothing is saved",
    };
    let assumptions = vec![
        format!("{removed:.3e} tokens less, {params:.3e} parameters, {epochs} epochs, {runs} runs"),
        format!(
            "6 FLOP for each parameter and token, {:.1e} ({:.1e} to {:.1e}) J/FLOP",
            energy.mid(),
            energy.low(),
            energy.high()
        ),
        format!(
            "PUE {} ({} to {}) where the model is trained; the grid is that of this run",
            pue.mid(),
            pue.low(),
            pue.high()
        ),
        bound.to_owned(),
        "the model is as good with what stays: to be shown by a model trained on it".to_owned(),
        "hardware for training is built nevertheless: no embodied emissions are counted".to_owned(),
    ];
    Ok(AvoidedItem { name: "training", applies, kwh, g: kwh.times(&row.intensity.g_per_kwh), hours: None, assumptions })
}

fn of_storage(row: &LedgerRow, storage: &StorageQuestion, tables: &Tables) -> Result<AvoidedItem> {
    positive(&[("--years", Some(storage.years)), ("--bytes-removed", storage.bytes_removed)])?;
    let tier = tables.storage_tier(&storage.tier)?;
    let counted = || Some(row.run.bytes_in?.checked_sub(row.run.bytes_out?)? as f64);
    let removed =
        storage.bytes_removed.or_else(counted).ok_or_else(|| missing(&row.run_id, "bytes", "--bytes-removed"))?;
    let tb_years = removed / 1e12 * storage.years;
    let (kwh, embodied_g) = if storage.is_deleted {
        let kwh = tier.kwh_per_tb_year().scale(tb_years).times(&row.pue.value);
        (kwh, tier.embodied_kg_per_tb_year().scale(tb_years * 1e3))
    } else {
        (Interval::ZERO, Interval::ZERO)
    };
    let kept =
        if storage.is_deleted { "the originals are deleted" } else { "the originals are kept: nothing is saved" };
    let assumptions = vec![
        format!("{:.3} TB less for {} years on `{}` ({})", removed / 1e12, storage.years, tier.tier, tier.media),
        format!("PUE {} and grid of this run; embodied emissions of the media are counted", row.pue.value.mid()),
        kept.to_owned(),
    ];
    let applies = if storage.is_deleted { Applies::Yes } else { Applies::No };
    let g = kwh.times(&row.intensity.g_per_kwh) + embodied_g;
    Ok(AvoidedItem { name: "storage", applies, kwh, g, hours: None, assumptions })
}

fn of_labels(row: &LedgerRow, labels: &LabelQuestion) -> Result<AvoidedItem> {
    positive(&[
        ("--labels-avoided", Some(labels.labels_avoided)),
        ("--seconds-per-label", labels.seconds_each),
        ("--workplace-watts", labels.watts),
    ])?;
    let seconds = labels.seconds_each.map(|seconds| seconds * labels.labels_avoided);
    let mut assumptions = vec![format!("{} labels less, at an equal score", labels.labels_avoided)];
    let kwh = if let (Some(seconds), Some(watts)) = (seconds, labels.watts) {
        assumptions.push(format!("{watts} W at a place of work"));
        Interval::around(0.0, seconds * watts / J_PER_KWH, seconds * watts / J_PER_KWH)
    } else {
        assumptions.push("without seconds and watts for a label, no energy is claimed".to_owned());
        Interval::ZERO
    };
    Ok(AvoidedItem {
        name: "labels",
        applies: Applies::Yes,
        kwh,
        g: kwh.times(&row.intensity.g_per_kwh),
        hours: seconds.map(|seconds| seconds / 3600.0),
        assumptions,
    })
}

fn positive(numbers: &[(&str, Option<f64>)]) -> Result<()> {
    let bad = numbers.iter().find_map(|(flag, number)| {
        let number = number.filter(|number| !number.is_finite() || *number < 0.0)?;
        Some((flag, number))
    });
    bad.map_or(Ok(()), |(flag, number)| Err(Error::config(format!("{flag} is {number}: it is a number, 0 or more"))))
}

fn missing(run_id: &str, what: &str, flag: &str) -> Error {
    Error::Config {
        message: format!("run `{run_id}` did not count its {what} before and after"),
        hint: Some(format!("say how many it dropped with {flag}")),
    }
}
