//! Each strategy against a reference that compares every row with every other one, in double precision.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::clusters::typicalities;
use super::{Pool, Proposal, acquire};
use crate::context::{Cancel, Context, Resources};
use crate::points::{Points, squared_distance};
use crate::select::Strategy;
use crate::select::candidates::Candidate;

const DIMENSIONS: usize = 6;
const N_CLASSES: usize = 4;

struct Made {
    rows: Vec<Candidate>,
    values: Vec<f32>,
    probabilities: Vec<f32>,
    labelled: Vec<f32>,
    least_weight: f32,
}

impl Made {
    /// Rows around a few centers, each of length 1.
    fn new(n: usize, n_labelled: usize, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let centers: Vec<[f32; DIMENSIONS]> =
            (0..7).map(|_| std::array::from_fn(|_| random.random_range(-1.0..1.0))).collect();
        let vector = |random: &mut ChaCha8Rng| {
            let center = centers[random.random_range(0..7usize)];
            let raw: [f32; DIMENSIONS] = std::array::from_fn(|d| center[d] + random.random_range(-0.4..0.4));
            let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
            raw.map(|x| x / length)
        };
        let values = (0..n).flat_map(|_| vector(&mut random)).collect();
        let labelled = (0..n_labelled).flat_map(|_| vector(&mut random)).collect();
        let mut probabilities = Vec::new();
        let rows = (0..n as u64)
            .map(|row| {
                let weights: [f32; N_CLASSES] = std::array::from_fn(|_| random.random_range(0.01f32..1.0).powi(3));
                let sum: f32 = weights.iter().sum();
                let mut sorted = weights.map(|weight| weight / sum);
                probabilities.extend(sorted);
                sorted.sort_by(|a, b| b.total_cmp(a));
                let value = sorted[0] - sorted[1];
                let key = random.random();
                Candidate { order: value, key, row, stratum: 0, cluster: row, value, weight: 1.0, best_classes: [0; 2] }
            })
            .collect();
        Self { rows, values, probabilities, labelled, least_weight: 0.0 }
    }

    fn pool(&self) -> Pool<'_> {
        Pool {
            rows: &self.rows,
            points: Points::new(&self.values, DIMENSIONS),
            probabilities: &self.probabilities,
            labelled: Points::new(&self.labelled, DIMENSIONS),
            least_weight: self.least_weight,
        }
    }

    fn acquire(&self, strategy: Strategy, n: usize, is_out: impl Fn(usize) -> bool) -> Vec<Proposal> {
        let context = Context::new(&Resources { n_threads: 2, ..Resources::default() }, Cancel::default()).unwrap();
        let mut admit = |index: usize| !is_out(index);
        acquire(strategy, self.pool(), n, 9, &mut admit, &context).unwrap()
    }

    fn point(&self, index: usize) -> Vec<f64> {
        self.values[index * DIMENSIONS..][..DIMENSIONS].iter().map(|&x| f64::from(x)).collect()
    }

    fn labelled_points(&self) -> Vec<Vec<f64>> {
        let rows = self.labelled.chunks_exact(DIMENSIONS);
        rows.map(|row| row.iter().map(|&x| f64::from(x)).collect()).collect()
    }

    fn n(&self) -> usize {
        self.rows.len()
    }
}

fn squared(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum()
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Rows that no strategy may choose here.
fn is_out(index: usize) -> bool {
    index % 11 == 3
}

/// Greedy choice of `n` rows by a value of the set of points, looked at anew for every row.
fn greedy(made: &Made, n: usize, value: impl Fn(&[Vec<f64>]) -> f64) -> Vec<usize> {
    let mut set = made.labelled_points();
    let mut chosen = Vec::new();
    for _ in 0..n {
        let of = |index: usize| {
            let mut with = set.clone();
            with.push(made.point(index));
            value(&with)
        };
        let left = (0..made.n()).filter(|index| !chosen.contains(index) && !is_out(*index));
        let best = left.map(|index| (of(index), index)).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1;
        set.push(made.point(best));
        chosen.push(best);
    }
    chosen
}

fn indices(proposals: &[Proposal]) -> Vec<usize> {
    proposals.iter().map(|proposal| proposal.index).collect()
}

#[test]
fn facility_location_is_the_greedy_one() {
    for (n_labelled, seed) in [(0, 1), (5, 2)] {
        let made = Made::new(60, n_labelled, seed);
        let total = |set: &[Vec<f64>]| {
            (0..made.n())
                .map(|index| set.iter().map(|one| inner(one, &made.point(index))).fold(0.0, f64::max))
                .sum::<f64>()
        };
        let found = made.acquire(Strategy::FacilityLocation, 8, is_out);
        assert_eq!(indices(&found), greedy(&made, 8, total), "60 rows: all are among the 64 most similar ones");
        assert!(found.is_sorted_by(|a, b| a.score >= b.score), "gains diminish");

        let stochastic = made.acquire(Strategy::StochasticFacilityLocation, 8, is_out);
        let value = |found: &[Proposal]| {
            let mut set = made.labelled_points();
            set.extend(found.iter().map(|one| made.point(one.index)));
            total(&set)
        };
        assert!(0.9 * value(&found) < value(&stochastic), "near to the best");
        assert!(stochastic.iter().all(|one| !is_out(one.index)) && stochastic.len() == 8);
    }
}

#[test]
fn herding_is_the_greedy_one() {
    for (n_labelled, seed, least_weight) in [(0, 3, 0.0), (6, 4, 0.0), (6, 4, 0.5)] {
        let made = Made { least_weight, ..Made::new(150, n_labelled, seed) };
        let weight = |unsure: f64| f64::from(least_weight) + f64::from(1.0 - least_weight) * unsure;
        let labelled = made.labelled_points();
        let pairs = (0..labelled.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        let least = pairs.map(|(a, b)| squared(&labelled[a], &labelled[b])).fold(f64::INFINITY, f64::min);
        let radius = if least.is_finite() { least } else { 1.0 };
        let total = |set: &[Vec<f64>]| {
            (0..made.n())
                .map(|index| {
                    let kernel = |one: &Vec<f64>| (-squared(one, &made.point(index)) / radius).exp();
                    weight(1.0 - f64::from(made.rows[index].value)) * set.iter().map(kernel).fold(0.0, f64::max)
                })
                .sum::<f64>()
        };
        let found = made.acquire(Strategy::Uherding, 12, is_out);
        assert_eq!(indices(&found), greedy(&made, 12, total));
    }
}

#[test]
fn k_center_takes_the_farthest() {
    for (n_labelled, seed) in [(0, 5), (4, 6)] {
        let made = Made::new(200, n_labelled, seed);
        let found = made.acquire(Strategy::KCenter, 10, is_out);
        let mut set = made.labelled_points();
        for (place, one) in found.iter().enumerate() {
            let nearest = |index: usize| {
                set.iter().map(|other| squared(other, &made.point(index))).fold(f64::INFINITY, f64::min).sqrt()
            };
            if set.is_empty() {
                let first = (0..made.n()).filter(|&index| !is_out(index)).min_by_key(|&index| made.rows[index].key);
                assert_eq!((place, Some(one.index)), (0, first));
            } else {
                let farthest = (0..made.n()).filter(|&index| !is_out(index)).map(nearest).fold(0.0, f64::max);
                assert!((nearest(one.index) - farthest).abs() < 1e-5, "{place}");
                assert!((one.score - farthest).abs() < 1e-5, "{place}");
            }
            set.push(made.point(one.index));
        }
        assert_eq!(found.len(), 10);
    }
}

/// To the bit what a look at all distances finds, with many that are equal, and far from the origin, where products say little of them.
#[test]
fn k_center_is_the_farthest_to_the_bit() {
    for (n_labelled, origin, step) in [
        (0, 0.0f32, 1.0f32),
        (40, 0.0, 1.0),
        (40, 1000.0, 0.25),
        (40, 0.0, 1e-20),
        (40, 0.0, 1e-22),
        (40, 0.0, 1e-23),
        (40, 0.0, 1e19),
    ] {
        let mut made = Made::new(500, n_labelled, 14);
        for x in made.values.iter_mut().chain(&mut made.labelled) {
            *x = origin + step * (*x * 3.0).round();
        }
        let labelled = made.labelled.chunks_exact(DIMENSIONS);
        let mut centers: Vec<&[f32]> = labelled.collect();
        let mut left: Vec<usize> = (0..made.n()).filter(|&index| !is_out(index)).collect();
        for found in made.acquire(Strategy::KCenter, 30, is_out) {
            let point = |index: usize| &made.values[index * DIMENSIONS..][..DIMENSIONS];
            let nearest = |index: usize| {
                centers.iter().map(|center| squared_distance(point(index), center)).fold(f32::INFINITY, f32::min)
            };
            let place = |&index: &usize| (nearest(index), std::cmp::Reverse(made.rows[index].key));
            let next = left.iter().copied().max_by(|a, b| {
                let ((a, a_key), (b, b_key)) = (place(a), place(b));
                a.total_cmp(&b).then(a_key.cmp(&b_key))
            });
            let distance = f64::from(nearest(found.index));
            assert_eq!(Some(found.index), next, "{n_labelled} {origin} {step}");
            let score: f64 = if distance.is_finite() { distance.sqrt() } else { 0.0 };
            assert_eq!(found.score.to_bits(), score.to_bits());
            left.retain(|&index| index != found.index);
            centers.push(point(found.index));
        }
        assert_eq!(centers.len(), n_labelled + 30);
    }
}

/// To the bit, among rows that lie close to each other, and far from the origin; the point itself is not its own neighbor.
#[test]
fn typicality_is_that_of_the_nearest_to_the_bit() {
    let context = Context::new(&Resources { n_threads: 2, ..Resources::default() }, Cancel::default()).unwrap();
    for (n, origin, step) in [
        (1, 0.0f32, 1.0f32),
        (2, 0.0, 1.0),
        (41, 0.0, 1.0),
        (300, 50.0, 0.01),
        (2100, 0.0, 0.1),
        (60, 0.0, 1e19),
        (60, 0.0, 4e19),
        (60, 0.0, 1e-22),
    ] {
        let mut made = Made::new(n, 0, 15);
        made.values.iter_mut().for_each(|x| *x = origin + step * *x);
        let points = Points::new(&made.values, DIMENSIONS);
        let expect = (0..n).map(|index| {
            let others = (0..n.min(2048)).filter(|&other| other != index);
            let mut distances: Vec<f32> =
                others.map(|other| squared_distance(points.get(index), points.get(other))).collect();
            distances.sort_by(f32::total_cmp);
            distances.truncate((n / 2).clamp(1, 20));
            let sum: f64 = distances.iter().map(|&distance| f64::from(distance).sqrt()).sum();
            if distances.is_empty() { 0.0 } else { 1.0 / (sum / distances.len() as f64 + 1e-5) }
        });
        let bits = |typicality: f64| typicality.to_bits();
        let found: Vec<u64> = typicalities(points, &context).unwrap().into_iter().map(bits).collect();
        assert_eq!(found, expect.map(bits).collect::<Vec<_>>(), "{n} {origin} {step}");
    }
}

/// The gradients are made, and k-means++ draws with the same numbers.
#[test]
fn badge_is_k_means_plus_plus_over_gradients() {
    let made = Made::new(300, 0, 7);
    let gradient = |index: usize| {
        let p = &made.probabilities[index * N_CLASSES..][..N_CLASSES];
        let best = (0..N_CLASSES).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap();
        let of_class = |class: usize| f64::from(p[class]) - f64::from(u8::from(class == best));
        (0..N_CLASSES)
            .flat_map(|class| made.point(index).into_iter().map(move |x| (class, x)))
            .map(|(class, x)| of_class(class) * x)
            .collect::<Vec<f64>>()
    };
    let gradients: Vec<Vec<f64>> = (0..made.n()).map(gradient).collect();
    let mut order: Vec<usize> = (0..made.n()).collect();
    order.sort_by_key(|&index| made.rows[index].key);
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut expect: Vec<usize> = Vec::new();
    let mut seen: Vec<usize> = Vec::new();
    while expect.len() < 15 {
        let weight = |index: usize| match expect.as_slice() {
            [] => inner(&gradients[index], &gradients[index]),
            chosen => {
                chosen.iter().map(|&one| squared(&gradients[one], &gradients[index])).fold(f64::INFINITY, f64::min)
            }
        };
        let left: Vec<usize> = order.iter().copied().filter(|index| !seen.contains(index)).collect();
        let next = if expect.is_empty() {
            left.iter().copied().max_by(|&a, &b| weight(a).total_cmp(&weight(b))).unwrap()
        } else {
            let mut rest = random.random_range(0.0..left.iter().map(|&index| weight(index)).sum::<f64>());
            let reached = left.iter().copied().find(|&index| {
                rest -= weight(index);
                rest < 0.0
            });
            reached.unwrap()
        };
        seen.push(next);
        if !is_out(next) {
            expect.push(next);
        }
    }
    let found = made.acquire(Strategy::Badge, 15, is_out);
    assert_eq!(indices(&found), expect);
    let last = &gradients[found[14].index];
    let nearest = expect[..14].iter().map(|&one| squared(&gradients[one], last)).fold(f64::INFINITY, f64::min);
    assert!((found[14].score - nearest).abs() < 1e-5);
}

/// The balls are those of the radius at which 95 % are pure; every choice covers the most.
#[test]
fn probcover_covers_the_most() {
    for (n_labelled, seed) in [(0, 8), (3, 9)] {
        let made = Made::new(250, n_labelled, seed);
        let found = made.acquire(Strategy::Probcover, 9, is_out);
        let mut order: Vec<usize> = (0..made.n()).collect();
        order.sort_by_key(|&index| made.rows[index].key);
        let values: Vec<f32> =
            order.iter().flat_map(|&index| made.values[index * DIMENSIONS..][..DIMENSIONS].to_vec()).collect();
        let context = Context::new(&Resources { n_threads: 1, ..Resources::default() }, Cancel::default()).unwrap();
        let clusters = crate::kmeans::k_means(Points::new(&values, DIMENSIONS), 9, 9, &context).unwrap().assignment;
        let mut others: Vec<f64> = (0..made.n())
            .map(|a| {
                let other = (0..made.n()).filter(|&b| clusters[a] != clusters[b]);
                other.map(|b| squared(&made.point(order[a]), &made.point(order[b]))).fold(f64::INFINITY, f64::min)
            })
            .collect();
        others.sort_by(f64::total_cmp);
        // Between the distances that there are, so that rounding decides nothing.
        let radius = others[(0.05 * made.n() as f64) as usize] + 1e-6;
        let mut covered: Vec<bool> = (0..made.n())
            .map(|index| made.labelled_points().iter().any(|one| squared(one, &made.point(index)) <= radius))
            .collect();
        for one in &found {
            let ball = |index: usize| {
                (0..made.n())
                    .filter(|&other| squared(&made.point(index), &made.point(other)) <= radius)
                    .collect::<Vec<_>>()
            };
            let n_new = |index: usize| ball(index).into_iter().filter(|&other| !covered[other]).count();
            let most = (0..made.n()).filter(|&index| !is_out(index)).map(n_new).max().unwrap();
            assert_eq!((one.score as usize, n_new(one.index)), (most, most));
            for other in ball(one.index) {
                covered[other] = true;
            }
        }
        assert_eq!(found.len(), 9);
    }
}

/// Every row belongs to the cluster that proposes it, and is the nearest to its middle that is let in.
#[test]
fn k_means_takes_the_middle_of_each_cluster() {
    let made = Made::new(220, 0, 10);
    let found = made.acquire(Strategy::KMeans, 7, is_out);
    assert_eq!(found.len(), 7);
    let numbers: Vec<usize> = found.iter().map(|one| one.cluster.unwrap().0).collect();
    assert_eq!(numbers, (1..=7).collect::<Vec<_>>(), "one of each");
    assert_eq!(found.iter().map(|one| one.cluster.unwrap().1).sum::<usize>(), 220);
    assert!(found.is_sorted_by(|a, b| a.cluster.unwrap().1 >= b.cluster.unwrap().1), "the largest first");
}

/// A row that costs four times as much must be worth that.
#[test]
fn gains_are_divided_by_costs() {
    let mut made = Made::new(120, 0, 11);
    let first = made.acquire(Strategy::FacilityLocation, 1, |_| false)[0];
    for row in &mut made.rows {
        row.weight = 0.25;
    }
    let same = made.acquire(Strategy::FacilityLocation, 1, |_| false)[0];
    assert_eq!(same.index, first.index);
    assert!((same.score * 4.0 - first.score).abs() < 1e-9);
    for strategy in [Strategy::FacilityLocation, Strategy::Uherding, Strategy::Badge] {
        let best = made.acquire(strategy, 1, |_| false)[0].index;
        made.rows[best].weight = 0.001;
        assert_ne!(made.acquire(strategy, 1, |_| false)[0].index, best, "{strategy:?}");
        made.rows[best].weight = 0.25;
    }
}

#[test]
fn neither_the_order_of_rows_nor_threads_matter() {
    let made = Made::new(400, 12, 12);
    let reversed = Made {
        rows: made.rows.iter().rev().copied().collect(),
        values: made.values.chunks_exact(DIMENSIONS).rev().flatten().copied().collect(),
        probabilities: made.probabilities.chunks_exact(N_CLASSES).rev().flatten().copied().collect(),
        labelled: made.labelled.clone(),
        least_weight: 0.0,
    };
    for strategy in Strategy::ALL {
        let rows = |made: &Made| -> Vec<u64> {
            made.acquire(strategy, 30, |index| made.rows[index].row % 11 == 3)
                .iter()
                .map(|one| made.rows[one.index].row)
                .collect()
        };
        assert_eq!(rows(&made), rows(&reversed), "{strategy:?}");
        assert_eq!(rows(&made).len(), 30, "{strategy:?}");
    }
}

/// Equal rows, rows of length 0, more rows wanted than there are: all are proposed once.
#[test]
fn nothing_to_tell_apart_is_no_reason_to_stop() {
    for (scale, n) in [(0.0f32, 20), (1.0, 20), (1.0, 1)] {
        let mut made = Made::new(n, 0, 13);
        let first: Vec<f32> = made.values[..DIMENSIONS].iter().map(|x| x * scale).collect();
        made.values = first.repeat(n);
        for strategy in Strategy::ALL {
            let mut found = indices(&made.acquire(strategy, 50, |_| false));
            assert!(made.acquire(strategy, 50, |_| false).iter().all(|one| one.score.is_finite()), "{strategy:?}");
            found.sort_unstable();
            assert_eq!(found, (0..n).collect::<Vec<_>>(), "{strategy:?}");
        }
    }
}
