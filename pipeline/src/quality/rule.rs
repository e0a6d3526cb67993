//! The rules, and the rows to compare their choice with.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::order::{key_of, score_of};
use crate::context::Context;
use crate::spill::ExternalSorter;
use crate::{Result, RowSet};

/// Changes the seed for the draw of control rows.
const CONTROL_SEED: u64 = 0x636f_6e74_726f_6c00;

/// Which rows stay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Those whose score is in between, both ends included. Rows without a score go.
    Band {
        /// The least.
        least: f64,
        /// The most.
        most: f64,
    },
    /// A share of the rows. Those without a score come last.
    Share {
        /// 0..=1; rounded to the nearest number of rows.
        ratio: f64,
        /// Which scores are best.
        best: Best,
        /// Which rows make up the share.
        choice: Choice,
    },
}

/// Which scores are best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Best {
    /// The highest.
    Highest,
    /// The lowest.
    Lowest,
}

/// How a share of the rows is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    /// The best; of equal scores the earlier row.
    Top,
    /// Drawn without replacement, each next one with a probability in proportion to `exp(score / temperature)`, or
    /// `exp(-score / temperature)` where the lowest are best.
    ///
    /// # Source
    /// Kool, van Hoof, Welling: Stochastic Beams and Where to Find Them, 2019, section 2: the `k` highest of
    /// `score / temperature` with Gumbel noise are such a draw.
    Gumbel {
        /// Above 0: a high one draws almost at random, a low one takes almost the top.
        temperature: f64,
    },
}

/// Sees the score of every row, then says which stay.
///
/// # Determinism
/// A function of rows, scores and seed, whatever the order they are seen in and the memory.
#[derive(Debug)]
pub struct KeepByScore {
    rule: Rule,
    seed: u64,
    /// Key of the score, best first, and the row.
    by_score: ExternalSorter<(u64, u64)>,
    /// Hash and row.
    by_chance: ExternalSorter<(u64, u64)>,
    n_scored: u64,
}

/// What a rule decided.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// Rows that go.
    pub dropped: RowSet,
    /// As many rows as stay, drawn at random from all that were scored.
    pub control: RowSet,
    /// Rows that stay.
    pub n_kept: u64,
    /// Rows without a score.
    pub n_without_score: u64,
    /// Least score, those that 10, 50 and 90 % of the rows with a score do not exceed, and highest; empty without any.
    pub quantiles: Vec<f64>,
}

impl KeepByScore {
    /// Has seen no row yet.
    pub fn new(rule: Rule, seed: u64, context: &Context) -> Self {
        let sorter = || ExternalSorter::new("scores", &context.budget);
        Self { rule, seed, by_score: sorter(), by_chance: sorter(), n_scored: 0 }
    }

    /// Sees a row.
    pub fn observe(&mut self, row: u64, score: Option<f64>, context: &Context) -> Result<()> {
        let score = score.filter(|score| !score.is_nan());
        self.n_scored += u64::from(score.is_some());
        self.by_score.push((key_of(score.map(|score| self.sign() * score)), row), context)?;
        self.by_chance.push((hash(row, self.seed ^ CONTROL_SEED), row), context)
    }

    /// What a score is multiplied with so that the best is the lowest.
    fn sign(&self) -> f64 {
        if matches!(self.rule, Rule::Share { best: Best::Highest, .. }) { -1.0 } else { 1.0 }
    }

    /// Decides.
    pub fn finish(self, context: &Context) -> Result<Found> {
        let (sign, n_rows, n_scored) = (self.sign(), self.by_score.len(), self.n_scored);
        let mut found = Found { n_without_score: n_rows - n_scored, ..Found::default() };
        let n_share = match self.rule {
            Rule::Band { .. } => 0,
            Rule::Share { ratio, .. } => (ratio * n_rows as f64).round() as u64,
        };
        let told_of = quantile_places(n_scored);
        let mut noisy = ExternalSorter::new("scores", &context.budget);
        for (place, entry) in (0..).zip(self.by_score.finish(context)?) {
            let (key, row) = entry?;
            let signed = score_of(key);
            let n_told = told_of.iter().filter(|&&told| told == place).count();
            found.quantiles.extend(signed.into_iter().flat_map(|signed| std::iter::repeat_n(sign * signed, n_told)));
            match self.rule {
                Rule::Band { least, most } => {
                    found.settle(row, signed.is_some_and(|score| (least..=most).contains(&score)));
                }
                Rule::Share { choice: Choice::Top, .. } => found.settle(row, place < n_share),
                Rule::Share { choice: Choice::Gumbel { temperature }, .. } => {
                    let noise = gumbel(hash(row, self.seed));
                    noisy.push((key_of(signed.map(|signed| signed / temperature - noise)), row), context)?;
                }
            }
        }
        for (place, entry) in (0..).zip(noisy.finish(context)?) {
            found.settle(entry?.1, place < n_share);
        }
        if sign < 0.0 {
            found.quantiles.reverse();
        }
        for entry in self.by_chance.finish(context)?.take(found.n_kept as usize) {
            found.control.insert(entry?.1);
        }
        Ok(found)
    }
}

impl Found {
    fn settle(&mut self, row: u64, stays: bool) {
        if stays {
            self.n_kept += 1;
        } else {
            self.dropped.insert(row);
        }
    }
}

/// Where in `n` sorted numbers the least one is, those that 10, 50 and 90 % do not exceed, and the highest; the same from
/// either end.
fn quantile_places(n: u64) -> Vec<u64> {
    let Some(last) = n.checked_sub(1) else { return Vec::new() };
    let tenth = last / 10;
    vec![0, tenth, last / 2, last - tenth, last]
}

fn hash(row: u64, seed: u64) -> u64 {
    xxh3_64_with_seed(&row.to_le_bytes(), seed)
}

/// A number from the standard Gumbel distribution for a uniform hash.
fn gumbel(hash: u64) -> f64 {
    // In the middle of 2^53 equal parts of 0 to 1: never 0 or 1.
    let uniform = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -(-uniform.ln()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Cancel, Resources};

    fn context(memory_limit_bytes: usize) -> Context {
        Context::new(&Resources { memory_limit_bytes, ..Resources::default() }, Cancel::default()).unwrap()
    }

    fn decide(rule: Rule, seed: u64, scores: &[Option<f64>], context: &Context) -> (Vec<u64>, Found) {
        let mut keep = KeepByScore::new(rule, seed, context);
        for (row, &score) in scores.iter().enumerate() {
            keep.observe(row as u64, score, context).unwrap();
        }
        let found = keep.finish(context).unwrap();
        ((0..scores.len() as u64).filter(|&row| !found.dropped.contains(row)).collect(), found)
    }

    fn share(ratio: f64, best: Best, choice: Choice) -> Rule {
        Rule::Share { ratio, best, choice }
    }

    #[test]
    fn bands_and_shares_are_those_of_a_sort() {
        let context = context(1 << 30);
        let scores = [Some(3.0), None, Some(-1.0), Some(3.0), Some(0.5), Some(f64::NAN), Some(2.0)];
        let check = |rule: Rule, expect: &[u64]| {
            let (kept, found) = decide(rule, 7, &scores, &context);
            assert_eq!(kept, expect, "{rule:?}");
            assert_eq!((found.n_kept, found.control.len()), (expect.len() as u64, expect.len() as u64));
            assert_eq!((found.n_without_score, found.quantiles), (2, vec![-1.0, -1.0, 2.0, 3.0, 3.0]));
        };
        check(Rule::Band { least: 0.5, most: 2.0 }, &[4, 6]);
        check(Rule::Band { least: 5.0, most: 6.0 }, &[]);
        check(share(0.15, Best::Highest, Choice::Top), &[0]);
        check(share(3.0 / 7.0, Best::Highest, Choice::Top), &[0, 3, 6]);
        check(share(3.0 / 7.0, Best::Lowest, Choice::Top), &[2, 4, 6]);
        check(share(6.0 / 7.0, Best::Lowest, Choice::Top), &[0, 1, 2, 3, 4, 6]);
        check(share(1.0, Best::Lowest, Choice::Top), &[0, 1, 2, 3, 4, 5, 6]);
        check(share(0.0, Best::Lowest, Choice::Top), &[]);
        let (kept, found) = decide(share(0.5, Best::Highest, Choice::Top), 0, &[], &context);
        assert!(kept.is_empty() && found == Found::default());
    }

    #[test]
    fn memory_changes_nothing() {
        let scores: Vec<Option<f64>> = (0..200_000u64).map(|row| Some((hash(row, 5) % 1000) as f64)).collect();
        for rule in [
            Rule::Band { least: 100.0, most: 300.0 },
            share(0.3, Best::Highest, Choice::Top),
            share(0.3, Best::Lowest, Choice::Gumbel { temperature: 100.0 }),
        ] {
            let expect = decide(rule, 1, &scores, &context(1 << 30)).1;
            assert_eq!(decide(rule, 1, &scores, &context(1 << 20)).1, expect, "{rule:?}");
        }
    }

    /// Of two rows, one is drawn first with the probability of the formula: 4 standard errors over 20,000 pairs.
    #[test]
    fn draws_are_in_proportion() {
        let context = context(1 << 30);
        for (difference, temperature, best) in
            [(1.0, 1.0, Best::Highest), (2.0, 4.0, Best::Highest), (1.5, 1.0, Best::Lowest), (0.0, 1.0, Best::Lowest)]
        {
            let n_pairs = 20_000u64;
            let mut n_first = 0;
            for pair in 0..n_pairs {
                let rule = share(0.5, best, Choice::Gumbel { temperature });
                let (kept, _) = decide(rule, pair, &[Some(10.0 + difference), Some(10.0)], &context);
                n_first += u64::from(kept == [0]);
            }
            let odds = f64::exp(if best == Best::Highest { difference } else { -difference } / temperature);
            let (found, expect) = (n_first as f64 / n_pairs as f64, odds / (1.0 + odds));
            let error = (expect * (1.0 - expect) / n_pairs as f64).sqrt();
            assert!((found - expect).abs() < 4.0 * error, "{found} and not {expect}");
        }
    }

    /// Control rows are a draw of their own: of 1,000 rows in two halves by score, each half makes up half of them.
    #[test]
    fn control_rows_know_nothing_of_scores() {
        let scores: Vec<Option<f64>> = (0..1000).map(|row| Some(f64::from(row))).collect();
        let n_seeds = 50;
        let mut n_high = 0;
        for seed in 0..n_seeds {
            let (kept, found) = decide(share(0.2, Best::Highest, Choice::Top), seed, &scores, &context(1 << 30));
            assert_eq!(kept, (800..1000).collect::<Vec<u64>>());
            n_high += found.control.iter().filter(|&row| 500 <= row).count();
        }
        let (found, expect) = (n_high as f64 / n_seeds as f64, 100.0);
        let error = (200.0 * 0.25 * 0.8 / n_seeds as f64).sqrt();
        assert!((found - expect).abs() < 4.0 * error, "{found} and not {expect}");
    }
}
