//! How well a scorer agrees with those who labelled, by its answers about texts that it has not learnt from.

use serde::{Deserialize, Serialize};

use super::targets::{Kind, Targets};

/// Agreement of answers out of fold with the labels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "task")]
pub enum Agreement {
    /// One class of several.
    Classes {
        /// Share of the texts whose class is the likeliest one; one that is alone with its class cannot be right.
        accuracy: f64,
        /// The same if the answer were always the most frequent class.
        majority: f64,
    },
    /// Any number of labels.
    MultiLabel {
        /// F1 over all labels of all texts, a label being given from a probability of 0.5 on.
        micro_f1: f64,
    },
    /// Numbers.
    Regression {
        /// Rank correlation.
        spearman: f64,
        /// Share of the variance that is explained; negative if the mean would be nearer.
        r2: f64,
        /// Mean absolute error, in the labels' unit.
        mean_absolute_error: f64,
    },
}

impl Agreement {
    /// Of texts of `targets` and the outputs for each; `None` without a text.
    pub(super) fn new(targets: &Targets, answers: &[(usize, Vec<f32>)]) -> Option<Self> {
        if answers.is_empty() {
            return None;
        }
        let n = answers.len() as f64;
        Some(match &targets.kind {
            Kind::Classes { of, weights } => {
                let mut counts = vec![0usize; weights.len()];
                for &class in of {
                    counts[class] += 1;
                }
                let most = counts.into_iter().max().unwrap_or_default();
                let n_right = answers.iter().filter(|(text, outputs)| super::top_two(outputs)[0] == of[*text]).count();
                let n = of.len() as f64;
                Self::Classes { accuracy: n_right as f64 / n, majority: most as f64 / n }
            }
            Kind::MultiLabel { of } => {
                let (mut n_both, mut n_given, mut n_said) = (0, 0, 0);
                for (text, outputs) in answers {
                    let said = outputs.iter().enumerate().filter(|(_, output)| 0.0 <= **output).map(|(label, _)| label);
                    for label in said {
                        n_said += 1;
                        n_both += usize::from(of[*text].contains(&label));
                    }
                    n_given += of[*text].len();
                }
                Self::MultiLabel { micro_f1: 2.0 * n_both as f64 / ((n_given + n_said) as f64).max(1.0) }
            }
            Kind::Regression { of, scale } => {
                let number = |x: f32| f64::from(x * scale.deviation + scale.mean);
                let (least, most) = (f64::from(scale.least), f64::from(scale.most));
                let given: Vec<f64> = answers.iter().map(|(text, _)| number(of[*text])).collect();
                let said: Vec<f64> = answers.iter().map(|(_, outputs)| number(outputs[0]).clamp(least, most)).collect();
                let mean = given.iter().sum::<f64>() / n;
                let unexplained: f64 = given.iter().zip(&said).map(|(a, b)| (a - b).powi(2)).sum();
                let variance: f64 = given.iter().map(|a| (a - mean).powi(2)).sum();
                Self::Regression {
                    spearman: correlation(&ranks(&given), &ranks(&said)),
                    r2: if 0.0 < variance { 1.0 - unexplained / variance } else { 0.0 },
                    mean_absolute_error: given.iter().zip(&said).map(|(a, b)| (a - b).abs()).sum::<f64>() / n,
                }
            }
        })
    }
}

/// Ranks of values, from 0; equal ones share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for same in order.chunk_by(|&a, &b| values[a].total_cmp(&values[b]).is_eq()) {
        let rank = first as f64 + (same.len() - 1) as f64 / 2.0;
        for &index in same {
            ranks[index] = rank;
        }
        first += same.len();
    }
    ranks
}

/// Pearson's correlation; 0 if either does not vary.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let both: f64 = a.iter().zip(b).map(|(x, y)| (x - mean_a) * (y - mean_b)).sum();
    let square = |values: &[f64], mean: f64| values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    let scale = (square(a, mean_a) * square(b, mean_b)).sqrt();
    if 0.0 < scale { both / scale } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Task;

    fn agreement(task: Task, labels: &[&str], outputs: &[&[f32]]) -> Agreement {
        let targets = Targets::new(task, labels.iter().copied(), 0.0).unwrap();
        let answers: Vec<(usize, Vec<f32>)> = outputs.iter().map(|row| row.to_vec()).enumerate().collect();
        Agreement::new(&targets, &answers).unwrap()
    }

    fn near(got: &[f64], expect: &[f64]) {
        assert!(got.iter().zip(expect).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}, not {expect:?}");
    }

    #[test]
    fn by_hand() {
        let classes: &[&[f32]] = &[&[2.0, 1.0], &[0.0, 1.0], &[0.0, 3.0], &[1.0, 0.5]];
        let Agreement::Classes { accuracy, majority } = agreement(Task::Classes, &["a", "b", "b", "b"], classes) else {
            panic!("classes")
        };
        near(&[accuracy, majority], &[0.75, 0.75]);

        let labels: &[&[f32]] = &[&[1.0, -1.0], &[1.0, 1.0], &[-1.0, -1.0]];
        let Agreement::MultiLabel { micro_f1 } = agreement(Task::MultiLabel, &["a", "b", "a;b"], labels) else {
            panic!("labels")
        };
        // Given 4, said 3, both 2.
        near(&[micro_f1], &[4.0 / 7.0]);

        // Mean 2, deviation sqrt(2.5): outputs are in these units.
        let deviation = 2.5f32.sqrt();
        let output = |number: f32| [(number - 2.0) / deviation];
        let said = [0.0, 1.0, 1.0, 5.0].map(output);
        let rows: Vec<&[f32]> = said.iter().map(<[f32; 1]>::as_slice).collect();
        let Agreement::Regression { spearman, r2, mean_absolute_error } =
            agreement(Task::Regression, &["0", "2", "2", "4"], &rows)
        else {
            panic!("numbers")
        };
        // Deviation of 0, 2, 2, 4 is sqrt(2): outputs of another scale are other numbers.
        let factor = f64::from(2.0f32.sqrt() / deviation);
        let numbers = [0.0, 1.0, 1.0, 5.0].map(|x: f64| ((x - 2.0) * factor + 2.0).clamp(0.0, 4.0));
        let errors: Vec<f64> = numbers.iter().zip([0.0, 2.0, 2.0, 4.0]).map(|(a, b)| (a - b).abs()).collect();
        near(
            &[spearman, r2, mean_absolute_error],
            &[1.0, 1.0 - errors.iter().map(|e| e * e).sum::<f64>() / 8.0, errors.iter().sum::<f64>() / 4.0],
        );
    }

    #[test]
    fn ranks_are_shared() {
        near(&ranks(&[3.0, 1.0, 3.0, 2.0]), &[2.5, 0.0, 2.5, 1.0]);
        near(&[correlation(&[1.0, 1.0], &[0.0, 5.0]), correlation(&[0.0, 1.0, 2.0], &[4.0, 2.0, 0.0])], &[0.0, -1.0]);
    }
}
