//! The model: bags of feature vectors, a linear head, several members that were begun differently.

#![expect(clippy::inline_always, reason = "a function for some processors is compiled for them with all that it calls")]

use super::features::N_BUCKETS;
use super::projection::normalize;
use crate::Result;
use crate::processor::for_this_processor;
use crate::score::saved::Tensors;

/// Components of a member's feature vectors.
pub(super) const MEMBER_DIMENSIONS: usize = 32;
/// Values that are summed at once.
const BLOCK: usize = 16;
/// Names of tensors in a file.
const BUCKETS: &str = "buckets";
const TABLE: &str = "table";
const HEAD: &str = "head";
const BIAS: &str = "bias";
/// Mark of a bucket that no labelled text has.
const UNKNOWN: u32 = u32::MAX;

/// The buckets that occur in labelled texts, and their rows in the tables: in the order in which they were first seen, so that
/// those which one text alone has lie together. Training walks through tables that no cache holds.
///
/// Only these are learnt, so only these are held: a feature that no labelled text has says nothing, but counts in the
/// length of the bag, which draws texts of mostly unknown features towards the class frequencies.
#[derive(Debug)]
pub(super) struct Vocabulary {
    /// Row of each bucket.
    rows: Vec<u32>,
    /// Bucket of each row.
    buckets: Vec<u32>,
}

impl Vocabulary {
    /// An empty vocabulary.
    pub(super) fn new() -> Self {
        Self { rows: vec![UNKNOWN; N_BUCKETS], buckets: Vec::new() }
    }

    /// Adds a bucket, if it is new; its row.
    pub(super) fn add(&mut self, bucket: u32) -> u32 {
        let row = &mut self.rows[bucket as usize];
        if *row == UNKNOWN {
            *row = self.buckets.len() as u32;
            self.buckets.push(bucket);
        }
        *row
    }

    /// Number of buckets in it.
    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Row of a bucket.
    pub(super) fn row(&self, bucket: u32) -> Option<u32> {
        let row = self.rows[bucket as usize];
        (row != UNKNOWN).then_some(row)
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
/// A bag is linear in the vectors of its features, and so is the mean of the logits: what the head makes of a vector is made once
/// and held beside it, unless there are so many outputs that the vectors of all members are less to read.
///
/// # Shape
/// `table`: a row of `width` values for each row of the vocabulary. With `head`, the vectors of all members, which `head` turns
/// into outputs; without, the first member's vector and the outputs.
///
/// # Determinism
/// Every sum is taken in the order of the text's features: a row's result does not depend on the rows around it. Inference is
/// plain Rust, on the CPU: it is a walk through a table, no device makes it faster.
#[derive(Debug)]
pub(super) struct Ensemble {
    vocabulary: Vocabulary,
    n_outputs: usize,
    width: usize,
    table: Vec<f32>,
    head: Option<Vec<f32>>,
    bias: Vec<f32>,
}

/// What each member says, beside what they say together.
#[derive(Debug)]
pub(super) struct Committee {
    members: Vec<Member>,
}

impl Committee {
    /// Members that were trained on the vocabulary of an ensemble.
    pub(super) fn new(members: Vec<Member>) -> Self {
        Self { members }
    }

    /// Number of members.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Bytes of the members' tables.
    pub(super) fn memory_bytes(&self) -> usize {
        self.members.iter().map(|member| size_of_val(&*member.table)).sum()
    }

    /// Adds what it is made of.
    pub(super) fn save(&self, tensors: &mut Tensors) {
        for (index, Member { table, head, bias }) in self.members.iter().enumerate() {
            tensors.add(&of_member(TABLE, index), &[table.len() / MEMBER_DIMENSIONS, MEMBER_DIMENSIONS], table);
            tensors.add(&of_member(HEAD, index), &[MEMBER_DIMENSIONS, bias.len()], head);
            tensors.add(&of_member(BIAS, index), &[bias.len()], bias);
        }
    }

    /// The committee of so many members that a file holds, which were trained on the vocabulary of `ensemble`.
    ///
    /// # Errors
    /// `Error::Corrupt` if its parts do not fit each other.
    pub(super) fn of_saved(n_members: usize, ensemble: &Ensemble, tensors: &Tensors) -> Result<Self> {
        let member = |index| {
            let (table, width) = tensors.matrix(&of_member(TABLE, index))?;
            let (head, n_outputs) = tensors.matrix(&of_member(HEAD, index))?;
            let bias = tensors.vector(&of_member(BIAS, index))?;
            let fits = (width, n_outputs) == (MEMBER_DIMENSIONS, ensemble.n_outputs)
                && table.len() == ensemble.vocabulary.len() * width
                && head.len() == width * n_outputs
                && bias.len() == n_outputs;
            if fits { Ok(Member { table, head, bias }) } else { Err(tensors.corrupt("its committee does not fit it")) }
        };
        Ok(Self { members: (0..n_members).map(member).collect::<Result<_>>()? })
    }

    /// Adds the outputs of all members for the text of a prediction that an ensemble has just made.
    pub(super) fn predict(&self, of_ensemble: &Prediction, outputs: &mut Vec<f32>) {
        let mut of_member = Vec::new();
        for member in &self.members {
            let mut bag = [0.0; MEMBER_DIMENSIONS];
            for &row in &of_ensemble.rows {
                add_scaled(
                    &mut bag,
                    &member.table[row as usize * MEMBER_DIMENSIONS..][..MEMBER_DIMENSIONS],
                    of_ensemble.share,
                );
            }
            outputs_of_bag(member, &bag, &mut of_member);
            outputs.extend_from_slice(&of_member);
        }
    }
}

/// Name of a member's tensor.
fn of_member(name: &str, index: usize) -> String {
    format!("members.{index}.{name}")
}

/// Buffers of [`Ensemble::predict`].
#[derive(Debug, Default)]
pub(super) struct Prediction {
    /// Mean outputs of the members.
    pub(super) outputs: Vec<f32>,
    /// The first member's bag, scaled to length 1.
    pub(super) embedding: Vec<f32>,
    rows: Vec<u32>,
    /// Share of a feature in the text's bag.
    share: f32,
    sums: Vec<f32>,
}

impl Ensemble {
    /// Joins members, at least one, that were trained on one vocabulary and one task.
    pub(super) fn new(vocabulary: Vocabulary, members: &[Member], n_outputs: usize) -> Self {
        let n_members = members.len();
        let share = 1.0 / n_members as f32;
        let mut bias = vec![0.0; n_outputs];
        for member in members {
            add_scaled(&mut bias, &member.bias, share);
        }
        let is_factored = Self::is_factored(n_members, n_outputs);
        let width = Self::width(n_members, n_outputs);
        let mut table = vec![0.0; vocabulary.len() * width];
        for (row, values) in table.chunks_exact_mut(width).enumerate() {
            let vectors = members.iter().map(|member| &member.table[row * MEMBER_DIMENSIONS..][..MEMBER_DIMENSIONS]);
            if is_factored {
                for (part, vector) in values.chunks_exact_mut(MEMBER_DIMENSIONS).zip(vectors) {
                    part.copy_from_slice(vector);
                }
            } else {
                let (first, outputs) = values.split_at_mut(MEMBER_DIMENSIONS);
                for (index, (member, vector)) in members.iter().zip(vectors).enumerate() {
                    if index == 0 {
                        first.copy_from_slice(vector);
                    }
                    add_outputs(vector, &member.head, share, &mut outputs[..n_outputs]);
                }
            }
        }
        let head = is_factored
            .then(|| members.iter().flat_map(|member| member.head.iter().map(|weight| weight * share)).collect());
        Self { vocabulary, n_outputs, width, table, head, bias }
    }

    /// Whether outputs are made of vectors text by text.
    fn is_factored(n_members: usize, n_outputs: usize) -> bool {
        (n_members - 1) * MEMBER_DIMENSIONS < n_outputs
    }

    /// Values of a row of the table.
    pub(super) fn width(n_members: usize, n_outputs: usize) -> usize {
        if Self::is_factored(n_members, n_outputs) {
            n_members * MEMBER_DIMENSIONS
        } else {
            (MEMBER_DIMENSIONS + n_outputs).next_multiple_of(BLOCK)
        }
    }

    /// Bytes of the table.
    pub(super) fn memory_bytes(&self) -> usize {
        self.table.len() * size_of::<f32>()
    }

    /// Adds what it is made of.
    pub(super) fn save(&self, tensors: &mut Tensors) {
        tensors.add_integers(BUCKETS, &self.vocabulary.buckets);
        tensors.add(TABLE, &[self.vocabulary.len(), self.width], &self.table);
        tensors.add(BIAS, &[self.n_outputs], &self.bias);
        if let Some(head) = &self.head {
            tensors.add(HEAD, &[self.width, self.n_outputs], head);
        }
    }

    /// The ensemble that a file holds.
    ///
    /// # Errors
    /// `Error::Corrupt` if its parts do not fit each other.
    pub(super) fn of_saved(tensors: &Tensors, n_outputs: usize) -> Result<Self> {
        let buckets = tensors.integers(BUCKETS)?;
        let (table, width) = tensors.matrix(TABLE)?;
        let bias = tensors.vector(BIAS)?;
        let head = tensors.has(HEAD).then(|| tensors.matrix(HEAD)).transpose()?;
        let mut vocabulary = Vocabulary::new();
        let is_new = |(&bucket, row)| (bucket as usize) < N_BUCKETS && vocabulary.add(bucket) == row;
        let is_vocabulary = buckets.iter().zip(0..).all(is_new);
        let has_outputs = match &head {
            Some((head, of_head)) => *of_head == n_outputs && head.len() == width * n_outputs,
            None => MEMBER_DIMENSIONS + n_outputs <= width,
        };
        let fits = is_vocabulary
            && has_outputs
            && MEMBER_DIMENSIONS <= width
            && width.is_multiple_of(BLOCK)
            && table.len() == buckets.len() * width
            && bias.len() == n_outputs;
        if !fits {
            return Err(tensors.corrupt("its tensors do not fit each other"));
        }
        Ok(Self { vocabulary, n_outputs, width, table, head: head.map(|(head, _)| head), bias })
    }

    /// Answers for a text of these features.
    pub(super) fn predict(&self, buckets: &[u32], out: &mut Prediction) {
        out.rows.clear();
        out.rows.extend(buckets.iter().filter_map(|&bucket| self.vocabulary.row(bucket)));
        out.sums.resize(self.width, 0.0);
        sum_rows(&self.table, &out.rows, &mut out.sums);
        let share = 1.0 / buckets.len().max(1) as f32;
        out.share = share;
        out.outputs.clone_from(&self.bias);
        match &self.head {
            Some(head) => add_outputs(&out.sums, head, share, &mut out.outputs),
            None => add_scaled(&mut out.outputs, &out.sums[MEMBER_DIMENSIONS..][..self.n_outputs], share),
        }
        out.embedding.clear();
        out.embedding.extend_from_slice(&out.sums[..MEMBER_DIMENSIONS]);
        normalize(&mut out.embedding);
    }
}

for_this_processor! {
    /// Sums rows of `table`, which are as long as `sums`, a multiple of [`BLOCK`].
    fn sum_rows(table: &[f32], rows: &[u32], sums: &mut [f32]) = sum_rows_body
}

#[inline(always)]
fn sum_rows_body<const FMA: bool>(table: &[f32], rows: &[u32], sums: &mut [f32]) {
    let width = sums.len();
    for (index, block) in sums.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        let mut sum = [0.0; BLOCK];
        for &row in rows {
            let values = &table[row as usize * width + index * BLOCK..][..BLOCK];
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum += value;
            }
        }
        *block = sum;
    }
}

/// Adds to `outputs` what a head, which has a row of weights for each component, makes of a vector, times `scale`.
fn add_outputs(vector: &[f32], head: &[f32], scale: f32, outputs: &mut [f32]) {
    for (x, weights) in vector.iter().zip(head.chunks_exact(outputs.len())) {
        add_scaled(outputs, weights, x * scale);
    }
}

/// Adds `values` times `scale` to `sum`.
#[inline(always)]
pub(super) fn add_scaled(sum: &mut [f32], values: &[f32], scale: f32) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value * scale;
    }
}

/// What a member says of a bag.
#[inline(always)]
pub(super) fn outputs_of_bag(member: &Member, bag: &[f32], outputs: &mut Vec<f32>) {
    outputs.clone_from(&member.bias);
    for (x, weights) in bag.iter().zip(member.head.chunks_exact(member.bias.len())) {
        add_scaled(outputs, weights, *x);
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// What members say one by one, by the mean of their logits, and the first one's bag; with few outputs and with many.
    #[test]
    fn members_that_are_joined_say_what_they_say_one_by_one() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| random.random_range(-1.0..1.0)).collect() };
        let known = [3, 70, 71, 200_000];
        for (n_members, n_outputs) in [(1, 1), (1, 3), (5, 2), (5, 77), (5, 128), (5, 129), (3, 500)] {
            let members: Vec<Member> = (0..n_members)
                .map(|_| Member {
                    table: numbers(known.len() * MEMBER_DIMENSIONS),
                    head: numbers(MEMBER_DIMENSIONS * n_outputs),
                    bias: numbers(n_outputs),
                })
                .collect();
            let mut vocabulary = Vocabulary::new();
            for bucket in known {
                vocabulary.add(bucket);
            }
            let ensemble = Ensemble::new(vocabulary, &members, n_outputs);
            let mut tensors = Tensors::default();
            ensemble.save(&mut tensors);
            let saved = Ensemble::of_saved(&tensors, n_outputs).unwrap();
            for buckets in [&[][..], &[70], &[3, 4, 70, 70, 200_000, 9]] {
                let mut said = Prediction::default();
                ensemble.predict(buckets, &mut said);
                let mut expect = vec![0.0f32; n_outputs];
                for member in &members {
                    let mut bag = [0.0; MEMBER_DIMENSIONS];
                    for bucket in buckets {
                        let Some(row) = known.iter().position(|known| known == bucket) else { continue };
                        let vector = &member.table[row * MEMBER_DIMENSIONS..][..MEMBER_DIMENSIONS];
                        add_scaled(&mut bag, vector, 1.0 / buckets.len() as f32);
                    }
                    let mut outputs = Vec::new();
                    outputs_of_bag(member, &bag, &mut outputs);
                    add_scaled(&mut expect, &outputs, 1.0 / n_members as f32);
                }
                assert_eq!(said.outputs.len(), n_outputs);
                assert!(said.outputs.iter().zip(&expect).all(|(a, b)| (a - b).abs() < 1e-5), "{n_members} {n_outputs}");
                let length: f32 = said.embedding.iter().map(|x| x * x).sum();
                assert_eq!(said.embedding.len(), MEMBER_DIMENSIONS);
                assert!(if buckets.is_empty() { length == 0.0 } else { (length - 1.0).abs() < 1e-5 });
                let mut of_file = Prediction::default();
                saved.predict(buckets, &mut of_file);
                assert_eq!((of_file.outputs, of_file.embedding), (said.outputs, said.embedding));
            }
            assert!(Ensemble::of_saved(&tensors, n_outputs + 200).is_err());
        }
    }
}
