//! The model: bags of feature vectors, a linear head, several members that were begun differently.

use super::features::N_BUCKETS;
use super::projection::normalize;

/// Components of a member's feature vectors.
pub(super) const MEMBER_DIMENSIONS: usize = 32;
/// Mark of a bucket that no labelled text has.
const UNKNOWN: u32 = u32::MAX;

/// The buckets that occur in labelled texts, and their rows in the tables.
///
/// Only these are learnt, so only these are held: a feature that no labelled text has says nothing, but counts in the
/// length of the bag, which draws texts of mostly unknown features towards the class frequencies.
#[derive(Debug)]
pub(super) struct Vocabulary {
    rows: Vec<u32>,
    n_rows: usize,
}

impl Vocabulary {
    /// The vocabulary of sorted distinct `buckets`, numbered in their order.
    pub(super) fn new(buckets: &[u32]) -> Self {
        let mut rows = vec![UNKNOWN; N_BUCKETS];
        for (row, &bucket) in buckets.iter().enumerate() {
            rows[bucket as usize] = row as u32;
        }
        Self { rows, n_rows: buckets.len() }
    }

    /// Number of buckets in it.
    pub(super) fn len(&self) -> usize {
        self.n_rows
    }

    /// Row of a bucket.
    pub(super) fn row(&self, bucket: u32) -> Option<usize> {
        let row = self.rows[bucket as usize];
        (row != UNKNOWN).then_some(row as usize)
    }
}

/// A trained member.
///
/// # Shape
/// `table`: `n_rows * MEMBER_DIMENSIONS`, `head`: `MEMBER_DIMENSIONS * n_outputs`, `bias`: `n_outputs`; all row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    pub(super) table: Vec<f32>,
    pub(super) head: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// Members that answer together, by the mean of their logits.
///
/// # Determinism
/// Every sum is taken in the order of the text's features and then of the members: a row's result does not depend on
/// the rows around it. Inference is plain Rust, on the CPU: it is a walk through a table, no device makes it faster.
#[derive(Debug)]
pub(super) struct Ensemble {
    vocabulary: Vocabulary,
    n_members: usize,
    n_outputs: usize,
    /// For each row of the vocabulary the vectors of all members, one after the other: one place in memory per feature.
    table: Vec<f32>,
    members: Vec<Member>,
}

/// Buffers of [`Ensemble::predict`].
#[derive(Debug, Default)]
pub(super) struct Prediction {
    /// Mean outputs of the members.
    pub(super) outputs: Vec<f32>,
    /// The members' bags one after the other, scaled to length 1.
    pub(super) embedding: Vec<f32>,
    of_member: Vec<f32>,
}

impl Ensemble {
    /// Joins members that were trained on one vocabulary and one task.
    pub(super) fn new(vocabulary: Vocabulary, mut members: Vec<Member>, n_outputs: usize) -> Self {
        let mut table = Vec::with_capacity(vocabulary.len() * members.len() * MEMBER_DIMENSIONS);
        for row in 0..vocabulary.len() {
            for member in &members {
                table.extend_from_slice(&member.table[row * MEMBER_DIMENSIONS..][..MEMBER_DIMENSIONS]);
            }
        }
        for member in &mut members {
            member.table = Vec::new();
        }
        Self { vocabulary, n_members: members.len(), n_outputs, table, members }
    }

    /// Length of the embedding.
    pub(super) fn dimensions(&self) -> usize {
        self.n_members * MEMBER_DIMENSIONS
    }

    /// Answers for a text of these features.
    pub(super) fn predict(&self, buckets: &[u32], out: &mut Prediction) {
        let width = self.dimensions();
        out.embedding.clear();
        out.embedding.resize(width, 0.0);
        for row in buckets.iter().filter_map(|&bucket| self.vocabulary.row(bucket)) {
            for (sum, x) in out.embedding.iter_mut().zip(&self.table[row * width..][..width]) {
                *sum += x;
            }
        }
        let scale = 1.0 / buckets.len().max(1) as f32;
        for x in &mut out.embedding {
            *x *= scale;
        }
        out.outputs.clear();
        out.outputs.resize(self.n_outputs, 0.0);
        for (member, bag) in self.members.iter().zip(out.embedding.chunks_exact(MEMBER_DIMENSIONS)) {
            outputs_of_bag(member, bag, &mut out.of_member);
            for (mean, output) in out.outputs.iter_mut().zip(&out.of_member) {
                *mean += output / self.n_members as f32;
            }
        }
        normalize(&mut out.embedding);
    }
}

/// What a member says of a bag.
pub(super) fn outputs_of_bag(member: &Member, bag: &[f32], outputs: &mut Vec<f32>) {
    outputs.clone_from(&member.bias);
    for (x, weights) in bag.iter().zip(member.head.chunks_exact(member.bias.len())) {
        for (output, weight) in outputs.iter_mut().zip(weights) {
            *output += x * weight;
        }
    }
}
