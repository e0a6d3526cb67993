//! Heads: small models that learn from labels what embeddings, which stay as they are, say.

mod network;
mod stage;
#[cfg(test)]
mod tests;

use self::network::{Network, NetworkTrainer};
use super::agreement::Agreement;
use super::answers::Answers;
use super::out_of_fold;
use super::saved::{Header, Tensors};
use super::targets::Targets;
use super::task::Task;
use crate::context::Context;
use crate::{Error, Result};

pub use stage::{EncoderScorer, Truncated};

/// What lies between embedding and answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadKind {
    /// Weights.
    #[default]
    Linear,
    /// A hidden layer of 128 rectified units.
    Mlp,
}

/// Settings of a `Head`.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadSettings {
    /// What it is.
    pub kind: HeadKind,
    /// What the labels are.
    pub task: Task,
    /// Seed of initial weights and shuffles.
    pub seed: u64,
    /// Members of the ensemble.
    pub n_members: usize,
    /// How much louder rare classes are in training: 0 not at all, 1 until all classes weigh the same.
    pub balance: f64,
}

impl Default for HeadSettings {
    fn default() -> Self {
        Self { kind: HeadKind::Linear, task: Task::Classes, seed: 0, n_members: 5, balance: 0.25 }
    }
}

/// An ensemble of small networks over embeddings.
#[derive(Debug)]
pub(super) struct Head {
    /// None where labels tell nothing apart.
    members: Vec<Network>,
    answers: Answers,
    /// What embeddings are multiplied by.
    scale: f32,
    agreement: Option<Agreement>,
}

impl Head {
    /// Learns from embeddings of `labels.len()` texts, which lie row by row.
    ///
    /// # Determinism
    /// A function of the arguments for one instruction set, whatever the number of threads.
    ///
    /// # Errors
    /// `Error::Config` for a label that the task cannot have, or an embedding that is not finite; `Error::Interrupted`.
    pub(super) fn fit(
        embeddings: &[f32],
        dimensions: usize,
        labels: &[&str],
        settings: &HeadSettings,
        context: &Context,
    ) -> Result<Self> {
        if settings.n_members == 0 {
            return Err(Error::config("a head needs at least one member"));
        }
        if embeddings.len() != dimensions * labels.len() {
            return Err(Error::Invariant(format!("{} labels, {} components", labels.len(), embeddings.len())));
        }
        if embeddings.iter().any(|x| !x.is_finite()) {
            return Err(Error::config("an embedding of a labelled text is not finite"));
        }
        let targets = Targets::new(settings.task, labels.iter().copied(), settings.balance)?;
        let scale = input_scale(embeddings, dimensions, settings.kind);
        if !targets.tells_apart() {
            return Ok(Self { members: Vec::new(), answers: Answers::untrained(targets), scale, agreement: None });
        }
        let mut reservation = context.budget.reserve("scorer");
        reservation.grow(size_of_val(embeddings))?;
        let inputs: Vec<f32> = embeddings.iter().map(|x| x * scale).collect();
        let trainer = NetworkTrainer::new(settings.kind, &inputs, dimensions, &targets, &context.cancel);
        let fit = out_of_fold::fit(&trainer, &targets, settings.n_members, settings.seed, context)?;
        let answers = Answers::new(&targets, fit.temperature);
        Ok(Self { members: fit.members, answers, scale, agreement: fit.agreement })
    }

    /// Adds what it is made of; `None` if there was nothing to learn.
    fn save(&self, tensors: &mut Tensors) -> Option<usize> {
        for (index, member) in self.members.iter().enumerate() {
            member.save(index, tensors);
        }
        self.members.first().map(Network::n_layers)
    }

    /// The head that a file holds, for embeddings of `dimensions`.
    ///
    /// # Errors
    /// `Error::Corrupt` if its parts do not fit each other.
    fn of_saved(
        header: Header,
        [n_members, n_layers]: [usize; 2],
        scale: f32,
        dimensions: usize,
        tensors: &Tensors,
    ) -> Result<Self> {
        if n_members == 0 || n_layers == 0 {
            return Err(tensors.corrupt("it has no network"));
        }
        let n_outputs = header.answers.n_outputs();
        let members = (0..n_members)
            .map(|index| Network::of_saved(index, n_layers, [dimensions, n_outputs], tensors))
            .collect::<Result<_>>()?;
        Ok(Self { members, answers: header.answers, scale, agreement: header.agreement })
    }

    /// Mean outputs of the members for an embedding; none where nothing was learned.
    fn outputs(&self, embedding: &[f32]) -> Vec<f32> {
        let input: Vec<f32> = embedding.iter().map(|x| x * self.scale).collect();
        let mut mean = Vec::new();
        for member in &self.members {
            let outputs = member.outputs(&input);
            mean.resize(outputs.len(), 0.0);
            for (mean, output) in mean.iter_mut().zip(outputs) {
                *mean += output / self.members.len() as f32;
            }
        }
        mean
    }
}

/// Gives embeddings the length, on average of squares, that the network is to see.
///
/// Components keep their proportions: each over its own deviation, TREC-6 with `MiniLM` and 5,000 labels has an accuracy of 0.89
/// instead of 0.90 to 0.91.
fn input_scale(embeddings: &[f32], dimensions: usize, kind: HeadKind) -> f32 {
    let n_rows = (embeddings.len() / dimensions.max(1)).max(1) as f64;
    let length = (embeddings.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n_rows).sqrt();
    let wanted = match kind {
        HeadKind::Linear => 1.0,
        HeadKind::Mlp => (dimensions as f64).sqrt(),
    };
    if 0.0 < length { (wanted / length) as f32 } else { 1.0 }
}
