//! Heads: small models that learn from labels what embeddings, which stay as they are, say.

mod network;
mod stage;
#[cfg(test)]
mod tests;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;

use self::network::{Network, NetworkTrainer};
use super::agreement::Agreement;
use super::answers::{Answers, embedding_field, embeddings};
use super::committee;
use super::out_of_fold::{self, Draws};
use super::saved::{self, Header, Tensors};
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
    /// Whether members learn from bootstraps of the labels, and `tamis_bald`, `tamis_vote_entropy` and `tamis_min_margin` say what they
    /// disagree on.
    pub committee: bool,
    /// How much louder rare classes are in training: 0 not at all, 1 until all classes weigh the same.
    pub balance: f64,
}

impl Default for HeadSettings {
    fn default() -> Self {
        Self { kind: HeadKind::Linear, task: Task::Classes, seed: 0, n_members: 5, committee: false, balance: 0.25 }
    }
}

/// An ensemble of small networks over embeddings.
#[derive(Debug)]
pub(crate) struct Head {
    /// None where labels tell nothing apart.
    members: Vec<Network>,
    answers: Answers,
    /// What embeddings are multiplied by.
    scale: f32,
    agreement: Option<Agreement>,
    /// Labelled texts and probabilities of their classes, by heads that had not seen them.
    left_out: Vec<(usize, Vec<f32>)>,
    /// Whether columns of disagreement are appended.
    asks_committee: bool,
}

impl Head {
    /// Learns from embeddings of `labels.len()` texts, which lie row by row.
    ///
    /// # Determinism
    /// A function of the arguments for one instruction set, whatever the number of threads.
    ///
    /// # Errors
    /// `Error::Config` for a label that the task cannot have, or an embedding that is not finite; `Error::Interrupted`.
    pub(crate) fn fit(
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
        let asks_committee = settings.committee;
        let scale = input_scale(embeddings, dimensions, settings.kind);
        if !targets.tells_apart() {
            return Ok(Self {
                members: Vec::new(),
                answers: Answers::untrained(targets),
                scale,
                agreement: None,
                left_out: Vec::new(),
                asks_committee,
            });
        }
        let mut reservation = context.budget.reserve("scorer");
        reservation.grow(size_of_val(embeddings))?;
        let inputs: Vec<f32> = embeddings.iter().map(|x| x * scale).collect();
        let trainer = NetworkTrainer::new(settings.kind, &inputs, dimensions, &targets, &context.cancel);
        let draws = if settings.committee { Draws::Bootstrap } else { Draws::All };
        let fit = out_of_fold::fit(&trainer, &targets, (settings.n_members, draws), settings.seed, context)?;
        let answers = Answers::new(&targets, fit.temperature);
        let left_out = answers.probabilities(fit.left_out);
        Ok(Self { members: fit.members, answers, scale, agreement: fit.agreement, left_out, asks_committee })
    }

    /// Names of the classes, sorted.
    pub(super) fn names(&self) -> &[String] {
        self.answers.names()
    }

    /// See [`ColumnScorer::take_left_out`](crate::score::ColumnScorer::take_left_out).
    pub(super) fn take_left_out(&mut self) -> Vec<(usize, Vec<f32>)> {
        std::mem::take(&mut self.left_out)
    }

    /// Whether labels told anything apart.
    pub(super) fn has_learnt(&self) -> bool {
        self.answers.tell_apart()
    }

    /// As a file, the head of a `model` of this scale, so many members and layers, and a committee or none.
    pub(super) fn to_bytes(
        &self,
        n_labelled: usize,
        model: impl FnOnce(f32, [usize; 2], bool) -> saved::Model,
    ) -> Result<Vec<u8>> {
        let mut tensors = Tensors::default();
        for (index, member) in self.members.iter().enumerate() {
            member.save(index, &mut tensors);
        }
        let n_layers = self.members.first().map_or(0, Network::n_layers);
        let model = model(self.scale, [self.members.len(), n_layers], self.asks_committee);
        saved::to_bytes(model, &self.answers, n_labelled, self.agreement, &tensors)
    }

    /// The head that a file holds, for embeddings of `dimensions`.
    ///
    /// # Errors
    /// `Error::Corrupt` if its parts do not fit each other.
    pub(super) fn of_saved(
        header: Header,
        ([n_members, n_layers], asks_committee): ([usize; 2], bool),
        scale: f32,
        dimensions: usize,
        tensors: &Tensors,
    ) -> Result<Self> {
        let has_networks = n_members > 0 && n_layers > 0;
        if has_networks != header.answers.tell_apart() {
            return Err(tensors.corrupt("it has no network for what it answers"));
        }
        let n_outputs = header.answers.n_outputs();
        let members = (0..n_members)
            .map(|index| Network::of_saved(index, n_layers, [dimensions, n_outputs], tensors))
            .collect::<Result<_>>()?;
        let (answers, agreement, left_out) = (header.answers, header.agreement, Vec::new());
        Ok(Self { members, answers, scale, agreement, left_out, asks_committee })
    }

    /// The columns that it makes of embeddings of `dimensions`, and the embedding.
    pub(crate) fn fields(&self, dimensions: usize) -> Vec<Field> {
        let committee = self.asks_committee.then(committee::fields).into_iter().flatten();
        self.answers.fields().into_iter().chain(committee).chain([embedding_field(dimensions)]).collect()
    }

    /// Its answers to embeddings that lie row by row, in the order of [`Self::fields`].
    pub(crate) fn columns(&self, vectors: &[f32], dimensions: usize) -> Result<Vec<ArrayRef>> {
        let n_rows = vectors.len() / dimensions;
        let mut of_members = Vec::new();
        let each = vectors.chunks_exact(dimensions).flat_map(|vector| self.outputs(vector, &mut of_members));
        let mut arrays = self.answers.columns(each.collect(), n_rows)?;
        if self.asks_committee {
            arrays.extend(self.answers.disagreement(of_members, self.members.len(), n_rows)?);
        }
        arrays.push(embeddings(vectors, dimensions)?);
        Ok(arrays)
    }

    /// Mean outputs of the members for an embedding; none where nothing was learned. Adds those of each member to `of_members`.
    fn outputs(&self, embedding: &[f32], of_members: &mut Vec<f32>) -> Vec<f32> {
        let input: Vec<f32> = embedding.iter().map(|x| x * self.scale).collect();
        let mut mean = Vec::new();
        for member in &self.members {
            let outputs = member.outputs(&input);
            if self.asks_committee {
                of_members.extend_from_slice(&outputs);
            }
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
