//! A small network over embeddings, and its training by Adam.

#![expect(clippy::inline_always, reason = "a function for some processors is compiled for them with all that it calls")]

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::HeadKind;
use crate::Result;
use crate::context::Cancel;
use crate::processor::for_this_processor;
use crate::score::encoder::product::{View, product};
use crate::score::out_of_fold::Trainable;
use crate::score::saved::Tensors;
use crate::score::targets::Targets;

/// Units of the hidden layer, if there is one.
const HIDDEN_UNITS: usize = 128;
/// Labelled texts of a training step.
const BATCH_TEXTS: usize = 64;
/// Steps after which training may be over; passes are as many as come next to them.
const STEPS: [usize; 6] = [100, 200, 400, 800, 1600, 3200];
/// Learning rate over inputs of length 1, and of the square root of their components.
///
/// At 0.01 for the former steps are too coarse (TREC-6 with `MiniLM`: 0.896 to 0.906), at 0.002 it takes 60 passes.
const RATES: [f32; 2] = [0.005, 0.001];
/// How fast Adam forgets gradients and their squares.
const FORGET: [f32; 2] = [0.9, 0.999];

/// Layers with rectifiers between them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Network {
    layers: Vec<Layer>,
}

/// `weights`: a row for each input; `bias`: one for each output.
#[derive(Debug, Clone, PartialEq)]
struct Layer {
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Network {
    fn new(kind: HeadKind, n_inputs: usize, n_outputs: usize, random: &mut ChaCha8Rng) -> Self {
        let sizes = match kind {
            HeadKind::Linear => vec![n_inputs, n_outputs],
            HeadKind::Mlp => vec![n_inputs, HIDDEN_UNITS, n_outputs],
        };
        let layer = |sizes: &[usize]| {
            let most = 1.0 / (sizes[0] as f32).sqrt();
            let weights = (0..sizes[0] * sizes[1]).map(|_| random.random_range(-most..most)).collect();
            Layer { weights, bias: vec![0.0; sizes[1]] }
        };
        Self { layers: sizes.windows(2).map(layer).collect() }
    }

    /// Number of layers.
    pub(super) fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// Adds the layers of member `index`.
    pub(super) fn save(&self, index: usize, tensors: &mut Tensors) {
        for (number, layer) in self.layers.iter().enumerate() {
            let n_outputs = layer.bias.len();
            let shape = [layer.weights.len() / n_outputs, n_outputs];
            tensors.add(&format!("member.{index}.layer.{number}.weights"), &shape, &layer.weights);
            tensors.add(&format!("member.{index}.layer.{number}.bias"), &[n_outputs], &layer.bias);
        }
    }

    /// Member `index` of a file.
    ///
    /// # Errors
    /// `Error::Corrupt` if layers are missing or do not fit each other.
    pub(super) fn of_saved(
        index: usize,
        n_layers: usize,
        [n_inputs, n_outputs]: [usize; 2],
        tensors: &Tensors,
    ) -> Result<Self> {
        let (mut layers, mut width) = (Vec::with_capacity(n_layers), n_inputs);
        for number in 0..n_layers {
            let (weights, n_columns) = tensors.matrix(&format!("member.{index}.layer.{number}.weights"))?;
            let bias = tensors.vector(&format!("member.{index}.layer.{number}.bias"))?;
            if bias.is_empty() || bias.len() != n_columns || weights.len() != width * n_columns {
                return Err(tensors.corrupt("its layers do not fit each other, or the encoder"));
            }
            width = n_columns;
            layers.push(Layer { weights, bias });
        }
        if width == n_outputs {
            Ok(Self { layers })
        } else {
            Err(tensors.corrupt("it answers with another number of classes than it names"))
        }
    }

    /// Outputs for one input: sums in an order of their own, whatever other inputs there are.
    pub(super) fn outputs(&self, input: &[f32]) -> Vec<f32> {
        let mut values = input.to_vec();
        for (index, layer) in self.layers.iter().enumerate() {
            let mut outputs = layer.bias.clone();
            for (x, weights) in values.iter().zip(layer.weights.chunks_exact(outputs.len())) {
                for (output, weight) in outputs.iter_mut().zip(weights) {
                    *output += x * weight;
                }
            }
            if index + 1 < self.layers.len() {
                rectify(&mut outputs);
            }
            values = outputs;
        }
        values
    }
}

fn rectify(values: &mut [f32]) {
    for value in values {
        *value = value.max(0.0);
    }
}

/// Trains networks on some of the rows of `inputs`.
///
/// # Shape
/// `inputs`: a row of `n_inputs` for each labelled text.
///
/// # Source
/// Kingma, Ba: Adam, ICLR 2015.
#[derive(Debug)]
pub(super) struct NetworkTrainer<'a> {
    kind: HeadKind,
    inputs: &'a [f32],
    n_inputs: usize,
    targets: &'a Targets,
    cancel: &'a Cancel,
    passes: Vec<usize>,
}

impl<'a> NetworkTrainer<'a> {
    pub(super) fn new(
        kind: HeadKind,
        inputs: &'a [f32],
        n_inputs: usize,
        targets: &'a Targets,
        cancel: &'a Cancel,
    ) -> Self {
        let steps_of_pass = targets.len().div_ceil(BATCH_TEXTS).max(1);
        let mut passes: Vec<usize> = STEPS.iter().map(|steps| steps.div_ceil(steps_of_pass)).collect();
        passes.dedup();
        Self { kind, inputs, n_inputs, targets, cancel, passes }
    }

    fn input(&self, text: usize) -> &'a [f32] {
        &self.inputs[text * self.n_inputs..][..self.n_inputs]
    }
}

impl Trainable for NetworkTrainer<'_> {
    type Model = Network;

    fn passes(&self) -> &[usize] {
        &self.passes
    }

    fn train(
        &self,
        texts: &[usize],
        passes: &[usize],
        seed: u64,
        show: &mut dyn FnMut(&Network) -> Result<()>,
    ) -> Result<Network> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let rate = match self.kind {
            HeadKind::Linear => RATES[0],
            HeadKind::Mlp => RATES[1],
        };
        let network = Network::new(self.kind, self.n_inputs, self.targets.n_outputs(), &mut random);
        let mut training =
            Training { adam: network.layers.iter().map(AdamLayer::new).collect(), network, rate, n_steps: 0 };
        let mut order = texts.to_vec();
        for pass in 1..=passes.last().copied().unwrap_or_default() {
            order.shuffle(&mut random);
            for batch in order.chunks(BATCH_TEXTS) {
                self.cancel.check()?;
                training.step(self, batch);
            }
            if passes.contains(&pass) {
                show(&training.network)?;
            }
        }
        Ok(training.network)
    }

    fn outputs(&self, network: &Network, texts: &[usize]) -> Result<Vec<f32>> {
        Ok(texts.iter().flat_map(|&text| network.outputs(self.input(text))).collect())
    }
}

/// A network in the making.
struct Training {
    network: Network,
    adam: Vec<AdamLayer>,
    rate: f32,
    n_steps: i32,
}

impl Training {
    fn step(&mut self, trainer: &NetworkTrainer<'_>, batch: &[usize]) {
        let gradients = gradients(&self.network, trainer, batch);
        self.n_steps += 1;
        for ((layer, adam), gradient) in self.network.layers.iter_mut().zip(&mut self.adam).zip(&gradients) {
            adam.weights.update(&mut layer.weights, &gradient.weights, self.rate, self.n_steps);
            adam.bias.update(&mut layer.bias, &gradient.bias, self.rate, self.n_steps);
        }
    }
}

/// Gradients of the mean loss of a batch, in the shape of the layers.
fn gradients(network: &Network, trainer: &NetworkTrainer<'_>, batch: &[usize]) -> Vec<Layer> {
    let n_rows = batch.len();
    // What goes into each layer, and what comes out of the last one.
    let mut inputs = Vec::with_capacity(n_rows * trainer.n_inputs);
    for &text in batch {
        inputs.extend_from_slice(trainer.input(text));
    }
    let mut values = vec![inputs];
    for (index, layer) in network.layers.iter().enumerate() {
        let (input, width) = (&values[index], layer.bias.len());
        let n_inputs = input.len() / n_rows;
        let mut outputs = vec![0.0; n_rows * width];
        product(
            [n_rows, n_inputs, width],
            (input, View::rows(n_inputs)),
            (&layer.weights, View::rows(width)),
            (&mut outputs, View::rows(width)),
        );
        for row in outputs.chunks_exact_mut(width) {
            for (output, bias) in row.iter_mut().zip(&layer.bias) {
                *output += bias;
            }
        }
        if index + 1 < network.layers.len() {
            rectify(&mut outputs);
        }
        values.push(outputs);
    }
    let mut slopes = values.pop().unwrap_or_default();
    for (&text, row) in batch.iter().zip(slopes.chunks_exact_mut(trainer.targets.n_outputs())) {
        trainer.targets.differentiate(text, row);
        for slope in row {
            *slope /= n_rows as f32;
        }
    }
    let mut gradients = Vec::with_capacity(network.layers.len());
    for (index, (layer, input)) in network.layers.iter().zip(&values).enumerate().rev() {
        let (width, n_inputs) = (layer.bias.len(), input.len() / n_rows);
        let mut weights = vec![0.0; layer.weights.len()];
        let turned = |width| View { start: 0, row_stride: 1, column_stride: width };
        product(
            [n_inputs, n_rows, width],
            (input, turned(n_inputs)),
            (&slopes, View::rows(width)),
            (&mut weights, View::rows(width)),
        );
        let mut bias = vec![0.0; width];
        for row in slopes.chunks_exact(width) {
            for (sum, slope) in bias.iter_mut().zip(row) {
                *sum += slope;
            }
        }
        gradients.push(Layer { weights, bias });
        if index == 0 {
            // Embeddings do not learn.
            break;
        }
        let mut before = vec![0.0; input.len()];
        product(
            [n_rows, width, n_inputs],
            (&slopes, View::rows(width)),
            (&layer.weights, turned(width)),
            (&mut before, View::rows(n_inputs)),
        );
        for (slope, value) in before.iter_mut().zip(input) {
            if *value <= 0.0 {
                *slope = 0.0;
            }
        }
        slopes = before;
    }
    gradients.reverse();
    gradients
}

struct AdamLayer {
    weights: Moments,
    bias: Moments,
}

impl AdamLayer {
    fn new(layer: &Layer) -> Self {
        Self { weights: Moments::new(layer.weights.len()), bias: Moments::new(layer.bias.len()) }
    }
}

/// Means of gradients and of their squares.
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Moments {
    fn new(length: usize) -> Self {
        Self { first: vec![0.0; length], second: vec![0.0; length] }
    }

    fn update(&mut self, values: &mut [f32], gradient: &[f32], rate: f32, n_steps: i32) {
        let [keep, keep_square] = FORGET;
        let rate = rate / (1.0 - keep.powi(n_steps));
        let scale = 1.0 / (1.0 - keep_square.powi(n_steps));
        move_values(values, gradient, &mut self.first, &mut self.second, [rate, scale]);
    }
}

for_this_processor! {
    /// Moves each value against its mean gradient.
    fn move_values(
        values: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
        rates: [f32; 2]
    ) = move_each
}

#[inline(always)]
fn move_each<const FUSED: bool>(
    values: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    [rate, scale]: [f32; 2],
) {
    let [keep, keep_square] = FORGET;
    for ((value, g), (first, second)) in values.iter_mut().zip(gradient).zip(first.iter_mut().zip(second)) {
        *first = keep * *first + (1.0 - keep) * g;
        *second = keep_square * *second + (1.0 - keep_square) * g * g;
        *value -= rate * *first / ((*second * scale).sqrt() + 1e-8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Task;

    /// The gradients are the slopes of the mean loss, by central differences.
    #[test]
    fn gradients_are_slopes() {
        let inputs: Vec<f32> = (0..8).map(|index| (index as f32 * 1.7).sin()).collect();
        for (task, labels) in
            [(Task::Classes, ["a", "b"]), (Task::MultiLabel, ["a;b", "c"]), (Task::Regression, ["1", "4.5"])]
        {
            let targets = Targets::new(task, labels.into_iter(), 0.0).unwrap();
            let cancel = Cancel::default();
            for kind in [HeadKind::Linear, HeadKind::Mlp] {
                let trainer = NetworkTrainer::new(kind, &inputs, 4, &targets, &cancel);
                let mut random = ChaCha8Rng::seed_from_u64(5);
                let network = Network::new(kind, 4, targets.n_outputs(), &mut random);
                let loss = |network: &Network| {
                    (0..2).map(|text| targets.loss(text, &network.outputs(trainer.input(text)), 1.0)).sum::<f64>() / 2.0
                };
                let gradients = gradients(&network, &trainer, &[0, 1]);
                for (index, gradient) in gradients.iter().enumerate() {
                    let n_weights = gradient.weights.len();
                    for place in (0..n_weights + gradient.bias.len()).step_by(7) {
                        let at = |step: f32| {
                            let mut moved = network.clone();
                            let layer = &mut moved.layers[index];
                            match place.checked_sub(n_weights) {
                                None => layer.weights[place] += step,
                                Some(place) => layer.bias[place] += step,
                            }
                            loss(&moved)
                        };
                        let slope = (at(0.003) - at(-0.003)) / 0.006;
                        let ours = place
                            .checked_sub(n_weights)
                            .map_or_else(|| gradient.weights[place], |place| gradient.bias[place]);
                        assert!(
                            (slope - f64::from(ours)).abs() < 3e-3,
                            "{task:?} {kind:?} {index} {place}: {slope} {ours}"
                        );
                    }
                }
            }
        }
    }
}
