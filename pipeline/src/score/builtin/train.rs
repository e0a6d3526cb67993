//! Training of one member: a step in plain Rust, of which Adagrad changes only the rows that the step has touched.
//!
//! Candle's autograd gives the same gradients, which a test checks; it took most of the time of a step, for graphs of a few
//! hundred numbers. A row of the table has one sum of squares, not one for each component: accuracy is the same (TREC-6 0.860 and
//! 0.860, banking77 0.903 and 0.898, SUBJ 0.900 and 0.894 with 5,000 labels), and a third of the memory is not walked through.

#![expect(clippy::inline_always, reason = "a function for some processors is compiled for them with all that it calls")]

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ensemble::{MEMBER_DIMENSIONS, Member, add_scaled, outputs_of_bag};
use crate::Result;
use crate::context::Cancel;
use crate::processor::for_this_processor;
use crate::score::out_of_fold::Trainable;
use crate::score::targets::Targets;

/// Labelled texts of a training step.
const BATCH_TEXTS: usize = 32;
/// Learning rate of the table.
const TABLE_RATE: f32 = 0.6;
/// Learning rate of head and bias.
const HEAD_RATE: f32 = 0.5;
/// Features that are seen in all passes together, about: texts of many features are learned in fewer passes.
const FEATURES_SEEN: usize = 2_000_000;

/// Labelled texts as sparse rows over a vocabulary.
#[derive(Debug, Default)]
pub(super) struct Corpus {
    /// Row of the vocabulary and share of the text's features, rows ascending, text after text.
    features: Vec<(u32, f32)>,
    /// Where the features of each text end.
    ends: Vec<usize>,
    /// Rows of the vocabulary.
    n_rows: usize,
}

impl Corpus {
    /// Adds a text; its features are rows of the vocabulary in ascending order, with repetitions.
    pub(super) fn push(&mut self, sorted_rows: &[u32]) {
        self.n_rows = self.n_rows.max(sorted_rows.last().map_or(0, |&row| row as usize + 1));
        let share = 1.0 / sorted_rows.len().max(1) as f32;
        let counted = sorted_rows.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as f32 * share));
        self.features.extend(counted);
        self.ends.push(self.features.len());
    }

    /// Bytes held.
    pub(super) fn memory_bytes(&self) -> usize {
        self.features.len() * size_of::<(u32, f32)>() + self.ends.len() * size_of::<usize>()
    }

    fn text(&self, index: usize) -> &[(u32, f32)] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.features[start..self.ends[index]]
    }

    #[inline(always)]
    fn bag(&self, text: usize, member: &Member) -> [f32; MEMBER_DIMENSIONS] {
        let mut bag = [0.0; MEMBER_DIMENSIONS];
        for &(row, share) in self.text(text) {
            add_scaled(&mut bag, &member.table[span(row)], share);
        }
        bag
    }

    /// Passes over the texts that are tried: enough steps for few labels, fewer passes for many and for long texts.
    fn passes(&self) -> Vec<usize> {
        let for_steps = (10_000 / self.ends.len().max(1)).clamp(5, 20);
        let most = (FEATURES_SEEN / self.features.len().max(1)).clamp(3, for_steps);
        let mut passes = vec![most.div_ceil(3), (2 * most).div_ceil(3), most];
        passes.dedup();
        passes
    }
}

/// Trains members on texts of a corpus.
///
/// # Determinism
/// A function of corpus, targets and seed for one instruction set, whatever the number of threads.
///
/// # Source
/// Joulin et al.: Bag of Tricks for Efficient Text Classification, EACL 2017 (the model); Duchi, Hazan, Singer:
/// Adaptive Subgradient Methods, JMLR 2011 (the rule).
#[derive(Debug)]
pub(super) struct MemberTrainer<'a> {
    corpus: &'a Corpus,
    targets: &'a Targets,
    cancel: &'a Cancel,
    passes: Vec<usize>,
}

impl<'a> MemberTrainer<'a> {
    pub(super) fn new(corpus: &'a Corpus, targets: &'a Targets, cancel: &'a Cancel) -> Self {
        Self { corpus, targets, cancel, passes: corpus.passes() }
    }
}

impl Trainable for MemberTrainer<'_> {
    type Model = Member;

    fn passes(&self) -> &[usize] {
        &self.passes
    }

    fn train(
        &self,
        texts: &[usize],
        passes: &[usize],
        seed: u64,
        show: &mut dyn FnMut(&Member) -> Result<()>,
    ) -> Result<Member> {
        let mut training = Training::new(self.corpus, self.targets, seed);
        let mut order = texts.to_vec();
        for pass in 1..=passes.last().copied().unwrap_or_default() {
            order.shuffle(&mut training.random);
            for batch in order.chunks(BATCH_TEXTS) {
                self.cancel.check()?;
                step(&mut training, batch);
            }
            if passes.contains(&pass) {
                show(&training.member)?;
            }
        }
        Ok(training.member)
    }

    fn outputs(&self, member: &Member, texts: &[usize]) -> Result<Vec<f32>> {
        let mut outputs = Vec::with_capacity(texts.len() * self.targets.n_outputs());
        let mut of_text = Vec::new();
        for &text in texts {
            let bag = self.corpus.bag(text, member);
            outputs_of_bag(member, &bag, &mut of_text);
            outputs.extend_from_slice(&of_text);
        }
        Ok(outputs)
    }
}

/// A member in the making.
struct Training<'a> {
    corpus: &'a Corpus,
    targets: &'a Targets,
    random: ChaCha8Rng,
    member: Member,
    /// Sums of squared gradients: for each row of the table their mean over its components, else in the shape of `member`.
    table_squares: Vec<f32>,
    head_squares: Vec<f32>,
    bias_squares: Vec<f32>,
    /// Place of each row of the vocabulary in `touched`; `u32::MAX` outside of a step.
    places: Vec<u32>,
    /// The rows of this step, in the order of first sight, and their gradients.
    touched: Vec<u32>,
    row_gradients: Vec<f32>,
    outputs: Vec<f32>,
    head_gradient: Vec<f32>,
    bias_gradient: Vec<f32>,
}

impl<'a> Training<'a> {
    fn new(corpus: &'a Corpus, targets: &'a Targets, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let most = 1.0 / MEMBER_DIMENSIONS as f32;
        let table = (0..corpus.n_rows * MEMBER_DIMENSIONS).map(|_| random.random_range(-most..most)).collect();
        let head = vec![0.0; MEMBER_DIMENSIONS * targets.n_outputs()];
        let bias = vec![0.0; targets.n_outputs()];
        Self {
            corpus,
            targets,
            random,
            table_squares: vec![0.0; corpus.n_rows],
            head_squares: vec![0.0; head.len()],
            bias_squares: vec![0.0; bias.len()],
            head_gradient: vec![0.0; head.len()],
            bias_gradient: vec![0.0; bias.len()],
            member: Member { table, head, bias },
            places: vec![u32::MAX; corpus.n_rows],
            touched: Vec::new(),
            row_gradients: Vec::new(),
            outputs: Vec::new(),
        }
    }

    #[inline(always)]
    fn step(&mut self, batch: &[usize]) {
        self.differentiate(batch);
        let Member { table, head, bias } = &mut self.member;
        adagrad(head, &mut self.head_squares, &self.head_gradient);
        adagrad(bias, &mut self.bias_squares, &self.bias_gradient);
        for (&row, gradient) in self.touched.iter().zip(self.row_gradients.chunks_exact(MEMBER_DIMENSIONS)) {
            let square = &mut self.table_squares[row as usize];
            *square += mean_square(gradient);
            add_scaled(&mut table[span(row)], gradient, -TABLE_RATE / (square.sqrt() + 1e-8));
        }
    }

    /// Gradients of the mean loss of a batch. A bag is linear in the rows of the table: a row's gradient is the sum of the
    /// bags' gradients by its share in them. No gradient of the whole table is ever made.
    #[inline(always)]
    fn differentiate(&mut self, batch: &[usize]) {
        let n_outputs = self.targets.n_outputs();
        self.touched.clear();
        self.row_gradients.clear();
        self.head_gradient.fill(0.0);
        self.bias_gradient.fill(0.0);
        for &text in batch {
            let mut bag = self.corpus.bag(text, &self.member);
            outputs_of_bag(&self.member, &bag, &mut self.outputs);
            self.targets.differentiate(text, &mut self.outputs);
            for output in &mut self.outputs {
                *output /= batch.len() as f32;
            }
            for (x, gradient) in bag.iter().zip(self.head_gradient.chunks_exact_mut(n_outputs)) {
                add_scaled(gradient, &self.outputs, *x);
            }
            add_scaled(&mut self.bias_gradient, &self.outputs, 1.0);
            for (x, weights) in bag.iter_mut().zip(self.member.head.chunks_exact(n_outputs)) {
                *x = weights.iter().zip(&self.outputs).map(|(weight, output)| weight * output).sum();
            }
            self.add_row_gradients(text, &bag);
        }
        for &row in &self.touched {
            self.places[row as usize] = u32::MAX;
        }
    }

    #[inline(always)]
    fn add_row_gradients(&mut self, text: usize, bag_gradient: &[f32; MEMBER_DIMENSIONS]) {
        for &(row, share) in self.corpus.text(text) {
            let place = &mut self.places[row as usize];
            if *place == u32::MAX {
                *place = self.touched.len() as u32;
                self.touched.push(row);
                self.row_gradients.resize(self.touched.len() * MEMBER_DIMENSIONS, 0.0);
            }
            add_scaled(&mut self.row_gradients[span(*place)], bag_gradient, share);
        }
    }
}

for_this_processor! {
    /// Learns from some of the texts.
    fn step(training: &mut Training<'_>, batch: &[usize]) = step_body
}

#[inline(always)]
fn step_body<const FMA: bool>(training: &mut Training<'_>, batch: &[usize]) {
    training.step(batch);
}

/// Mean of squares: eight sums, and then these.
#[inline(always)]
fn mean_square(values: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for values in values.as_chunks::<8>().0 {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value * value;
        }
    }
    sums.iter().sum::<f32>() / values.len() as f32
}

/// Where a row lies in a table.
#[inline(always)]
fn span(row: u32) -> std::ops::Range<usize> {
    row as usize * MEMBER_DIMENSIONS..(row as usize + 1) * MEMBER_DIMENSIONS
}

#[inline(always)]
fn adagrad(values: &mut [f32], squares: &mut [f32], gradient: &[f32]) {
    for ((value, square), g) in values.iter_mut().zip(squares).zip(gradient) {
        *square += g * g;
        *value -= HEAD_RATE * g / (square.sqrt() + 1e-8);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device, Tensor, Var};
    use candle_nn::ops::log_softmax;

    use super::*;
    use crate::score::Task;

    /// The gradients of a step are those of Candle's autograd.
    #[test]
    fn gradients_are_those_of_autograd() {
        let mut corpus = Corpus::default();
        for rows in [&[0, 0, 1][..], &[1, 2], &[], &[0, 3, 3, 3]] {
            corpus.push(rows);
        }
        let targets = Targets::new(Task::Classes, ["a", "b", "a", "c"].into_iter(), 0.5).unwrap();
        let mut training = Training::new(&corpus, &targets, 3);
        let batch = [0, 1, 2, 3];
        for _ in 0..3 {
            step(&mut training, &batch);
        }
        training.differentiate(&batch);

        let device = &Device::Cpu;
        let table = Var::from_slice(&training.member.table, (4, MEMBER_DIMENSIONS), device).unwrap();
        let head = Var::from_slice(&training.member.head, (MEMBER_DIMENSIONS, 3), device).unwrap();
        let bias = Var::from_slice(&training.member.bias, 3, device).unwrap();
        let mut shares = vec![0.0f32; 16];
        for text in batch {
            for &(row, share) in corpus.text(text) {
                shares[text * 4 + row as usize] = share;
            }
        }
        let shares = Tensor::from_vec(shares, (4, 4), device).unwrap();
        let crate::score::targets::Kind::Classes { of, weights } = &targets.kind else { panic!("classes") };
        let mut wanted = vec![0.0f32; 12];
        for text in batch {
            wanted[text * 3 + of[text]] = -weights[of[text]] / 4.0;
        }
        let wanted = Tensor::from_vec(wanted, (4, 3), device).unwrap();
        let bags = shares.matmul(table.as_tensor()).unwrap();
        let logits = bags.matmul(head.as_tensor()).unwrap().broadcast_add(bias.as_tensor()).unwrap();
        let loss = (log_softmax(&logits, D::Minus1).unwrap() * wanted).unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        let of = |var: &Var| gradients.get(var.as_tensor()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();

        let near = |ours: &[f32], theirs: &[f32]| {
            assert_eq!(ours.len(), theirs.len());
            assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-6), "{ours:?} {theirs:?}");
        };
        near(&training.head_gradient, &of(&head));
        near(&training.bias_gradient, &of(&bias));
        let of_table = of(&table);
        for (&row, gradient) in training.touched.iter().zip(training.row_gradients.chunks_exact(MEMBER_DIMENSIONS)) {
            near(gradient, &of_table[span(row)]);
        }
        assert_eq!(training.touched.len(), 4);
    }
}
