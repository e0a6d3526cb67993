//! Tests of heads over made-up embeddings.

use arrow::array::AsArray;
use arrow::datatypes::Float32Type;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Head, HeadKind, HeadSettings};
use crate::context::{Cancel, Context, Resources};
use crate::score::Task;

const DIMENSIONS: usize = 6;

fn context(n_threads: usize) -> Context {
    Context::new(&Resources { n_threads, ..Resources::default() }, Cancel::default()).unwrap()
}

/// Random points, and what lies where among them.
fn points(n: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..n * DIMENSIONS).map(|_| random.random_range(-1.0..1.0)).collect()
}

fn fit(points: &[f32], labels: &[String], settings: &HeadSettings, n_threads: usize) -> Head {
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    Head::fit(points, DIMENSIONS, &labels, settings, &context(n_threads)).unwrap()
}

fn floats(head: &Head, points: &[f32], column: usize) -> Vec<f32> {
    let outputs = points.chunks_exact(DIMENSIONS).flat_map(|point| head.outputs(point, &mut Vec::new())).collect();
    let columns = head.answers.columns(outputs, points.len() / DIMENSIONS).unwrap();
    let array = &columns[column];
    let values = array.as_fixed_size_list_opt().map_or(array, |lists| lists.values());
    values.as_primitive::<Float32Type>().values().to_vec()
}

fn settings(kind: HeadKind, task: Task) -> HeadSettings {
    HeadSettings { kind, task, ..HeadSettings::default() }
}

/// Classes by the sign of a component: the Bayes error is 0, so that all but points near the border are right.
#[test]
fn learns_classes() {
    let class = |points: &[f32]| -> Vec<String> {
        points.chunks_exact(DIMENSIONS).map(|point| if point[1] < 0.3 { "low" } else { "high" }.to_owned()).collect()
    };
    let (train, test) = (points(800, 1), points(500, 2));
    for kind in [HeadKind::Linear, HeadKind::Mlp] {
        let head = fit(&train, &class(&train), &settings(kind, Task::Classes), 2);
        let probabilities = floats(&head, &test, 1);
        let right = probabilities.chunks_exact(2).zip(class(&test));
        let n_right = right.filter(|(p, class)| (p[0] > p[1]) == (class == "high")).count();
        assert!(475 <= n_right, "{kind:?}: {n_right} of 500");
        assert!(probabilities.chunks_exact(2).all(|p| (p[0] + p[1] - 1.0).abs() < 1e-5));
    }
}

/// What no line parts needs the hidden layer.
#[test]
fn a_hidden_layer_learns_what_weights_cannot() {
    let class = |points: &[f32]| -> Vec<String> {
        points.chunks_exact(DIMENSIONS).map(|point| (point[0] * point[1] < 0.0).to_string()).collect()
    };
    let (train, test) = (points(1500, 3), points(400, 4));
    let n_right = |kind| {
        let head = fit(&train, &class(&train), &settings(kind, Task::Classes), 2);
        let probabilities = floats(&head, &test, 1);
        probabilities.chunks_exact(2).zip(class(&test)).filter(|(p, class)| (p[1] > p[0]) == (class == "true")).count()
    };
    let (linear, mlp) = (n_right(HeadKind::Linear), n_right(HeadKind::Mlp));
    assert!(linear < 260 && 340 < mlp, "{linear}, {mlp} of 400");
}

#[test]
fn learns_numbers_and_labels() {
    let (train, test) = (points(800, 5), points(300, 6));
    let number = |point: &[f32]| 2.5 + 2.0 * point[2];
    let labels: Vec<String> = train.chunks_exact(DIMENSIONS).map(|point| number(point).to_string()).collect();
    let head = fit(&train, &labels, &settings(HeadKind::Linear, Task::Regression), 2);
    let predicted = floats(&head, &test, 0);
    for (predicted, point) in predicted.iter().zip(test.chunks_exact(DIMENSIONS)) {
        assert!((predicted - number(point)).abs() < 0.2, "{predicted}, {}", number(point));
    }

    let of_point = |point: &[f32]| {
        let names = [(0, "x"), (1, "y")].into_iter().filter(|(index, _)| 0.0 < point[*index]).map(|(_, name)| name);
        names.collect::<Vec<_>>().join(";")
    };
    let labels: Vec<String> = train.chunks_exact(DIMENSIONS).map(of_point).collect();
    let head = fit(&train, &labels, &settings(HeadKind::Linear, Task::MultiLabel), 2);
    let probabilities = floats(&head, &test, 1);
    let pairs = probabilities.iter().zip(test.chunks_exact(DIMENSIONS).flat_map(|point| &point[..2]));
    let n_right = pairs.filter(|(p, x)| (0.5 < **p) == (0.0 < **x)).count();
    assert!(570 <= n_right, "{n_right} of 600");
}

#[test]
fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
    let train = points(120, 7);
    let labels: Vec<String> = train.chunks_exact(DIMENSIONS).map(|point| (point[0] < point[1]).to_string()).collect();
    for kind in [HeadKind::Linear, HeadKind::Mlp] {
        let of = |n_threads, seed| {
            let settings = HeadSettings { seed, ..settings(kind, Task::Classes) };
            floats(&fit(&train, &labels, &settings, n_threads), &train, 1)
        };
        let one = of(1, 0);
        assert_eq!(of(2, 0), one);
        assert_eq!(of(5, 0), one);
        assert_ne!(of(1, 1), one);
    }
}

#[test]
fn odd_labels_are_no_trouble() {
    let train = points(12, 8);
    let check = |labels: &[&str], task| {
        let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        let head = fit(&train[..labels.len() * DIMENSIONS], &labels, &settings(HeadKind::Linear, task), 1);
        let outputs: Vec<f32> =
            train.chunks_exact(DIMENSIONS).flat_map(|point| head.outputs(point, &mut Vec::new())).collect();
        assert!(outputs.iter().all(|x| x.is_finite()), "{labels:?}");
        assert_eq!(head.answers.columns(outputs, 12).unwrap().len(), head.answers.fields().len());
    };
    for task in [Task::Classes, Task::MultiLabel, Task::Regression] {
        check(&[], task);
        check(&["1"], task);
        check(&["1"; 12], task);
        check(&["1", "1", "1", "1", "2"], task);
    }
    let labels = vec!["a"; 12];
    let error = Head::fit(&[f32::NAN; 12], 1, &labels, &HeadSettings::default(), &context(1)).unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
}
