//! Training of one member: Candle differentiates a step, Adagrad changes only the rows that the step has touched.
//!
//! Rate and passes were measured on TREC-6, SUBJ and banking77 with 30 to 5,000 labels: accuracy hardly moves between
//! 5 and 80 passes at this rate, and more passes only make the probabilities too sure. So no label is spent on a
//! hold-out to stop early.

use candle_core::{D, Device, Tensor, Var};
use candle_nn::ops::log_softmax;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ensemble::{MEMBER_DIMENSIONS, Member};
use crate::context::Cancel;
use crate::{Error, Result};

/// Labelled texts of a training step.
const BATCH_TEXTS: usize = 32;
/// Learning rate of Adagrad.
const LEARNING_RATE: f32 = 0.3;

/// Labelled texts as sparse rows over a vocabulary.
#[derive(Debug, Default)]
pub(super) struct Corpus {
    /// Row of the vocabulary and share of the text's features, rows ascending, text after text.
    features: Vec<(u32, f32)>,
    /// Where the features of each text end.
    ends: Vec<usize>,
    /// Class of each text.
    classes: Vec<u32>,
    n_classes: usize,
    n_rows: usize,
}

impl Corpus {
    /// An empty corpus.
    pub(super) fn new(n_rows: usize, n_classes: usize) -> Self {
        Self { n_classes, n_rows, ..Self::default() }
    }

    /// Adds a text; its features are rows of the vocabulary in ascending order, with repetitions.
    pub(super) fn push(&mut self, sorted_rows: &[u32], class: usize) {
        let share = 1.0 / sorted_rows.len().max(1) as f32;
        let counted = sorted_rows.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as f32 * share));
        self.features.extend(counted);
        self.ends.push(self.features.len());
        self.classes.push(class as u32);
    }

    /// Number of texts.
    pub(super) fn len(&self) -> usize {
        self.classes.len()
    }

    /// Bytes held.
    pub(super) fn memory_bytes(&self) -> usize {
        self.features.len() * size_of::<(u32, f32)>() + self.len() * (size_of::<usize>() + size_of::<u32>())
    }

    fn text(&self, index: usize) -> &[(u32, f32)] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.features[start..self.ends[index]]
    }

    /// Weight of each class in the loss: `count^-balance`, scaled to mean 1 over the texts.
    fn class_weights(&self, balance: f64) -> Vec<f32> {
        let mut counts = vec![0.0f64; self.n_classes];
        for &class in &self.classes {
            counts[class as usize] += 1.0;
        }
        let raw: Vec<f64> = counts.iter().map(|count| count.powf(-balance)).collect();
        let mean = raw.iter().zip(&counts).map(|(weight, count)| weight * count).sum::<f64>() / self.len() as f64;
        raw.iter().map(|weight| (weight / mean) as f32).collect()
    }

    /// Passes over the texts: enough steps for few labels, fewer passes for many.
    fn n_epochs(&self) -> usize {
        (10_000 / self.len().max(1)).clamp(5, 20)
    }
}

/// Trains a member on all texts of `corpus`.
///
/// # Determinism
/// A function of corpus and seed for one kind of device and instruction set, whatever the number of threads.
///
/// # Source
/// Joulin et al.: Bag of Tricks for Efficient Text Classification, EACL 2017 (the model); Duchi, Hazan, Singer:
/// Adaptive Subgradient Methods, JMLR 2011 (the rule).
pub(super) fn train_member(
    corpus: &Corpus,
    balance: f64,
    seed: u64,
    device: &Device,
    cancel: &Cancel,
) -> Result<Member> {
    let mut trainer = Trainer::new(corpus, balance, seed);
    let mut order: Vec<usize> = (0..corpus.len()).collect();
    for _ in 0..corpus.n_epochs() {
        order.shuffle(&mut trainer.random);
        for batch in order.chunks(BATCH_TEXTS) {
            cancel.check()?;
            trainer.step(batch, device).map_err(|error| Error::Model(Box::new(error)))?;
        }
    }
    Ok(trainer.member)
}

struct Trainer<'a> {
    corpus: &'a Corpus,
    class_weights: Vec<f32>,
    random: ChaCha8Rng,
    member: Member,
    /// Sums of squared gradients, in the shape of `member`.
    squares: Member,
    /// Place of each row of the vocabulary in `touched`; `u32::MAX` outside of a step.
    places: Vec<u32>,
    /// The rows of this step, in the order of first sight, and their gradients.
    touched: Vec<u32>,
    row_gradients: Vec<f32>,
}

impl<'a> Trainer<'a> {
    fn new(corpus: &'a Corpus, balance: f64, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let most = 1.0 / MEMBER_DIMENSIONS as f32;
        let table = (0..corpus.n_rows * MEMBER_DIMENSIONS).map(|_| random.random_range(-most..most)).collect();
        let head = vec![0.0; MEMBER_DIMENSIONS * corpus.n_classes];
        let bias = vec![0.0; corpus.n_classes];
        let squares = Member {
            table: vec![0.0; corpus.n_rows * MEMBER_DIMENSIONS],
            head: vec![0.0; head.len()],
            bias: vec![0.0; bias.len()],
        };
        Self {
            corpus,
            class_weights: corpus.class_weights(balance),
            random,
            member: Member { table, head, bias },
            squares,
            places: vec![u32::MAX; corpus.n_rows],
            touched: Vec::new(),
            row_gradients: Vec::new(),
        }
    }

    /// One step. The bags are leaves: Candle differentiates head and loss, and since a bag is linear in the rows of the
    /// table, a row's gradient is the sum of the bags' gradients by its share in them. No gradient of the whole table
    /// is ever made.
    fn step(&mut self, batch: &[usize], device: &Device) -> candle_core::Result<()> {
        let n_classes = self.corpus.n_classes;
        let mut bags = vec![0.0f32; batch.len() * MEMBER_DIMENSIONS];
        let mut targets = vec![0.0f32; batch.len() * n_classes];
        for (index, (&text, bag)) in batch.iter().zip(bags.chunks_exact_mut(MEMBER_DIMENSIONS)).enumerate() {
            for &(row, share) in self.corpus.text(text) {
                add_scaled(bag, &self.member.table[span(row)], share);
            }
            let class = self.corpus.classes[text] as usize;
            targets[index * n_classes + class] = -self.class_weights[class] / batch.len() as f32;
        }

        let bags = Var::from_vec(bags, (batch.len(), MEMBER_DIMENSIONS), device)?;
        let head = Var::from_slice(&self.member.head, (MEMBER_DIMENSIONS, n_classes), device)?;
        let bias = Var::from_slice(&self.member.bias, n_classes, device)?;
        let targets = Tensor::from_vec(targets, (batch.len(), n_classes), device)?;
        let logits = bags.matmul(head.as_tensor())?.broadcast_add(bias.as_tensor())?;
        let loss = (log_softmax(&logits, D::Minus1)? * targets)?.sum_all()?;
        let gradients = loss.backward()?;
        let gradient_of = |var: &Var| match gradients.get(var.as_tensor()) {
            Some(gradient) => gradient.flatten_all()?.to_vec1::<f32>(),
            None => Ok(vec![0.0; var.elem_count()]),
        };

        self.update_rows(batch, &gradient_of(&bags)?);
        adagrad(&mut self.member.head, &mut self.squares.head, &gradient_of(&head)?);
        adagrad(&mut self.member.bias, &mut self.squares.bias, &gradient_of(&bias)?);
        Ok(())
    }

    /// Changes the rows of the batch by the gradients of its bags.
    fn update_rows(&mut self, batch: &[usize], bag_gradients: &[f32]) {
        self.touched.clear();
        self.row_gradients.clear();
        for (&text, bag_gradient) in batch.iter().zip(bag_gradients.chunks_exact(MEMBER_DIMENSIONS)) {
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
        for (&row, gradient) in self.touched.iter().zip(self.row_gradients.chunks_exact(MEMBER_DIMENSIONS)) {
            self.places[row as usize] = u32::MAX;
            adagrad(&mut self.member.table[span(row)], &mut self.squares.table[span(row)], gradient);
        }
    }
}

/// Where a row lies in a table.
fn span(row: u32) -> std::ops::Range<usize> {
    row as usize * MEMBER_DIMENSIONS..(row as usize + 1) * MEMBER_DIMENSIONS
}

fn add_scaled(sum: &mut [f32], values: &[f32], scale: f32) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value * scale;
    }
}

fn adagrad(values: &mut [f32], squares: &mut [f32], gradient: &[f32]) {
    for ((value, square), g) in values.iter_mut().zip(squares).zip(gradient) {
        *square += g * g;
        *value -= LEARNING_RATE * g / (square.sqrt() + 1e-8);
    }
}
