//! The figures of a sample against all pairs, computed from the definition.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::context::{Cancel, Context, Resources};
use crate::dedup::{Bands, Reader, Search, Settings, jaccard, sketch, to_set};
use crate::{Error, RowSet};

fn context(n_threads: usize, memory_limit_bytes: usize) -> Context {
    Context::new(&Resources { n_threads, memory_limit_bytes, ..Resources::default() }, Cancel::default()).unwrap()
}

/// Random texts; each one in `every` is followed, far behind, by a copy with some words changed.
fn texts(n: usize, every: usize, seed: u64) -> Vec<String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut texts: Vec<Vec<String>> = (0..n)
        .map(|_| (0..random.random_range(40..90)).map(|_| format!("w{}", random.random_range(0..5000))).collect())
        .collect();
    for base in (0..n / 2).step_by(every) {
        let mut copy = texts[base].clone();
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(0..copy.len());
            copy[at] = "changed".into();
        }
        texts[base + n / 2] = copy;
    }
    texts.into_iter().map(|words| words.join(" ")).collect()
}

fn draw(texts: &[String], n_wanted: usize, batch_rows: usize, settings: &Settings, context: &Context) -> Chosen {
    let mut draw = Draw::new(n_wanted, settings.seed, context).unwrap();
    let rows: Vec<u64> = (0..texts.len() as u64).collect();
    for (rows, texts) in rows.chunks(batch_rows).zip(texts.chunks(batch_rows)) {
        draw.observe(Netted::new(settings, rows, texts.iter().map(String::as_str)), context).unwrap();
    }
    draw.choose(context).unwrap()
}

fn sample(texts: &[String], chosen: Chosen, settings: &Settings, context: &Context) -> crate::Result<Sample> {
    let rows: Vec<u64> = chosen.rows.iter().collect();
    let mut sample = Sample::new(settings.clone(), chosen, context);
    let mut reader = Reader::new(settings);
    for row in rows {
        sample.push(SampledRow::new(&mut reader, row, &row.to_string(), &texts[row as usize]))?;
    }
    sample.check().unwrap();
    Ok(sample)
}

fn tuning(texts: &[String], n_wanted: usize, settings: &Settings, context: &Context) -> (Sample, Tuning) {
    let chosen = draw(texts, n_wanted, 100, settings, context);
    let sample = sample(texts, chosen, settings, context).unwrap();
    let pairs = Pairs::compare(&sample, context).unwrap();
    let tuning = Tuning::new(&sample, &pairs, context).unwrap();
    (sample, tuning)
}

fn sets(texts: &[String], settings: &Settings) -> Vec<Vec<u64>> {
    let mut reader = Reader::new(settings);
    let set = |text: &String| {
        let mut set = reader.read(text).1.clone();
        to_set(&mut set);
        set
    };
    texts.iter().map(set).collect()
}

/// Rows that the star rule drops, over all pairs.
fn star(sets: &[Vec<u64>], threshold: f64) -> Vec<bool> {
    let mut dropped: Vec<bool> = Vec::new();
    for (row, set) in sets.iter().enumerate() {
        let goes = (0..row).any(|earlier| !dropped[earlier] && jaccard(set, &sets[earlier]) >= threshold);
        dropped.push(goes);
    }
    dropped
}

/// Band keys of each set.
fn keys(bands: Bands, sets: &[Vec<u64>]) -> Vec<Vec<u64>> {
    let keys = |set: &Vec<u64>| {
        let mut keys = Vec::new();
        bands.push_keys(&sketch(set), &mut keys);
        keys
    };
    sets.iter().map(keys).collect()
}

fn share_one(left: &[u64], right: &[u64]) -> bool {
    left.iter().zip(right).any(|(left, right)| left == right)
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-9
}

#[test]
fn a_sample_of_everything_gives_exact_figures() {
    let (settings, context) = (Settings::default(), context(2, 1 << 30));
    let texts = texts(400, 2, 1);
    let (sample, tuning) = tuning(&texts, 400, &settings, &context);
    assert!(sample.is_whole_input() && sample.n_neighbours() == 0 && sample.n_cut() == 0);
    let sets = sets(&texts, &settings);
    let all: Vec<(usize, usize, f64)> = (0..sets.len())
        .flat_map(|later| (0..later).map(move |earlier| (earlier, later)))
        .map(|(earlier, later)| (earlier, later, jaccard(&sets[earlier], &sets[later])))
        .collect();
    for (step, line) in (10..20).zip(&tuning.lines) {
        let threshold = f64::from(step) / 20.0;
        let reach: Vec<_> = all.iter().filter(|pair| pair.2 >= threshold).collect();
        let n_dropped = star(&sets, threshold).iter().filter(|dropped| **dropped).count() as f64;
        assert!(close(line.threshold, threshold) && close(line.pairs, reach.len() as f64));
        assert!(close(line.dropped_rows, n_dropped) && close(line.dropped_ratio, n_dropped / 400.0));
        assert!(close(line.dropped_ratio_error, 0.0), "nothing is estimated");

        let bands = Bands::choose(threshold, 0.99).unwrap();
        assert_eq!(line.search, Search::Bands(bands));
        let keys = keys(bands, &sets);
        let meets = |earlier: usize, later: usize| share_one(&keys[earlier], &keys[later]);
        let n_found = reach.iter().filter(|(earlier, later, _)| meets(*earlier, *later)).count() as f64;
        assert!(close(line.recall.unwrap(), n_found / reach.len() as f64));
        // Pairs from 0.45 on are counted, less similar ones expected.
        let near = all.iter().filter(|pair| pair.2 >= 0.45);
        let n_near = near.filter(|(earlier, later, _)| meets(*earlier, *later)).count() as f64;
        let far: f64 = all.iter().filter(|pair| pair.2 < 0.45).map(|pair| bands.probability(pair.2)).sum();
        let candidates = line.candidates_per_row.unwrap() * 400.0;
        assert!((candidates - n_near - far).abs() < 0.05 * far + 1e-6, "{candidates}, {n_near} and {far}");
        assert!(close(line.precision.unwrap(), n_found / candidates));
    }
    let binned: f64 = tuning.histogram.iter().map(|bin| bin.1).sum();
    assert!(close(binned, tuning.lines[0].pairs) && tuning.histogram.len() == 11);
    let n_equal = all.iter().filter(|pair| pair.2 >= 1.0).count() as f64;
    assert!(close(tuning.histogram[10].1, n_equal) && n_equal > 10.0);
}

#[test]
fn every_row_is_drawn_equally_often_and_batches_do_not_matter() {
    let context = context(2, 1 << 30);
    let texts = texts(900, 9, 2);
    let mut n_drawn = [0u32; 3];
    for seed in 0..20 {
        let settings = Settings { seed, ..Settings::default() };
        let chosen = draw(&texts, 90, 900, &settings, &context);
        assert_eq!((chosen.drawn.len(), chosen.n_rows), (90, 900));
        for row in chosen.drawn.iter() {
            n_drawn[row as usize / 300] += 1;
        }
        if seed < 3 {
            let again = draw(&texts, 90, 7, &settings, &context);
            assert_eq!((again.drawn, again.rows), (chosen.drawn, chosen.rows));
        }
    }
    // A third of 1800 drawn, each with probability 0.1: the number per part varies by sqrt(1800 * 1/3 * 2/3 * 0.9).
    let deviation = (1800.0f64 * 2.0 / 9.0 * 0.9).sqrt();
    assert!(n_drawn.iter().all(|&n| (f64::from(n) - 600.0).abs() < 4.0 * deviation), "{n_drawn:?}");
}

#[test]
fn neighbours_come_along() {
    let (settings, context) = (Settings::default(), context(2, 1 << 30));
    let texts = texts(2000, 1, 3);
    let sets = sets(&texts, &settings);
    let chosen = draw(&texts, 300, 64, &settings, &context);
    let (mut n_twins, mut n_missing) = (0, 0);
    for row in chosen.drawn.iter().map(|row| row as usize) {
        let twin = (row + 1000) % 2000;
        if jaccard(&sets[row], &sets[twin]) >= 0.5 {
            n_twins += 1;
            n_missing += usize::from(!chosen.rows.contains(twin as u64));
        }
    }
    // A pair of similarity 0.5 is overlooked in 0.12 % of the cases: of 300, more than 2 hardly ever.
    assert!(n_twins > 200 && n_missing <= 2, "{n_missing} of {n_twins}");
    assert!(chosen.rows.len() < 300 + n_twins as u64 + 30, "others stay away");
}

#[test]
fn estimates_are_within_their_errors() {
    let context = context(2, 1 << 30);
    let texts = texts(2000, 3, 4);
    let sets = sets(&texts, &Settings::default());
    let dropped_at: Vec<f64> = (10..20)
        .map(|step| if step % 3 == 1 { star(&sets, f64::from(step) / 20.0) } else { Vec::new() })
        .map(|dropped| dropped.iter().filter(|dropped| **dropped).count() as f64)
        .collect();
    for seed in 0..4 {
        let settings = Settings { seed, ..Settings::default() };
        let (sample, tuning) = tuning(&texts, 400, &settings, &context);
        assert!(!sample.is_whole_input() && sample.n_neighbours() > 50);
        for (line, &dropped) in tuning.lines.iter().zip(&dropped_at).step_by(3) {
            assert!(line.dropped_ratio_error > 0.0);
            let off = (line.dropped_ratio - dropped / 2000.0).abs();
            // The error stated is two standard errors; twice that is four.
            assert!(off <= 2.0 * line.dropped_ratio_error, "{line:?}: {dropped} rows");
            assert!(close(line.dropped_rows, 2000.0 * line.dropped_ratio));
            // Two rows of each pair, so that pairs are as good an estimate of half of the rows in one.
            assert!(
                (line.pairs - dropped).abs() <= 2.0 * 2000.0 * line.dropped_ratio_error,
                "{line:?}: {dropped} pairs"
            );
            assert!(line.recall.unwrap() > 0.95);
        }
    }
}

/// One row in five is of one template: their pairs are too many to be looked at, and most of all pairs.
#[test]
fn pairs_of_large_families_are_estimated_too() {
    let (settings, context) = (Settings::default(), context(2, 1 << 30));
    let mut random = ChaCha8Rng::seed_from_u64(10);
    let mut texts = texts(2500, 5, 10);
    let template: Vec<String> = (0..60).map(|word| format!("t{word}")).collect();
    for row in (0..2500).step_by(5) {
        let mut words = template.clone();
        words[random.random_range(0..60)] = format!("own{row}");
        texts[row] = words.join(" ");
    }
    let (sample, tuning) = tuning(&texts, 600, &settings, &context);
    assert!(sample.n_cut() > 50, "{}", sample.n_cut());
    let sets = sets(&texts, &settings);
    let line = &tuning.lines[4];
    let reach = |later: usize| (0..later).filter(|&earlier| jaccard(&sets[earlier], &sets[later]) >= 0.7).count();
    let expect: usize = (0..2500).map(reach).sum();
    // The family's share of the rows drawn, a fifth, has a standard error of sqrt(0.2 * 0.8 * (1 - 600/2500) / 600) = 0.014;
    // 7 % of itself. Pairs go with the square of the share: four errors are 0.56 of the logarithm of their number.
    assert!((line.pairs / expect as f64).ln().abs() < 0.56, "{line:?}, not {expect}");
    let dropped = star(&sets, 0.7).iter().filter(|dropped| **dropped).count() as f64;
    assert!((line.dropped_rows - dropped).abs() <= 2.0 * 2500.0 * line.dropped_ratio_error, "{line:?}: {dropped}");
    let Search::Bands(bands) = line.search else { panic!("bands are used") };
    let keys = keys(bands, &sets);
    let meets = |earlier: usize, later: usize| share_one(&keys[earlier], &keys[later]);
    let n_candidates: usize = (0..2500).map(|later| (0..later).filter(|&earlier| meets(earlier, later)).count()).sum();
    let candidates = line.candidates_per_row.unwrap() * 2500.0;
    assert!((candidates / n_candidates as f64).ln().abs() < 0.56, "{candidates}, not {n_candidates}");
}

#[test]
fn rows_without_a_token_are_as_their_texts_are() {
    let (settings, context) = (Settings::default(), context(2, 1 << 30));
    let mut texts = texts(300, 3, 5);
    for row in (0..300).step_by(2) {
        texts[row] = if row % 4 == 0 { "!".into() } else { String::new() };
    }
    let (sample, tuning) = tuning(&texts, 300, &settings, &context);
    let line = tuning.lines.last().unwrap();
    assert!(line.dropped_rows >= 148.0, "of 75 rows each, one stays: {line:?}");
    assert!(sample.n_rows() == 300 && line.recall.unwrap() > 0.99);
    let chosen = draw(&texts, 20, 50, &settings, &context);
    let brings = |drawn: &RowSet| drawn.iter().any(|row| row % 2 == 0);
    assert!(brings(&chosen.drawn) && !chosen.cut.is_empty(), "rows with too many neighbours are named");
    assert!(chosen.rows.len() <= 40);
}

#[test]
fn the_suggestion_is_where_verdicts_change_least() {
    let (settings, context) = (Settings::default(), context(2, 1 << 30));
    let (sample, found) = tuning(&texts(400, 2, 6), 400, &settings, &context);
    let ratio = |threshold: f64| {
        found.lines.iter().find(|line| close(line.threshold, threshold)).map(|line| line.dropped_ratio).unwrap()
    };
    let best = found.suggestion.threshold;
    let change = |threshold: f64| ratio(threshold - 0.05) - ratio(threshold + 0.05);
    for step in 11..19 {
        assert!(change(best) <= change(f64::from(step) / 20.0) + 1e-12);
    }
    assert!(found.suggestion.reason.contains("least"), "{:?}", found.suggestion);
    assert!(
        found.above.iter().all(|pair| pair.similarity >= best) && found.above.is_sorted_by_key(|pair| pair.similarity)
    );
    assert!(found.below.iter().all(|pair| pair.similarity < best));
    assert!(!found.above.is_empty() && !sample.row(found.above[0].later).opening.is_empty());

    let (_, nothing) = tuning(&texts(50, 100, 7).split_off(1), 50, &settings, &context);
    assert!(nothing.suggestion.reason.contains("no two rows") && close(nothing.suggestion.threshold, 0.8));
    assert_eq!((nothing.lines[0].recall, nothing.above.len()), (None, 0));
}

#[test]
fn threads_do_not_matter_and_memory_is_asked_for() {
    let settings = Settings::default();
    let texts = texts(600, 2, 8);
    let (_, one) = tuning(&texts, 200, &settings, &context(1, 1 << 30));
    let (_, many) = tuning(&texts, 200, &settings, &context(8, 8 << 20));
    assert_eq!(one, many);
    let small = context(1, 100 << 10);
    let chosen = draw(&texts, 200, 100, &settings, &small);
    assert!(matches!(sample(&texts, chosen, &settings, &small), Err(Error::OverBudget { .. })));
    assert!(Draw::new(1, 0, &small).is_err() && Draw::new(50_000, 0, &small).is_err());
}

#[test]
fn an_exhaustive_search_finds_every_pair() {
    let settings = Settings { recall: 1.0, ..Settings::default() };
    let (_, tuning) = tuning(&texts(200, 2, 9), 200, &settings, &context(2, 1 << 30));
    for line in &tuning.lines {
        assert_eq!((line.search, line.candidates_per_row, line.precision), (Search::Exhaustive, None, None));
        assert!(close(line.recall.unwrap(), 1.0));
    }
}
