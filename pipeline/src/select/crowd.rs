//! What several annotators and a model together say of labelled rows, and how much another answer would tell.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Least weight of an annotator or of the model, and least share of wrong answers of a guess.
const LEAST: f64 = 1e-6;

/// A row with answers of annotators, and what a model says that has not learnt from them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answered {
    /// The row.
    pub(crate) row: u64,
    /// Annotator and class, both by number; an annotator answers once.
    pub(crate) votes: Vec<(usize, usize)>,
    /// Probability of each class.
    pub(crate) probabilities: Vec<f32>,
}

/// What annotators and the model say of a row together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Opinion {
    /// The class that speaks most for itself.
    pub(crate) class: usize,
    /// Annotators who answered.
    pub(crate) n_votes: usize,
    /// How sure they are together of the class, 0 to 1.
    pub(crate) quality: f64,
    /// The less, the more another answer would tell.
    pub(crate) score: f64,
}

/// Annotators and a model, each weighed by how often others agree with them.
///
/// # Source
/// `CROWDLAB` (Goh, Tkachenko, Mueller 2022, arXiv 2210.06812) for weights and consensus, `ActiveLab` (Goh, Mueller 2023, arXiv 2301.11856) for
/// scores: rows with and without answers are of one queue, and how much a row's answers weigh already counts against another one.
/// Where we differ: the model's probabilities are calibrated before, ties of votes that the model does not break go to the rarer
/// class, and then to the first by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Crowd {
    opinions: BTreeMap<u64, Opinion>,
    names: Vec<String>,
    /// Weight of the model, and mean weight of annotators; none before there is an opinion.
    weights: Option<(f64, f64)>,
}

impl Crowd {
    /// Weighs the answers of `n_annotators`, each row having at least one, to questions with these classes.
    pub(crate) fn new(rows: &[Answered], n_annotators: usize, names: Vec<String>) -> Self {
        let n_classes = names.len();
        if rows.is_empty() || n_classes < 2 {
            return Self { names, ..Self::default() };
        }
        let weighed = if rows.iter().all(|row| row.votes.len() == 1) {
            Weighed::alike(rows, n_annotators)
        } else {
            let by_votes = Weighed::new(rows, &majority(rows, n_classes), n_annotators, n_classes);
            let consensus: Vec<usize> = rows
                .iter()
                .zip(&by_votes.consensus)
                .map(|(row, &of_votes)| most_likely(&by_votes.posterior(row, n_classes), of_votes))
                .collect();
            Weighed::new(rows, &consensus, n_annotators, n_classes)
        };
        let mean = weighed.annotators.iter().sum::<f64>() / n_annotators as f64;
        let guess = 1.0 / n_classes as f64;
        let opinion = |(row, &class): (&Answered, &usize)| {
            let quality = weighed.posterior(row, n_classes)[class];
            let weight = weighed.model + row.votes.iter().map(|(who, _)| weighed.annotators[*who]).sum::<f64>();
            let score = (weight * quality + mean * guess) / (weight + mean);
            (row.row, Opinion { class, n_votes: row.votes.len(), quality, score })
        };
        let opinions = rows.iter().zip(&weighed.consensus).map(opinion).collect();
        Self { opinions, names, weights: Some((weighed.model, mean)) }
    }

    /// What is said of a row that has answers.
    pub(super) fn opinion(&self, row: u64) -> Option<&Opinion> {
        self.opinions.get(&row)
    }

    /// Whether no row has answers that say anything.
    pub(super) fn is_empty(&self) -> bool {
        self.opinions.is_empty()
    }

    /// Names of the classes.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Score of a row without an answer, of whose likeliest class the model is as sure as `probability`.
    pub(super) fn unanswered(&self, probability: f32) -> f32 {
        let (model, mean) = self.weights.unwrap_or((1.0, 1.0));
        ((model * f64::from(probability) + mean / self.names.len().max(2) as f64) / (model + mean)) as f32
    }
}

/// Weights, and the class of each row that they follow from.
struct Weighed {
    consensus: Vec<usize>,
    annotators: Vec<f64>,
    model: f64,
    /// How likely an annotator gives the consensus; none where answers do not count as evidence beside the model's.
    right: Option<f64>,
}

impl Weighed {
    /// No row has two answers: nothing tells annotators apart, and the model judges them.
    fn alike(rows: &[Answered], n_annotators: usize) -> Self {
        let consensus = rows.iter().map(|row| row.votes[0].1).collect();
        Self { consensus, annotators: vec![1.0; n_annotators], model: 1.0, right: None }
    }

    fn new(rows: &[Answered], consensus: &[usize], n_annotators: usize, n_classes: usize) -> Self {
        let several: Vec<(&Answered, usize)> =
            rows.iter().zip(consensus.iter().copied()).filter(|(row, _)| 1 < row.votes.len()).collect();
        let n_several = several.len() as f64;
        let mean = |of: &dyn Fn(&Answered, usize) -> f64| {
            several.iter().map(|(row, class)| of(row, *class)).sum::<f64>() / n_several
        };
        let right = mean(&|row, class| {
            row.votes.iter().filter(|(_, vote)| *vote == class).count() as f64 / row.votes.len() as f64
        });
        let mut of_class = vec![0usize; n_classes];
        for (_, class) in &several {
            of_class[*class] += 1;
        }
        let guess_error = (1.0 - of_class.into_iter().max().unwrap_or(0) as f64 / n_several).max(LEAST);
        let weight = |error: f64| (1.0 - error / guess_error).max(LEAST);
        let model_error = mean(&|row, class| f64::from(u8::from(argmax(&row.probabilities) != class)));
        let n_votes = rows.iter().map(|row| row.votes.len()).sum::<usize>() as f64 / rows.len() as f64;
        Self {
            consensus: consensus.to_vec(),
            annotators: errors(&several, n_annotators).into_iter().map(weight).collect(),
            model: weight(model_error) * n_votes.sqrt(),
            right: Some(right),
        }
    }

    /// Probabilities of the classes of a row, by model and annotators.
    fn posterior(&self, row: &Answered, n_classes: usize) -> Vec<f64> {
        let mut posterior: Vec<f64> = row.probabilities.iter().map(|p| self.model * f64::from(*p)).collect();
        let mut total = self.model;
        if let Some(right) = self.right {
            let wrong = (1.0 - right) / (n_classes - 1) as f64;
            for &(who, vote) in &row.votes {
                total += self.annotators[who];
                for (class, sum) in posterior.iter_mut().enumerate() {
                    *sum += self.annotators[who] * if class == vote { right } else { wrong };
                }
            }
        }
        for sum in &mut posterior {
            *sum /= total;
        }
        posterior
    }
}

/// Share of answers of others to the same rows that are not those of an annotator; the mean where there is no other.
fn errors(several: &[(&Answered, usize)], n_annotators: usize) -> Vec<f64> {
    let mut agreed = vec![(0usize, 0usize); n_annotators];
    for (row, _) in several {
        for &(who, vote) in &row.votes {
            let n_same = row.votes.iter().filter(|(_, other)| *other == vote).count() - 1;
            agreed[who].0 += n_same;
            agreed[who].1 += row.votes.len() - 1;
        }
    }
    let error = |(same, of): &(usize, usize)| (0 < *of).then(|| 1.0 - *same as f64 / *of as f64);
    let known: Vec<f64> = agreed.iter().filter_map(error).collect();
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    agreed.iter().map(|one| error(one).unwrap_or(mean)).collect()
}

/// The class that most annotators of each row give; of equals that which the model holds for likelier, then the rarer one.
fn majority(rows: &[Answered], n_classes: usize) -> Vec<usize> {
    let mut votes_of = vec![0usize; n_classes];
    for (_, class) in rows.iter().flat_map(|row| &row.votes) {
        votes_of[*class] += 1;
    }
    let of_row = |row: &Answered| {
        let n_votes = |class: usize| row.votes.iter().filter(|(_, vote)| *vote == class).count();
        let speaks_for = |class: &usize| (n_votes(*class), row.probabilities[*class]);
        (0..n_classes).max_by(|a, b| {
            let ((n_a, p_a), (n_b, p_b)) = (speaks_for(a), speaks_for(b));
            n_a.cmp(&n_b).then(p_a.total_cmp(&p_b)).then(votes_of[*b].cmp(&votes_of[*a])).then(b.cmp(a))
        })
    };
    rows.iter().map(|row| of_row(row).unwrap_or(0)).collect()
}

fn argmax(probabilities: &[f32]) -> usize {
    crate::score::top_two(probabilities)[0]
}

/// The most likely class; `of_votes` if several are.
fn most_likely(posterior: &[f64], of_votes: usize) -> usize {
    let most = posterior.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut best = posterior.iter().enumerate().filter(|(_, p)| p.total_cmp(&most).is_eq()).map(|(class, _)| class);
    match (best.next(), best.next()) {
        (Some(class), None) => class,
        _ => of_votes,
    }
}
