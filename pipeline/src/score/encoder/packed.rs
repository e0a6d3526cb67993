//! The encoder on the CPU: the tokens of several texts side by side, without padding.
//!
//! ```text
//! texts -> groups of about GROUP_TOKENS tokens -> one task each, with a workspace of its own
//!            linear layers over all rows of the group; attention text by text and head by head
//! ```

use std::sync::{Condvar, Mutex, PoisonError};

use rayon::prelude::*;

use super::kernels::{LANES, add_and_normalize, add_bias, bias_gelu, normalize_rows, softmax_rows};
use super::pooled::pool;
use super::product::{LEAST_ROWS, View, product};
use super::shape::{Pooling, Shape};
use super::tokens::Tokens;
use super::weights::{Layer, Linear, Weights};
use crate::Result;
use crate::budget::Reservation;
use crate::context::{Cancel, Context};

/// Tokens that are computed together, unless one text has more. MiniLM takes 267 microseconds a token at 256, 258 at 512, 267 at
/// 1024 (AVX2, texts of 32 tokens), and 297 at 128: weights are then packed too often.
const GROUP_TOKENS: usize = 512;

/// The weights, and a workspace for each thread.
#[derive(Debug)]
pub(super) struct Packed {
    shape: Shape,
    weights: Weights,
    workspaces: Workspaces,
}

impl Packed {
    /// # Errors
    /// `Error::OverBudget` if there is no memory for one workspace.
    pub(super) fn new(shape: Shape, weights: Weights, max_tokens: usize, context: &Context) -> Result<Self> {
        let workspaces = Workspaces::new(&shape, max_tokens, context)?;
        Ok(Self { shape, weights, workspaces })
    }

    #[cfg(test)]
    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    #[cfg(test)]
    pub(super) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The vectors of `texts`, one after the other.
    ///
    /// # Determinism
    /// The vector of a text does not depend on the others, to the bit, nor on the number of threads.
    pub(super) fn embed(&self, texts: &[Tokens], pooling: Pooling, cancel: &Cancel) -> Result<Vec<f32>> {
        let hidden = self.shape.hidden_size;
        let mut vectors = vec![0.0; texts.len() * hidden];
        let mut tasks = Vec::new();
        let (mut texts_left, mut vectors_left) = (texts, vectors.as_mut_slice());
        while !texts_left.is_empty() {
            let n_texts = group_len(texts_left);
            let (group, rest) = texts_left.split_at(n_texts);
            let (of_group, rest_vectors) = vectors_left.split_at_mut(n_texts * hidden);
            tasks.push((group, of_group));
            (texts_left, vectors_left) = (rest, rest_vectors);
        }
        tasks.into_par_iter().with_max_len(1).try_for_each(|(group, vectors)| -> Result<()> {
            cancel.check()?;
            self.workspaces.with(|workspace| {
                self.forward(group, workspace);
                let mut start = 0;
                for (text, vector) in group.iter().zip(vectors.chunks_exact_mut(hidden)) {
                    let end = start + text.ids.len() * hidden;
                    pool(&workspace.hidden[start..end], pooling, vector);
                    start = end;
                }
            });
            Ok(())
        })?;
        Ok(vectors)
    }

    /// Leaves the vectors of all tokens of `group` in `workspace.hidden`.
    fn forward(&self, group: &[Tokens], workspace: &mut Workspace) {
        let hidden = self.shape.hidden_size;
        let n_tokens: usize = group.iter().map(|text| text.ids.len()).sum();
        // Rows that are nobody's make a small group one of enough rows.
        workspace.resize(n_tokens.max(LEAST_ROWS), &self.shape);
        let mut rows = workspace.hidden.chunks_exact_mut(hidden);
        for text in group {
            for ((position, &id), row) in text.ids.iter().enumerate().zip(&mut rows) {
                let word = &self.weights.words[id as usize * hidden..][..hidden];
                let place = &self.weights.positions[position * hidden..][..hidden];
                for ((value, word), place) in row.iter_mut().zip(word).zip(place) {
                    *value = word + place;
                }
            }
        }
        rows.for_each(|row| row.fill(0.0));
        normalize_rows(&mut workspace.hidden, &self.weights.norm);
        for layer in &self.weights.layers {
            self.layer(layer, group, workspace);
        }
    }

    fn layer(&self, layer: &Layer, group: &[Tokens], workspace: &mut Workspace) {
        let Workspace { hidden, attention, context, inner, output, scores } = workspace;
        linear(&layer.attention, hidden, attention);
        add_bias(attention, &layer.attention.bias);
        let mut first = 0;
        for text in group {
            self.attend(first, text.ids.len(), attention, context, scores);
            first += text.ids.len();
        }
        linear(&layer.attention_output, context, output);
        add_and_normalize(output, &layer.attention_output.bias, hidden, &layer.attention_norm);
        linear(&layer.intermediate, hidden, inner);
        bias_gelu(inner, &layer.intermediate.bias);
        linear(&layer.output, inner, output);
        add_and_normalize(output, &layer.output.bias, hidden, &layer.output_norm);
    }

    /// Attention within one text, whose rows are `n` from `first` on.
    fn attend(&self, first: usize, n: usize, attention: &[f32], context: &mut [f32], scores: &mut Vec<f32>) {
        let (hidden, head_size) = (self.shape.hidden_size, self.shape.head_size());
        let width = n.next_multiple_of(LANES);
        let score_view = View::rows(width);
        scores.resize(n * width, 0.0);
        for head in 0..self.shape.num_attention_heads {
            let start = first * 3 * hidden + head * head_size;
            let rows = |part: usize| View { start: start + part * hidden, row_stride: 3 * hidden, column_stride: 1 };
            let keys = View { row_stride: 1, column_stride: 3 * hidden, ..rows(1) };
            product([n, head_size, n], (attention, rows(0)), (attention, keys), (scores, score_view));
            softmax_rows(scores, n);
            let to = View { start: first * hidden + head * head_size, row_stride: hidden, column_stride: 1 };
            product([n, n, head_size], (scores, score_view), (attention, rows(2)), (context, to));
        }
    }
}

/// `to = from * transposed weight`, the bias left to whoever reads `to` next.
fn linear(layer: &Linear, from: &[f32], to: &mut [f32]) {
    let n_rows = from.len() / layer.inputs;
    product(
        [n_rows, layer.inputs, layer.outputs],
        (from, View::rows(layer.inputs)),
        (&layer.weight, View { start: 0, row_stride: 1, column_stride: layer.inputs }),
        (to, View::rows(layer.outputs)),
    );
}

/// How many of the first `texts` make a group.
fn group_len(texts: &[Tokens]) -> usize {
    let mut n_tokens = 0;
    let fitting = texts.iter().take_while(|text| {
        n_tokens += text.ids.len();
        n_tokens <= GROUP_TOKENS
    });
    fitting.count().max(1)
}

/// Activations of a group.
#[derive(Debug, Default)]
struct Workspace {
    hidden: Vec<f32>,
    /// Queries, keys and values.
    attention: Vec<f32>,
    context: Vec<f32>,
    inner: Vec<f32>,
    output: Vec<f32>,
    scores: Vec<f32>,
}

impl Workspace {
    fn resize(&mut self, n_rows: usize, shape: &Shape) {
        let hidden = n_rows * shape.hidden_size;
        self.hidden.resize(hidden, 0.0);
        self.attention.resize(3 * hidden, 0.0);
        self.context.resize(hidden, 0.0);
        self.inner.resize(n_rows * shape.intermediate_size, 0.0);
        self.output.resize(hidden, 0.0);
    }

    /// Bytes of one that holds `n_rows` rows, all of one text.
    fn bytes(n_rows: usize, shape: &Shape) -> usize {
        let row = 6 * shape.hidden_size + shape.intermediate_size + n_rows.next_multiple_of(LANES);
        n_rows * row * size_of::<f32>()
    }
}

/// Workspaces that tasks take and give back: as many as threads, fewer if the memory limit says so.
///
/// Whoever has one computes until it gives it back and waits for nothing, so that waiting for one ends.
#[derive(Debug)]
struct Workspaces {
    free: Mutex<Vec<Workspace>>,
    given_back: Condvar,
    /// For all of them at their largest.
    _reservation: Reservation,
}

impl Workspaces {
    fn new(shape: &Shape, max_tokens: usize, context: &Context) -> Result<Self> {
        let bytes = Workspace::bytes(max_tokens.max(GROUP_TOKENS), shape);
        let mut reservation = context.budget.reserve("encoder");
        reservation.grow(bytes)?;
        let n_more = (1..context.pool.current_num_threads()).take_while(|_| reservation.try_grow(bytes)).count();
        let free = std::iter::repeat_with(Workspace::default).take(1 + n_more).collect();
        Ok(Self { free: Mutex::new(free), given_back: Condvar::new(), _reservation: reservation })
    }

    fn with(&self, work: impl FnOnce(&mut Workspace)) {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.given_back.wait_while(free, |free| free.is_empty()).unwrap_or_else(PoisonError::into_inner);
        let mut workspace = free.pop().unwrap_or_default();
        drop(free);
        work(&mut workspace);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        self.given_back.notify_one();
    }
}
