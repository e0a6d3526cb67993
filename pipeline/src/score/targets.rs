//! What a model is to answer for each labelled text, and how wrong an answer is.
//!
//! | task | outputs of the model | loss | its gradient by the outputs |
//! | --- | --- | --- | --- |
//! | classes | a logit for each class | cross-entropy of their softmax, times the weight of the class | `p - y`, times the weight |
//! | multi-label | a logit for each label | cross-entropies of their sigmoids, summed | `p - y` |
//! | regression | the number, less the mean, over the deviation | half of the squared error | `x - y` |

use serde::{Deserialize, Serialize};

use super::Task;
use super::task::{label_list, number};
use crate::{Error, Result};

/// Folds of the labelled texts: each is left out once.
pub(super) const N_FOLDS: usize = 4;

/// The targets of labelled texts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Targets {
    /// Names of the classes or labels, sorted; none in a regression.
    pub(super) names: Vec<String>,
    pub(super) kind: Kind,
}

/// The targets by task.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Class of each text, and the weight of each class.
    Classes { of: Vec<usize>, weights: Vec<f32> },
    /// Labels of each text, ascending.
    MultiLabel { of: Vec<Vec<usize>> },
    /// Numbers, and what is subtracted from them and what they are divided by.
    Regression { of: Vec<f32>, scale: Scale },
}

/// Where numbers lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Scale {
    pub(super) mean: f32,
    pub(super) deviation: f32,
    pub(super) least: f32,
    pub(super) most: f32,
}

impl Targets {
    /// Reads labels; `balance` says how much louder rare classes are: their weight is `count^-balance`, scaled to mean 1
    /// over the texts.
    ///
    /// # Errors
    /// `Error::Config` for a label that the task cannot have.
    pub(super) fn new<'a>(task: Task, labels: impl Iterator<Item = &'a str>, balance: f64) -> Result<Self> {
        match task {
            Task::Classes => {
                let labels: Vec<&str> = labels.collect();
                let names = distinct(labels.iter().map(|&label| label.to_owned()));
                let of: Vec<usize> = labels.iter().map(|label| place(&names, label)).collect();
                let weights = class_weights(&of, names.len(), balance);
                Ok(Self { names, kind: Kind::Classes { of, weights } })
            }
            Task::MultiLabel => {
                let lists: Vec<Vec<String>> = labels.map(label_list).collect();
                let names = distinct(lists.iter().flatten().cloned());
                if names.is_empty() && !lists.is_empty() {
                    return Err(Error::config("every list of labels is empty: there is nothing to learn"));
                }
                let of = lists.iter().map(|list| list.iter().map(|label| place(&names, label)).collect()).collect();
                Ok(Self { names, kind: Kind::MultiLabel { of } })
            }
            Task::Regression => {
                let numbers = labels.map(number).collect::<Result<Vec<f32>>>()?;
                let scale = Scale::of(&numbers);
                let of = numbers.iter().map(|number| (number - scale.mean) / scale.deviation).collect();
                Ok(Self { names: Vec::new(), kind: Kind::Regression { of, scale } })
            }
        }
    }

    /// Whether there is anything to learn: labels, and not one class only.
    pub(super) fn tells_apart(&self) -> bool {
        let is_one_class = matches!(self.kind, Kind::Classes { .. }) && self.names.len() == 1;
        0 < self.len() && !is_one_class
    }

    /// Number of labelled texts.
    pub(super) fn len(&self) -> usize {
        match &self.kind {
            Kind::Classes { of, .. } => of.len(),
            Kind::MultiLabel { of } => of.len(),
            Kind::Regression { of, .. } => of.len(),
        }
    }

    /// Numbers that the model answers with.
    pub(super) fn n_outputs(&self) -> usize {
        self.names.len().max(1)
    }

    /// Turns the outputs for a text into the gradient of its loss by them.
    pub(super) fn differentiate(&self, text: usize, outputs: &mut [f32]) {
        match &self.kind {
            Kind::Classes { of, weights } => {
                let class = of[text];
                softmax(outputs);
                outputs[class] -= 1.0;
                for output in outputs {
                    *output *= weights[class];
                }
            }
            Kind::MultiLabel { of } => {
                for output in &mut *outputs {
                    *output = sigmoid(*output);
                }
                for &label in &of[text] {
                    outputs[label] -= 1.0;
                }
            }
            Kind::Regression { of, .. } => outputs[0] -= of[text],
        }
    }

    /// Loss of outputs for a text, all divided by `temperature`; without weights, so that probabilities are what they say.
    pub(super) fn loss(&self, text: usize, outputs: &[f32], temperature: f64) -> f64 {
        let scaled = |output: f32| f64::from(output) / temperature;
        match &self.kind {
            Kind::Classes { of, .. } => {
                let most = outputs.iter().copied().map(scaled).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = outputs.iter().map(|&output| (scaled(output) - most).exp()).sum();
                most + sum.ln() - scaled(outputs[of[text]])
            }
            Kind::MultiLabel { of } => {
                let all: f64 = outputs.iter().map(|&output| softplus(scaled(output))).sum();
                all - of[text].iter().map(|&label| scaled(outputs[label])).sum::<f64>()
            }
            Kind::Regression { of, .. } => 0.5 * f64::from(outputs[0] - of[text]).powi(2),
        }
    }

    /// Fold of each text: the texts of a class are spread over all of them.
    pub(super) fn folds(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        match &self.kind {
            Kind::Classes { of, .. } => order.sort_by_key(|&text| of[text]),
            Kind::MultiLabel { of } => order.sort_by(|&a, &b| of[a].cmp(&of[b])),
            Kind::Regression { of, .. } => order.sort_by(|&a, &b| of[a].total_cmp(&of[b])),
        }
        let mut folds = vec![0; order.len()];
        for (place, text) in order.into_iter().enumerate() {
            folds[text] = place % N_FOLDS;
        }
        folds
    }

    /// Whether a text's answer can be learned from others: some other text has its class.
    pub(super) fn is_shared(&self) -> Vec<bool> {
        let Kind::Classes { of, weights } = &self.kind else { return vec![true; self.len()] };
        let mut counts = vec![0usize; weights.len()];
        for &class in of {
            counts[class] += 1;
        }
        of.iter().map(|&class| 1 < counts[class]).collect()
    }
}

impl Scale {
    fn of(numbers: &[f32]) -> Self {
        let n = numbers.len().max(1) as f64;
        let mean = numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = numbers.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        let deviation = variance.sqrt() as f32;
        Self {
            mean: mean as f32,
            deviation: if 0.0 < deviation && deviation.is_finite() { deviation } else { 1.0 },
            least: numbers.iter().copied().fold(f32::INFINITY, f32::min),
            most: numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        }
    }
}

fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn place(names: &[String], name: &str) -> usize {
    names.partition_point(|other| other.as_str() < name)
}

fn class_weights(of: &[usize], n_classes: usize, balance: f64) -> Vec<f32> {
    let mut counts = vec![0.0f64; n_classes];
    for &class in of {
        counts[class] += 1.0;
    }
    let raw: Vec<f64> = counts.iter().map(|count| count.powf(-balance)).collect();
    let mean = raw.iter().zip(&counts).map(|(weight, count)| weight * count).sum::<f64>() / of.len().max(1) as f64;
    raw.iter().map(|weight| (weight / mean) as f32).collect()
}

/// Probabilities of logits, in place.
pub(super) fn softmax(logits: &mut [f32]) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for logit in &mut *logits {
        *logit = (*logit - most).exp();
        sum += *logit;
    }
    for logit in logits {
        *logit /= sum;
    }
}

/// Probability of a logit.
pub(super) fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// `ln(1 + e^x)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(task: Task, labels: &[&str]) -> Targets {
        Targets::new(task, labels.iter().copied(), 0.0).unwrap()
    }

    /// The gradients are those of the losses, by central differences.
    #[test]
    fn gradients_are_slopes() {
        for (task, labels) in [
            (Task::Classes, &["a", "b", "c", "a"][..]),
            (Task::MultiLabel, &["a;b", "", "c", "a;b;c"]),
            (Task::Regression, &["0", "2.5", "5", "1"]),
        ] {
            let targets = targets(task, labels);
            for text in 0..labels.len() {
                let outputs: Vec<f32> = (0..targets.n_outputs()).map(|index| 0.7 * index as f32 - 0.4).collect();
                let mut gradient = outputs.clone();
                targets.differentiate(text, &mut gradient);
                for index in 0..outputs.len() {
                    let at = |step: f32| {
                        let mut moved = outputs.clone();
                        moved[index] += step;
                        targets.loss(text, &moved, 1.0)
                    };
                    let slope = (at(0.01) - at(-0.01)) / 0.02;
                    assert!((slope - f64::from(gradient[index])).abs() < 1e-3, "{task:?} {text} {index}");
                }
            }
        }
    }

    #[test]
    fn softmax_by_hand() {
        let mut logits = [0.0, 2.0f32.ln(), 5.0f32.ln()];
        softmax(&mut logits);
        for (p, expect) in logits.iter().zip([0.125, 0.25, 0.625]) {
            assert!((p - expect).abs() < 1e-6, "{p}");
        }
        let mut far = [-1e30, 1e30];
        softmax(&mut far);
        assert_eq!(far.map(f32::to_bits), [0.0f32, 1.0].map(f32::to_bits));
    }

    #[test]
    fn rare_classes_are_louder() {
        let targets = Targets::new(Task::Classes, ["a", "a", "a", "a", "b"].into_iter(), 1.0).unwrap();
        let Kind::Classes { weights, .. } = &targets.kind else { panic!("{targets:?}") };
        assert!((weights[1] / weights[0] - 4.0).abs() < 1e-5, "{weights:?}");
        assert!((4.0 * weights[0] + weights[1] - 5.0).abs() < 1e-5, "{weights:?}");
    }

    #[test]
    fn folds_spread_each_class() {
        let labels: Vec<&str> = (0..40).map(|text| if text % 5 == 0 { "rare" } else { "often" }).collect();
        let targets = targets(Task::Classes, &labels);
        let folds = targets.folds();
        for fold in 0..N_FOLDS {
            let n_of = |name: &str| (0..40).filter(|&text| folds[text] == fold && labels[text] == name).count();
            assert_eq!((n_of("rare"), n_of("often")), (2, 8), "{fold}");
        }
    }

    #[test]
    fn equal_numbers_have_a_scale() {
        let Kind::Regression { of, scale } = targets(Task::Regression, &["3", "3"]).kind else { panic!("numbers") };
        assert_eq!(of, [0.0, 0.0]);
        assert!(scale.deviation > 0.0);
    }

    #[test]
    fn empty_lists_alone_teach_nothing() {
        let error = Targets::new(Task::MultiLabel, ["[]", ""].into_iter(), 0.0).unwrap_err();
        assert!(error.to_string().contains("nothing to learn"), "{error}");
    }
}
