//! The first look at a pair: what its sketches or its sets say.

use super::edge::{Edge, GreyPair, Method, Similarity};
use super::settings::Gate;
use super::shingle::jaccard;
use super::sketch_table::{self, Glance};

/// What came out of some pairs.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Pairs proven.
    pub(super) edges: Vec<Edge>,
    /// Pairs left open.
    pub(super) grey: Vec<GreyPair>,
    /// Pairs looked at.
    pub(super) n_pairs: u64,
    /// Whether the sketches of a pair leave no doubt, its edge proven or still to be proven.
    pub(super) is_any_clear: bool,
}

impl Findings {
    /// What the sketches say about a pair.
    ///
    /// Of a million rows of one shingle each, a hundred share 32 bits of theirs with another row by chance, and with these most
    /// of the sketch: of small sets, the sets themselves are asked.
    pub(super) fn judge(&mut self, later: u64, earlier: u64, left: &Glance<'_>, right: &Glance<'_>, gate: Gate) {
        self.judge_unless(|| false, later, earlier, left, right, gate);
    }

    /// What the sketches say about a pair, nothing to be kept of it if it `is_known`.
    pub(super) fn judge_unless(
        &mut self,
        is_known: impl FnOnce() -> bool,
        later: u64,
        earlier: u64,
        left: &Glance<'_>,
        right: &Glance<'_>,
        gate: Gate,
    ) {
        self.n_pairs += 1;
        let n_agreeing = left.n_agreeing(right);
        if n_agreeing < gate.refuse_below {
            return;
        }
        self.is_any_clear |= n_agreeing >= gate.accept_from;
        if is_known() {
            return;
        }
        let n_shared_bands = left.n_shared_bands(right);
        if n_agreeing < gate.accept_from || left.is_of_few() || right.is_of_few() {
            return self.grey.push(GreyPair::new(later, earlier, n_shared_bands));
        }
        let similarity = Similarity::new(sketch_table::similarity(n_agreeing));
        self.edges.push(Edge { later, earlier, similarity, method: Method::Estimated, n_shared_bands });
    }

    /// What the sets say about a pair.
    pub(super) fn judge_sets(
        &mut self,
        (later, left): (u64, &Vec<u64>),
        (earlier, right): (u64, &Vec<u64>),
        threshold: f64,
    ) {
        let (n_fewer, n_more) = (left.len().min(right.len()), left.len().max(right.len()));
        if (n_fewer as f64) < threshold * n_more as f64 - 1e-6 {
            return;
        }
        self.n_pairs += 1;
        let similarity = jaccard(left, right);
        if similarity >= threshold {
            let similarity = Similarity::new(similarity);
            self.edges.push(Edge { later, earlier, similarity, method: Method::Exact, n_shared_bands: 0 });
        }
    }
}

/// The least element of both sets (sorted).
pub(super) fn first_shared(left: &[u64], right: &[u64]) -> Option<u64> {
    let (mut l, mut r) = (0, 0);
    while let (Some(&a), Some(&b)) = (left.get(l), right.get(r)) {
        match a.cmp(&b) {
            std::cmp::Ordering::Equal => return Some(a),
            std::cmp::Ordering::Less => l += 1,
            std::cmp::Ordering::Greater => r += 1,
        }
    }
    None
}

/// Length of the prefix of a set that a set at least `threshold` similar to it must reach into with its own.
///
/// A pair of similarity t shares at least `t |x|` elements, so that of the `|x| - ceil(t |x|) + 1` least elements of x at
/// least one is shared and among the as many of y. (Chaudhuri, Ganti, Kaushik 2006; Bayardo, Ma, Srikant 2007.)
pub(super) fn prefix_len(n_elements: usize, threshold: f64) -> usize {
    // What rounding adds to the product must not add an element to the overlap.
    let least_overlap = (threshold * n_elements as f64 - 1e-9).ceil().max(1.0) as usize;
    n_elements - least_overlap.min(n_elements) + usize::from(n_elements > 0)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::band::Bands;
    use super::super::shingle::to_set;
    use super::super::sketch::{Sketch, sketch};
    use super::super::sketch_table::SketchTableWriter;
    use super::*;
    use crate::context::{Cancel, Context, Resources};

    #[test]
    fn pairs_at_the_threshold_share_an_element_of_their_prefixes() {
        let mut random = ChaCha8Rng::seed_from_u64(41);
        let mut n_near = 0;
        for _ in 0..20_000 {
            let n_elements = random.random_range(1..30);
            let mut left: Vec<u64> = (0..n_elements).map(|_| random.random_range(0..100)).collect();
            let mut right: Vec<u64> = left.iter().copied().filter(|_| random.random_bool(0.85)).collect();
            right.push(random.random_range(0..100));
            to_set(&mut left);
            to_set(&mut right);
            let similarity = jaccard(&left, &right);
            // Thresholds that are met exactly are the hard ones.
            for threshold in [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, similarity] {
                if similarity >= threshold && threshold > 0.0 {
                    n_near += 1;
                    let left_prefix = &left[..prefix_len(left.len(), threshold)];
                    let right_prefix = &right[..prefix_len(right.len(), threshold)];
                    let shared = first_shared(left_prefix, right_prefix);
                    assert!(shared.is_some(), "{left:?} {right:?} {threshold}");
                    assert_eq!(shared, first_shared(&left, &right));
                }
            }
        }
        assert!(n_near > 10_000);
        assert_eq!(prefix_len(0, 0.8), 0);
    }

    #[test]
    fn sketches_far_from_the_threshold_are_decided() {
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        let bands = Bands { n_bands: 26, rows_per_band: 8 };
        let gate = Gate { refuse_below: 180, accept_from: 231 };
        let sketches: Vec<Sketch> = [256, 0, 179, 180, 230, 231]
            .map(|n_equal| std::array::from_fn(|slot| if slot < n_equal { slot as u32 } else { slot as u32 + 1 }))
            .into();
        let mut table = SketchTableWriter::new(bands, "test", &context);
        for (row, sketch) in sketches.iter().enumerate() {
            let mut keys = Vec::new();
            bands.push_keys(sketch, &mut keys);
            table.push(row as u64, sketch, &keys, &context).unwrap();
        }
        let table = table.finish(&context).unwrap();
        for (row, expect) in [(1, (0, 0)), (2, (0, 0)), (3, (0, 1)), (4, (0, 1)), (5, (1, 0)), (0, (1, 0))] {
            let mut findings = Findings::default();
            findings.judge(7, 3, &table.get(0).unwrap(), &table.get(row).unwrap(), gate);
            assert_eq!((findings.edges.len(), findings.grey.len(), findings.n_pairs), (expect.0, expect.1, 1), "{row}");
            assert_eq!(findings.is_any_clear, [0, 5].contains(&row));
            let n_shared_bands = ([256, 0, 179, 180, 230, 231][row as usize] / 8).min(26);
            assert!(findings.edges.iter().all(|edge| edge.n_shared_bands == n_shared_bands && edge.later == 7));
            assert!(findings.grey.iter().all(|pair| pair.n_shared_bands() == n_shared_bands && pair.earlier() == 3));
        }
    }

    #[test]
    fn shingles_that_share_32_bits_prove_nothing() {
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        let bands = Bands { n_bands: 26, rows_per_band: 8 };
        let gate = Gate { refuse_below: 180, accept_from: 231 };
        let shared: Vec<u64> = (1..=30u64).map(super::super::shingle::mix).collect();
        for (n_others, is_open) in [(0, true), (15, true), (30, false)] {
            let mut table = SketchTableWriter::new(bands, "test", &context);
            for (row, own) in [0x1111_0000_9e37_79b9u64, 0x2222_0000_9e37_79b9].into_iter().enumerate() {
                let sketch = sketch(&[&[own], &shared[..n_others]].concat());
                let mut keys = Vec::new();
                bands.push_keys(&sketch, &mut keys);
                table.push(row as u64, &sketch, &keys, &context).unwrap();
            }
            let table = table.finish(&context).unwrap();
            let mut findings = Findings::default();
            findings.judge(1, 0, &table.get(1).unwrap(), &table.get(0).unwrap(), gate);
            assert_eq!((findings.grey.len(), findings.edges.len()), (usize::from(is_open), usize::from(!is_open)));
        }
    }
}
