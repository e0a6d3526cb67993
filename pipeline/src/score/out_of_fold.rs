//! How long to train, and how sure to be: both from answers about texts that the model which answers has not seen.
//!
//! The labelled texts are parted into folds, and for each two models learn from all others. What they say together of the texts
//! left out says, for every number of passes, how good the answers are at the temperature that fits them best. The members
//! of the ensemble then learn from all texts: no label is spent on a hold-out.
//!
//! The members answer by the mean of their logits, and so do the two: the temperature of a single model, which is wrong more
//! often, leaves the ensemble less sure than it may be.

use std::borrow::Cow;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::agreement::Agreement;
use super::targets::{Kind, N_FOLDS, Targets};
use crate::Result;
use crate::context::Context;

/// Models that learn from all folds but one.
const MODELS_OF_FOLD: usize = 2;
/// Fewer labelled texts say nothing about passes and temperature.
const LEAST_TEXTS: usize = 50;
/// Weight of "the temperature is 1", in texts: keeps few labels from moving it far.
const PRIOR_TEXTS: f64 = 10.0;
/// Temperatures that are tried lie between this and its inverse.
const MOST_TEMPERATURE: f64 = 20.0;
/// Keeps the seeds of folds apart from those of members.
const FOLD_SALT: u64 = 0x666f_6c64;

/// Keeps the draws of members apart from their initial weights.
const BOOTSTRAP_SALT: u64 = 0x626f_6f74;

/// What members learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Draws {
    /// All texts.
    All,
    /// As many texts, drawn with repetition: what the labels leave open, members answer differently.
    Bootstrap,
}

/// What trains a model on some of the labelled texts.
pub(super) trait Trainable: Sync {
    /// What it trains.
    type Model: Send;

    /// Numbers of passes that may be enough, ascending, at least one.
    fn passes(&self) -> &[usize];

    /// Trains on `texts` for the last of `passes`, and shows what it is after each of them.
    fn train(
        &self,
        texts: &[usize],
        passes: &[usize],
        seed: u64,
        show: &mut dyn FnMut(&Self::Model) -> Result<()>,
    ) -> Result<Self::Model>;

    /// Outputs of a model for labelled texts, text by text.
    fn outputs(&self, model: &Self::Model, texts: &[usize]) -> Result<Vec<f32>>;
}

/// An ensemble, and what is known of its answers.
#[derive(Debug)]
pub(super) struct Fit<M> {
    pub(super) members: Vec<M>,
    /// What logits are divided by.
    pub(super) temperature: f32,
    /// How well the answers out of fold agree with the labels; `None` with few texts.
    pub(super) agreement: Option<Agreement>,
    /// Texts and outputs for them, by models that had not seen them; none with few texts, or for one that is alone with its class.
    pub(super) left_out: Vec<(usize, Vec<f32>)>,
}

/// Trains `n_members` on all texts, as long and as sure as the answers out of fold say.
///
/// # Determinism
/// A function of targets, trainer and seed, whatever the number of threads.
pub(super) fn fit<T: Trainable>(
    trainer: &T,
    targets: &Targets,
    (n_members, draws): (usize, Draws),
    seed: u64,
    context: &Context,
) -> Result<Fit<T::Model>> {
    let passes = trainer.passes();
    let (passes, temperature, left_out) = if targets.len() < LEAST_TEXTS {
        (&passes[passes.len() - 1..], 1.0, Vec::new())
    } else {
        let chosen = context.pool.install(|| choose(trainer, targets, seed))?;
        (&passes[chosen.index..=chosen.index], chosen.temperature, chosen.answers)
    };
    let all: Vec<usize> = (0..targets.len()).collect();
    let members = context.pool.install(|| {
        (0..n_members as u64)
            .into_par_iter()
            .map(|member| {
                let seed = xxh3_64_with_seed(&member.to_le_bytes(), seed);
                let texts = match draws {
                    Draws::All => Cow::Borrowed(&all),
                    Draws::Bootstrap => Cow::Owned(bootstrap(all.len(), seed)),
                };
                trainer.train(&texts, passes, seed, &mut |_| Ok(()))
            })
            .collect::<Result<Vec<_>>>()
    })?;
    let agreement = Agreement::new(targets, &left_out);
    Ok(Fit { members, temperature: temperature as f32, agreement, left_out })
}

/// As many texts as there are, drawn with repetition.
fn bootstrap(n_texts: usize, seed: u64) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ BOOTSTRAP_SALT);
    (0..n_texts).map(|_| random.random_range(0..n_texts)).collect()
}

/// The number of passes with the least loss out of fold.
struct Chosen {
    index: usize,
    temperature: f64,
    /// Texts, and the outputs for each by models that have not seen it.
    answers: Vec<(usize, Vec<f32>)>,
}

fn choose<T: Trainable>(trainer: &T, targets: &Targets, seed: u64) -> Result<Chosen> {
    let (folds, is_shared) = (&targets.folds(), &targets.is_shared());
    let passes = trainer.passes();
    let left_out = |fold: usize| (0..targets.len()).filter(move |&text| folds[text] == fold && is_shared[text]);
    // For each model of a fold, and each number of passes: the outputs for the texts left out.
    let of_models = (0..N_FOLDS * MODELS_OF_FOLD)
        .into_par_iter()
        .map(|model| {
            let fold = model / MODELS_OF_FOLD;
            let others: Vec<usize> = (0..targets.len()).filter(|&text| folds[text] != fold).collect();
            let left_out: Vec<usize> = left_out(fold).collect();
            let seed = xxh3_64_with_seed(&(model as u64).to_le_bytes(), seed ^ FOLD_SALT);
            let mut outputs = Vec::with_capacity(passes.len());
            trainer.train(&others, passes, seed, &mut |model| {
                outputs.push(trainer.outputs(model, &left_out)?);
                Ok(())
            })?;
            Ok(outputs)
        })
        .collect::<Result<Vec<_>>>()?;
    let answers: Vec<(Vec<usize>, Vec<Vec<f32>>)> = of_models
        .chunks_exact(MODELS_OF_FOLD)
        .enumerate()
        .map(|(fold, of_fold)| (left_out(fold).collect(), mean(of_fold)))
        .collect();
    let width = targets.n_outputs();
    let mut best = (f64::INFINITY, 0, 1.0);
    for index in 0..passes.len() {
        let loss_at = |temperature: f64| {
            let of_fold = |(texts, outputs): &(Vec<usize>, Vec<Vec<f32>>)| {
                let rows = texts.iter().zip(outputs[index].chunks_exact(width));
                rows.map(|(&text, outputs)| targets.loss(text, outputs, temperature)).sum::<f64>()
            };
            answers.iter().map(of_fold).sum::<f64>() + PRIOR_TEXTS * temperature.ln().powi(2)
        };
        let temperature = match targets.kind {
            Kind::Classes { .. } | Kind::MultiLabel { .. } => best_temperature(loss_at),
            Kind::Regression { .. } => 1.0,
        };
        let loss = loss_at(temperature);
        // Of equals the most passes: where nothing is known, too few are the greater risk.
        if loss <= best.0 {
            best = (loss, index, temperature);
        }
    }
    let (_, index, temperature) = best;
    let of_fold = |(texts, outputs): &(Vec<usize>, Vec<Vec<f32>>)| {
        let rows = texts.iter().zip(outputs[index].chunks_exact(width));
        rows.map(|(&text, outputs)| (text, outputs.to_vec())).collect::<Vec<_>>()
    };
    Ok(Chosen { index, temperature, answers: answers.iter().flat_map(of_fold).collect() })
}

/// Mean of what models say, for each number of passes.
fn mean(of_models: &[Vec<Vec<f32>>]) -> Vec<Vec<f32>> {
    let n_passes = of_models[0].len();
    let mean = |index: usize| {
        let mut mean = vec![0.0; of_models[0][index].len()];
        for outputs in of_models {
            mean.iter_mut().zip(&outputs[index]).for_each(|(mean, output)| *mean += output / of_models.len() as f32);
        }
        mean
    };
    (0..n_passes).map(mean).collect()
}

/// The temperature of the least loss, by golden section over its logarithm; the loss has one minimum there.
fn best_temperature(loss_at: impl Fn(f64) -> f64) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let (mut low, mut high) = (-MOST_TEMPERATURE.ln(), MOST_TEMPERATURE.ln());
    let at = |logarithm: f64| loss_at(logarithm.exp());
    let (mut left, mut right) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
    let (mut loss_left, mut loss_right) = (at(left), at(right));
    while high - low > 1e-3 {
        if loss_left <= loss_right {
            (high, right, loss_right) = (right, left, loss_left);
            left = high - GOLDEN * (high - low);
            loss_left = at(left);
        } else {
            (low, left, loss_left) = (left, right, loss_right);
            right = low + GOLDEN * (high - low);
            loss_right = at(right);
        }
    }
    f64::midpoint(low, high).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Task;

    /// Against a brute-force search over 2,000 temperatures.
    #[test]
    fn finds_the_best_temperature() {
        let labels: Vec<&str> = (0..90).map(|text| ["a", "b", "c"][text % 3]).collect();
        let targets = Targets::new(Task::Classes, labels.into_iter(), 0.0).unwrap();
        for (sureness, n_wrong) in [(1.0f32, 9), (6.0, 9), (0.3, 0), (4.0, 40)] {
            let outputs: Vec<[f32; 3]> = (0..90)
                .map(|text| {
                    let mut outputs = [0.0; 3];
                    outputs[if text < n_wrong { (text + 1) % 3 } else { text % 3 }] = sureness;
                    outputs
                })
                .collect();
            let loss_at = |temperature: f64| {
                (0..90).map(|text| targets.loss(text, &outputs[text], temperature)).sum::<f64>()
                    + PRIOR_TEXTS * temperature.ln().powi(2)
            };
            let tried = (0..2000).map(|step| ((f64::from(step) / 1000.0 - 1.0) * MOST_TEMPERATURE.ln()).exp());
            let brute = tried.min_by(|a, b| loss_at(*a).total_cmp(&loss_at(*b))).unwrap();
            let found = best_temperature(loss_at);
            assert!((found / brute).ln().abs() < 0.005, "{found}, by brute force {brute}");
        }
    }
}
