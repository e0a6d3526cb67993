//! When more labels stop paying: measures of two rounds' predictions, rules over rounds, and what they say together.
//!
//! Pure functions of numbers. Rules stop on
//!
//! | rule | measure | stops from |
//! | --- | --- | --- |
//! | `kappa` | Cohen's kappa of successive rounds' predictions on the stop set, mean over 3 rounds | 0.99 up |
//! | `changed-predictions` | share of the stop set whose prediction changed | 0.5 % down |
//! | `uncertainty` | mean normalised entropy over the stop set | below 0.05 |
//! | `accuracy-gain` | gain on the random slices of the last 3 rounds against the 3 before, upper end of the 95 % interval | below 1 % |
//! | `budget` | labelled rows | what there is money for |
//!
//! # Source
//! Bloodgood and Vijay-Shanker 2009 (kappa; 0.99 over 3 models), Zhu et al. 2008 (classification change, overall uncertainty). The stop
//! set is one of random rows, which later rounds may label.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// Rounds that a rule looks at together.
pub const WINDOW: usize = 3;
/// Kappa from which predictions count as stable.
const KAPPA: f64 = 0.99;
/// Share of changed predictions up to which they count as stable.
const CHANGED_RATIO: f64 = 0.005;
/// Mean normalised entropy below which the model is sure.
const ENTROPY: f64 = 0.05;
/// Gain of accuracy that is not worth more labels.
const GAIN: f64 = 0.01;
/// Quantile of the normal distribution for 95 % on both sides.
const Z: f64 = 1.959_963_984_540_054;

/// A number with the ends of its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The number itself.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Right predictions out of some.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Right ones.
    pub right: u64,
    /// All.
    pub of: u64,
}

impl Share {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { right: self.right + other.right, of: self.of + other.of }
    }

    /// Wilson's score interval; `None` of nothing.
    ///
    /// # Source
    /// Wilson 1927; never beyond 0 and 1, and honest for few rows, which the usual normal interval is not.
    pub fn wilson(self) -> Option<Interval> {
        if self.of == 0 {
            return None;
        }
        let n = self.of as f64;
        let share = self.right as f64 / n;
        let squared = Z * Z;
        let middle = (share + squared / (2.0 * n)) / (1.0 + squared / n);
        let half = Z / (1.0 + squared / n) * (share * (1.0 - share) / n + squared / (4.0 * n * n)).sqrt();
        Some(Interval { estimate: share, low: (middle - half).max(0.0), high: (middle + half).min(1.0) })
    }
}

/// How much higher one share is than another; `None` if one is of nothing.
///
/// # Source
/// Newcombe 1998, method 10: the interval of a difference from the two Wilson intervals.
pub fn gain(before: Share, after: Share) -> Option<Interval> {
    let (before, after) = (before.wilson()?, after.wilson()?);
    let estimate = after.estimate - before.estimate;
    let distance = |of: f64, other: f64| of * of + other * other;
    let down = distance(after.estimate - after.low, before.high - before.estimate).sqrt();
    let up = distance(after.high - after.estimate, before.estimate - before.low).sqrt();
    Some(Interval { estimate, low: estimate - down, high: estimate + up })
}

/// Cohen's kappa of two predictions for each row; `None` for no row.
///
/// Agreement beyond what chance makes of how often each label is predicted: 1 is perfect, 0 is chance. Where both predict one and the
/// same label everywhere there is no chance to beat, and it is 1 by definition.
pub fn kappa(pairs: &[(&str, &str)]) -> Option<f64> {
    if pairs.is_empty() {
        return None;
    }
    let n = pairs.len() as f64;
    let mut counts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (first, second) in pairs {
        counts.entry(first).or_default().0 += 1.0;
        counts.entry(second).or_default().1 += 1.0;
    }
    let observed = pairs.iter().filter(|(first, second)| first == second).count() as f64 / n;
    let expected: f64 = counts.values().map(|(first, second)| (first / n) * (second / n)).sum();
    // All of both are one label; short of that, the sum stays clear of 1.
    let is_one_label = counts.len() == 1;
    Some(if is_one_label { 1.0 } else { (observed - expected) / (1.0 - expected) })
}

/// Share of the rows whose two predictions differ; `None` for no row.
pub fn changed_ratio(pairs: &[(&str, &str)]) -> Option<f64> {
    let n_changed = pairs.iter().filter(|(first, second)| first != second).count();
    (!pairs.is_empty()).then(|| n_changed as f64 / pairs.len() as f64)
}

/// Mean of numbers; `None` of none.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Median of numbers; `None` of none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(f64::midpoint(values[last / 2], values[values.len() / 2]))
}

/// What the rules know of one round.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RoundMeasures {
    /// Kappa with the round before.
    pub kappa: Option<f64>,
    /// Share of changed predictions.
    pub changed_ratio: Option<f64>,
    /// Mean normalised entropy.
    pub mean_entropy: Option<f64>,
    /// Predictions on its random slice.
    pub random: Share,
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// What it goes by; `None` while there is too little to go by.
    pub value: Option<f64>,
    /// Where it stops.
    pub threshold: f64,
    /// Whether it says stop.
    pub says_stop: bool,
    /// The same for people.
    pub words: String,
}

/// What each rule says after these rounds, the first one first; `max_labels` is what there is money for.
pub fn rules(rounds: &[RoundMeasures], n_labelled: u64, max_labels: Option<u64>) -> Vec<Rule> {
    let last = rounds.last().copied().unwrap_or_default();
    let mut rules = vec![kappa_rule(rounds), changed_rule(last), uncertainty_rule(last), gain_rule(rounds)];
    rules.extend(max_labels.map(|most| budget_rule(n_labelled, most)));
    rules
}

fn kappa_rule(rounds: &[RoundMeasures]) -> Rule {
    let recent = &rounds[rounds.len().saturating_sub(WINDOW)..];
    let kappas: Vec<f64> = recent.iter().filter_map(|round| round.kappa).collect();
    let value = if kappas.len() == WINDOW { mean(&kappas) } else { None };
    let words = match value {
        Some(kappa) => format!("predictions of the last {WINDOW} rounds agree with kappa {kappa:.3}"),
        None => format!("needs {WINDOW} rounds that can be compared with the one before, there are {}", kappas.len()),
    };
    // The mean of three times 0.99 must not come out below it.
    let says_stop = value.is_some_and(|kappa| KAPPA <= kappa + 1e-9);
    Rule { name: "kappa", value, threshold: KAPPA, says_stop, words }
}

fn changed_rule(last: RoundMeasures) -> Rule {
    let value = last.changed_ratio;
    let words = value.map_or_else(
        || "needs two rounds with predictions".into(),
        |ratio| format!("{:.1} % of the predictions are others than in the round before", 100.0 * ratio),
    );
    let says_stop = value.is_some_and(|ratio| ratio <= CHANGED_RATIO);
    Rule { name: "changed-predictions", value, threshold: CHANGED_RATIO, says_stop, words }
}

fn uncertainty_rule(last: RoundMeasures) -> Rule {
    let value = last.mean_entropy;
    let words = value.map_or_else(
        || "needs a round with predictions".into(),
        |entropy| format!("mean entropy of the predictions is {entropy:.3} of 1"),
    );
    let says_stop = value.is_some_and(|entropy| entropy < ENTROPY);
    Rule { name: "uncertainty", value, threshold: ENTROPY, says_stop, words }
}

/// The gain of the last rounds with a random slice against those before.
fn accuracy_gain(rounds: &[RoundMeasures]) -> Option<Interval> {
    let sliced: Vec<Share> = rounds.iter().map(|round| round.random).filter(|share| 0 < share.of).collect();
    let after = sliced.len().saturating_sub(WINDOW);
    let before = after.saturating_sub(WINDOW);
    let sum = |shares: &[Share]| shares.iter().copied().fold(Share::default(), Share::plus);
    gain(sum(&sliced[before..after]), sum(&sliced[after..]))
}

fn gain_rule(rounds: &[RoundMeasures]) -> Rule {
    let gain = accuracy_gain(rounds);
    let words = gain.map_or_else(
        || format!("needs random slices with labels from before the last {WINDOW} rounds"),
        |gain| {
            let [estimate, low, high] = [gain.estimate, gain.low, gain.high].map(|share| 100.0 * share);
            format!("accuracy on random rows changed by {estimate:+.1} points ({low:+.1} to {high:+.1})")
        },
    );
    let value = gain.map(|gain| gain.high);
    Rule { name: "accuracy-gain", value, threshold: GAIN, says_stop: value.is_some_and(|high| high < GAIN), words }
}

fn budget_rule(n_labelled: u64, most: u64) -> Rule {
    Rule {
        name: "budget",
        value: Some(n_labelled as f64),
        threshold: most as f64,
        says_stop: most <= n_labelled,
        words: format!("{n_labelled} of {most} labels"),
    }
}

/// Whether to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// Whether to stop.
    pub stop: bool,
    /// Why, in a sentence.
    pub why: String,
}

/// What else the advice depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// Rows that no round has handed out, after the last one; `None` before the first.
    pub left_in_pool: Option<u64>,
    /// Rows that were handed out and wait for an answer.
    pub n_open: u64,
    /// Classes that have a label.
    pub n_classes: usize,
}

/// Sums the rules up.
///
/// Money decides, and an empty pool. Else: stop once predictions are stable (`kappa`) and accuracy on random rows does not clearly rise.
/// A model that knows one class is stable and worth nothing.
pub fn advice(rounds: &[RoundMeasures], rules: &[Rule], situation: Situation) -> Advice {
    let says_stop = |name: &str| rules.iter().any(|rule| rule.name == name && rule.says_stop);
    let stop = |why: &str| Advice { stop: true, why: why.into() };
    let go_on = |why: String| Advice { stop: false, why };
    if says_stop("budget") {
        return stop("stop: the budget for labels is used up");
    }
    if 0 < situation.n_open {
        return go_on(format!("go on: label the {} rows that are handed out, and import them", situation.n_open));
    }
    if situation.left_in_pool == Some(0) {
        return stop("stop: every row of the pool was handed out or labelled");
    }
    if situation.n_classes < 2 {
        let n_classes = if situation.n_classes == 0 { "no" } else { "only one" };
        return go_on(format!("go on: {n_classes} class has a label, and there is nothing to tell apart yet"));
    }
    if !says_stop("kappa") {
        let agreeing: BTreeSet<&str> = rules.iter().filter(|rule| rule.says_stop).map(|rule| rule.name).collect();
        let others = if agreeing.is_empty() {
            String::new()
        } else {
            format!(" ({} would stop)", agreeing.into_iter().collect::<Vec<_>>().join(", "))
        };
        return go_on(format!(
            "go on: predictions still change from round to round, or there are too few rounds{others}"
        ));
    }
    match accuracy_gain(rounds) {
        Some(gain) if 0.0 < gain.low => {
            go_on("go on: predictions hardly change, but accuracy on random rows still rises".into())
        }
        _ => stop("stop: predictions hardly change any more, and accuracy on random rows does not clearly rise"),
    }
}
