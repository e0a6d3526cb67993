//! Rules about paragraphs and lines against their definitions, on texts of every shape.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tamis_schemas::columns::{ID, ROW, TEXT};

use super::*;
use crate::context::{Cancel, Context, Resources};
use crate::dedup::assign::{Drop, Rule};
use crate::dedup::edge::{Method, Similarity};
use crate::dedup::{Evidence, MoreDrops, NearDuplicateResult, Normalize, Normalizer, tokenize};
use crate::stage::MapStage;

/// What became of some texts.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    /// The text of each row that stays, as it is then.
    kept: BTreeMap<usize, String>,
    /// Of each dropped row, the row that it is dropped for, the share and the rule.
    dropped: BTreeMap<usize, (usize, f64, String)>,
    /// Row, start, end, text, rule, the row where it stays.
    spans: Vec<(usize, usize, usize, String, String, usize)>,
}

fn settings(unit: Unit) -> UnitSettings {
    UnitSettings { unit, min_tokens: 3, normalize: Normalize::default() }
}

fn resources(n_threads: usize, memory_limit_bytes: usize, batch_rows: usize) -> Resources {
    Resources { n_threads, memory_limit_bytes, batch_rows, ..Resources::default() }
}

fn id_of(row: usize) -> String {
    format!("row-{row}")
}

fn row_of(id: &str) -> usize {
    id["row-".len()..].parse().unwrap()
}

fn batches(texts: &[String], batch_rows: usize) -> Vec<RecordBatch> {
    let rows: Vec<usize> = (0..texts.len()).collect();
    let batch = |rows: &[usize]| {
        RecordBatch::try_from_iter([
            ("body", Arc::new(StringArray::from_iter_values(rows.iter().map(|&row| &texts[row]))) as ArrayRef),
            (ROW, Arc::new(rows.iter().map(|&row| row as u64).collect::<UInt64Array>())),
            (TEXT, Arc::new(StringArray::from_iter_values(rows.iter().map(|&row| &texts[row])))),
            (ID, Arc::new(rows.iter().map(|&row| Some(id_of(row))).collect::<StringArray>())),
        ])
    };
    rows.chunks(batch_rows).map(|rows| batch(rows).unwrap()).collect()
}

/// Plays the executor. `before` are rows that are dropped already, each for a row that stays.
fn run(
    texts: &[String],
    unit: Unit,
    action: Option<DuplicateAction>,
    cuts_repeats: bool,
    before: &[(usize, usize)],
    resources: &Resources,
) -> Outcome {
    let context = Context::new(resources, Cancel::default()).unwrap();
    let batches = batches(texts, resources.batch_rows);
    let mut drops = MoreDrops::new(&context);
    for &(dropped, kept) in before {
        let (similarity, method, rule) = (Similarity::ONE, Method::Exact, Rule::NearDuplicate);
        let drop = Drop {
            kept: kept as u64,
            rank: dropped as u64,
            dropped: dropped as u64,
            similarity,
            method,
            rule,
            n_shared_bands: 0,
        };
        drops.push(drop, &context).unwrap();
    }
    let mut result = NearDuplicateResult::none(None, &context).unwrap().with(drops, &context).unwrap();
    let mut held = None;
    if let Some(action) = action {
        let keys = UnitKeys::new(settings(unit), result.verdict.clone());
        let mut barrier = DuplicateUnits::new(settings(unit), action, &context);
        for batch in &batches {
            let mapped = keys.apply(batch.clone()).unwrap();
            assert_eq!(mapped.schema(), keys.output_schema(batch.schema_ref()).unwrap());
            barrier.observe(&mapped, &context).unwrap();
        }
        let found = barrier.finish(result, &context).unwrap();
        result = found.result;
        held = (action == DuplicateAction::Cut).then_some(found.held);
    }
    let cutter = Cutter::new(unit, held, cuts_repeats.then(|| settings(unit)), "body");
    let mut table = SpanTable::new(&cutter, &context);
    let mut outcome = Outcome { kept: BTreeMap::new(), dropped: BTreeMap::new(), spans: Vec::new() };
    for batch in &batches {
        let (rows, ids) = (batch.column(1).as_primitive(), batch.column(3).as_string());
        result.evidence.observe_ids(rows, ids, &context).unwrap();
        table.observe_ids(rows, ids, &context).unwrap();
        let keeps = rows.values().iter().map(|&row| Some(result.verdict.keeps(row))).collect();
        let kept = arrow::compute::filter_record_batch(batch, &keeps).unwrap();
        let (cut, spans) = cutter.cut(kept).unwrap();
        for span in spans {
            table.push(span, &context).unwrap();
        }
        assert_eq!(cut.column(0), cut.column(2), "the input column is cut too");
        for (row, text) in cut
            .column(1)
            .as_primitive::<arrow::datatypes::UInt64Type>()
            .values()
            .iter()
            .zip(cut.column(2).as_string::<i32>())
        {
            outcome.kept.insert(*row as usize, text.unwrap().to_owned());
        }
    }
    for batch in result.evidence.finish(&context).unwrap() {
        let batch = batch.unwrap();
        assert_eq!(batch.schema(), Evidence::schema());
        for index in 0..batch.num_rows() {
            let text = |column: usize| batch.column(column).as_string::<i32>().value(index);
            let share = batch.column(2).as_primitive::<arrow::datatypes::Float64Type>().value(index);
            outcome.dropped.insert(row_of(text(0)), (row_of(text(1)), share, text(4).to_owned()));
        }
    }
    for batch in table.finish(&context).unwrap() {
        let batch = batch.unwrap();
        for index in 0..batch.num_rows() {
            let text = |column: usize| batch.column(column).as_string::<i32>().value(index);
            let number = |column: usize| {
                batch.column(column).as_primitive::<arrow::datatypes::Int64Type>().value(index) as usize
            };
            let (row, first) = (row_of(text(0)), row_of(text(5)));
            outcome.spans.push((row, number(1), number(2), text(3).to_owned(), text(4).to_owned(), first));
        }
    }
    outcome
}

/// The units of a text by another way: the bytes of each, with what parts it from the next.
fn units_by_definition(text: &str, unit: Unit) -> Vec<(usize, usize)> {
    let mut lines = Vec::new();
    let mut at = 0;
    for line in text.split('\n') {
        let has_break = at + line.len() < text.len();
        let content = if has_break && line.ends_with('\r') { line.len() - 1 } else { line.len() };
        lines.push((at, at + content));
        at += line.len() + 1;
    }
    if unit == Unit::Line {
        return lines;
    }
    let is_blank = |&(start, end): &(usize, usize)| text[start..end].chars().all(char::is_whitespace);
    let paragraphs = lines.split(is_blank).filter(|lines| !lines.is_empty());
    paragraphs.map(|lines| (lines[0].0, lines[lines.len() - 1].1)).collect()
}

fn normalized(unit: &str) -> String {
    String::from_utf8_lossy(Normalizer::new(Normalize::default()).normalize(unit.trim())).into_owned()
}

fn n_tokens(unit: &str) -> usize {
    let mut tokens = Vec::new();
    tokenize(normalized(unit).as_bytes(), &mut tokens);
    tokens.len()
}

/// What is compared of a text: ordinal and normalized text of each unit of 3 tokens or more.
fn compared(text: &str, unit: Unit) -> Vec<(usize, String)> {
    units_by_definition(text, unit)
        .into_iter()
        .enumerate()
        .filter(|(_, (start, end))| n_tokens(&text[*start..*end]) >= 3)
        .map(|(ordinal, (start, end))| (ordinal, normalized(&text[start..end])))
        .collect()
}

fn n_chars(text: &str) -> usize {
    text.trim().chars().count()
}

/// The rules by their definitions, over all pairs of rows.
fn by_definition(
    texts: &[String],
    unit: Unit,
    action: Option<DuplicateAction>,
    cuts_repeats: bool,
    before: &[(usize, usize)],
) -> Outcome {
    let mut outcome = Outcome { kept: BTreeMap::new(), dropped: BTreeMap::new(), spans: Vec::new() };
    for (row, text) in texts.iter().enumerate() {
        if let Some((_, kept)) = before.iter().find(|(dropped, _)| *dropped == row) {
            outcome.dropped.insert(row, (*kept, 1.0, "near_duplicate".into()));
            continue;
        }
        let bounds = units_by_definition(text, unit);
        let chars_of = |ordinal: usize| n_chars(&text[bounds[ordinal].0..bounds[ordinal].1]);
        let total: usize = (0..bounds.len()).map(chars_of).sum();
        let compared_here = compared(text, unit);
        let mut held: Vec<(usize, usize)> = Vec::new();
        if action.is_some() {
            for (ordinal, key) in &compared_here {
                let holds = |earlier: &usize| compared(&texts[*earlier], unit).iter().any(|(_, other)| other == key);
                if let Some(holder) = outcome.kept.keys().copied().find(holds) {
                    held.push((*ordinal, holder));
                }
            }
        }
        let held_chars: usize = held.iter().map(|(ordinal, _)| chars_of(*ordinal)).sum();
        let share = held_chars as f64 / total.max(1) as f64;
        let is_too_much = !held.is_empty()
            && match action {
                Some(DuplicateAction::Drop { max_ratio }) => share > max_ratio,
                Some(DuplicateAction::Cut) => held_chars == total,
                None => false,
            };
        let names = |(_, kept): &(usize, usize)| *kept == row;
        if is_too_much && !before.iter().any(names) {
            let mut by_holder: BTreeMap<usize, usize> = BTreeMap::new();
            for (ordinal, holder) in &held {
                *by_holder.entry(*holder).or_default() += chars_of(*ordinal);
            }
            let most = by_holder.values().max().unwrap();
            let holder = *by_holder.iter().find(|(_, chars)| *chars == most).unwrap().0;
            let rule = if unit == Unit::Paragraph { "duplicate_paragraphs" } else { "duplicate_lines" };
            outcome.dropped.insert(row, (holder, share, rule.into()));
            continue;
        }
        let mut cut: BTreeMap<usize, (String, usize)> = BTreeMap::new();
        if action == Some(DuplicateAction::Cut) && !is_too_much {
            let rule = if unit == Unit::Paragraph { "duplicate_paragraphs" } else { "duplicate_lines" };
            cut.extend(held.iter().map(|(ordinal, holder)| (*ordinal, (rule.to_owned(), *holder))));
        }
        if cuts_repeats {
            for (index, (ordinal, key)) in compared_here.iter().enumerate() {
                if compared_here[..index].iter().any(|(_, earlier)| earlier == key) {
                    cut.entry(*ordinal).or_insert(("repetition".to_owned(), row));
                }
            }
        }
        // What stays: the units that are not cut; between two of them what parted the first one from its next unit; what
        // stands before the first unit and after the last one.
        let stays: Vec<usize> = (0..bounds.len()).filter(|ordinal| !cut.contains_key(ordinal)).collect();
        let mut rest = String::new();
        if let (Some(first), Some(last)) = (bounds.first(), bounds.last()) {
            rest += &text[..first.0];
            for (index, &ordinal) in stays.iter().enumerate() {
                rest += &text[bounds[ordinal].0..bounds[ordinal].1];
                if index + 1 < stays.len() {
                    rest += &text[bounds[ordinal].1..bounds[ordinal + 1].0];
                }
            }
            rest += &text[last.1..];
        } else {
            rest += text;
        }
        outcome.kept.insert(row, rest);
        outcome.spans.extend(cut.into_iter().map(|(ordinal, (rule, first))| {
            let (start, end) = bounds[ordinal];
            (row, start, end, text[start..end].to_owned(), rule, first)
        }));
    }
    outcome
}

/// Texts of few sentences with every kind of line break and blank line, capitals, accents in two forms, repeats.
fn random_texts(n_texts: usize, n_sentences: usize, seed: u64) -> Vec<String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let sentences: Vec<String> = (0..n_sentences)
        .map(|n| match n % 6 {
            0 => format!("Sentence number {n} of the corpus"),
            1 => format!("Caf\u{e9} m\u{fc}de {n} \u{65e5}\u{672c}\u{8a9e}"),
            2 => format!("Cafe\u{301} mu\u{308}de {} \u{65e5}\u{672c}\u{8a9e}", n - 1),
            3 => format!("short {n}"),
            4 => format!("  indented and long enough {n}  "),
            _ => "---".to_owned(),
        })
        .collect();
    let breaks = ["\n", "\r\n", "\n\n", "\r\n\r\n", "\n \t\n", "\n\n\n\n", "\n\u{a0}\n", "\r\n\n"];
    let edges = ["", "", "", "\n", "\r\n", "\n\n", " ", " \n\n", "\r"];
    (0..n_texts)
        .map(|_| {
            let mut text = (*edges.choose(&mut random).unwrap()).to_owned();
            for index in 0..random.random_range(0..7) {
                if index > 0 {
                    text += breaks.choose(&mut random).unwrap();
                }
                let sentence = sentences.choose(&mut random).unwrap();
                text += &if random.random_bool(0.2) { sentence.to_uppercase() } else { sentence.clone() };
            }
            text + edges.choose(&mut random).unwrap()
        })
        .collect()
}

fn check(
    texts: &[String],
    unit: Unit,
    action: Option<DuplicateAction>,
    cuts_repeats: bool,
    before: &[(usize, usize)],
) -> Outcome {
    let expect = by_definition(texts, unit, action, cuts_repeats, before);
    let found = run(texts, unit, action, cuts_repeats, before, &Resources::default());
    assert_eq!(found.kept.len() + found.dropped.len(), texts.len());
    assert_eq!(found.dropped, expect.dropped, "{unit:?} {action:?}");
    for (row, text) in &found.kept {
        assert_eq!(text, &expect.kept[row], "row {row} was {:?}", texts[*row]);
    }
    let of_unit = |spans: &[(usize, usize, usize, String, String, usize)]| -> Vec<_> {
        spans.iter().map(|(row, _, _, text, rule, first)| (*row, n_chars(text), rule.clone(), *first)).collect()
    };
    assert_eq!(of_unit(&found.spans), of_unit(&expect.spans), "{unit:?} {action:?}");
    for (span, expect) in found.spans.iter().zip(&expect.spans) {
        assert!(span.1 <= expect.1 && expect.2 <= span.2, "{span:?} does not hold {expect:?}");
        assert_eq!(&texts[span.0][span.1..span.2], span.3);
    }
    let mut pieces: HashMap<usize, Vec<Piece<'_>>> = HashMap::new();
    for (row, start, end, text, ..) in &found.spans {
        pieces.entry(*row).or_default().push(Piece { start: *start as u64, end: *end as u64, text });
    }
    for (row, text) in &found.kept {
        let whole = rebuild(text, pieces.get(row).map_or(&[], Vec::as_slice));
        assert_eq!(whole.as_deref(), Some(texts[*row].as_str()), "row {row} is not what it was");
    }
    nothing_is_lost(texts, unit, &found);
    found
}

/// Every unit of the input is in a kept row or in a dropped one; every cut unit stays in the row that is named.
fn nothing_is_lost(texts: &[String], unit: Unit, found: &Outcome) {
    let units = |text: &str| compared(text, unit).into_iter().map(|(_, key)| key).collect::<BTreeSet<String>>();
    let kept: BTreeMap<usize, BTreeSet<String>> = found.kept.iter().map(|(row, text)| (*row, units(text))).collect();
    for (row, text) in texts.iter().enumerate().filter(|(row, _)| found.kept.contains_key(row)) {
        for key in units(text) {
            assert!(kept.values().any(|units| units.contains(&key)), "{key:?} of row {row} is gone");
        }
    }
    for (row, _, _, text, rule, first) in &found.spans {
        assert!(kept[first].contains(&normalized(text)), "{text:?} of row {row} is not in row {first}");
        assert!(if rule == "repetition" { first == row } else { first < row });
    }
    for (row, (kept_row, ..)) in &found.dropped {
        assert!(found.kept.contains_key(kept_row), "{row} is dropped for {kept_row}");
    }
}

const ACTIONS: [Option<DuplicateAction>; 5] = [
    None,
    Some(DuplicateAction::Cut),
    Some(DuplicateAction::Drop { max_ratio: 0.0 }),
    Some(DuplicateAction::Drop { max_ratio: 0.5 }),
    Some(DuplicateAction::Drop { max_ratio: 1.0 }),
];

#[test]
fn duplicates_and_repeats_are_those_of_the_definition() {
    let (mut n_dropped, mut n_spans) = (0, 0);
    for seed in 0..6 {
        for n_sentences in [8, 60] {
            let texts = random_texts(120, n_sentences, seed);
            for unit in [Unit::Paragraph, Unit::Line] {
                for action in ACTIONS {
                    for cuts_repeats in [false, true] {
                        let found = check(&texts, unit, action, cuts_repeats, &[]);
                        n_dropped += found.dropped.len();
                        n_spans += found.spans.len();
                    }
                }
            }
        }
    }
    assert!(n_dropped > 1000 && n_spans > 1000, "{n_dropped} dropped, {n_spans} spans");
}

#[test]
fn rows_that_others_were_dropped_for_stay_whole() {
    let texts: Vec<String> = [
        "one two three\n\nfour five six",
        "four five six",
        "four five six again",
        "one two three",
        "one two three\n\nseven eight nine",
        "seven eight nine",
    ]
    .map(str::to_owned)
    .into();
    for action in [DuplicateAction::Cut, DuplicateAction::Drop { max_ratio: 0.4 }] {
        let free = check(&texts, Unit::Paragraph, Some(action), false, &[]);
        assert_eq!(free.dropped[&1], (0, 1.0, "duplicate_paragraphs".to_owned()));
        // Row 2 is dropped for row 1 already.
        let found = check(&texts, Unit::Paragraph, Some(action), false, &[(2, 1)]);
        assert_eq!(found.kept[&1], texts[1]);
    }
}

#[test]
fn a_row_that_is_dropped_holds_nothing() {
    let texts: Vec<String> =
        ["a b c d e f\n\ng h i", "a b c d e f\n\nj k l", "j k l\n\nm n o p q r s t"].map(str::to_owned).into();
    let found = check(&texts, Unit::Paragraph, Some(DuplicateAction::Drop { max_ratio: 0.5 }), false, &[]);
    assert_eq!(found.dropped.keys().copied().collect::<Vec<_>>(), [1]);
    let found = check(&texts, Unit::Paragraph, Some(DuplicateAction::Drop { max_ratio: 0.2 }), false, &[]);
    assert_eq!(
        found.dropped.keys().copied().collect::<Vec<_>>(),
        [1],
        "row 2 has `j k l` in common with a dropped row only"
    );
}

#[test]
fn what_is_left_is_a_text() {
    let check = |earlier: &str, text: &str, unit: Unit, expect: &str| {
        let texts = [earlier.to_owned(), text.to_owned()];
        let found = check(&texts, unit, Some(DuplicateAction::Cut), false, &[]);
        assert_eq!(found.kept.get(&1).map(String::as_str), Some(expect), "{text:?}");
    };
    let paragraph = Unit::Paragraph;
    check("x y z", "a b c\n\nx y z\n\nd e f", paragraph, "a b c\n\nd e f");
    check("x y z", "X Y Z\n\nd e f", paragraph, "d e f");
    check("x y z", "a b c\n\nx y z", paragraph, "a b c");
    check("x y z", "a b c\n\nx y z\n", paragraph, "a b c\n");
    check("x y z", "a b c\r\n\r\nx y z\r\n\r\nd e f\r\n", paragraph, "a b c\r\n\r\nd e f\r\n");
    check("x y z", "\n\nx y z\n \n\nd e f", paragraph, "\n\nd e f");
    check("x y z\n\nu v w", "a b c\n\nx y z\n\n\nu v w\n\n", paragraph, "a b c\n\n");
    check("x y\nz", "a b c\n\nx y\nz\nd", paragraph, "a b c\n\nx y\nz\nd");
    check("x y z", "a b c\nx y z\nd e f", Unit::Line, "a b c\nd e f");
    check("x y z", "a b c\n\n  x y z\n\nd e f", Unit::Line, "a b c\n\n\nd e f");
    check("x y z", "a b c\r\nx y z", Unit::Line, "a b c");
    check("x y z", "a b c\nx y z\n", Unit::Line, "a b c\n");
    check("x y", "a b c\nx y\nd e f", Unit::Line, "a b c\nx y\nd e f");
}

#[test]
fn threads_batches_and_memory_do_not_matter() {
    let texts = random_texts(3000, 400, 7);
    for unit in [Unit::Paragraph, Unit::Line] {
        for action in [DuplicateAction::Cut, DuplicateAction::Drop { max_ratio: 0.3 }] {
            let expect = run(&texts, unit, Some(action), true, &[(5, 4)], &resources(1, 1 << 30, 8192));
            assert!(expect.dropped.len() > 100 && !expect.spans.is_empty());
            for other in [resources(4, 1 << 30, 7), resources(2, 1 << 10, 64), resources(1, 4 << 20, 1)] {
                assert_eq!(run(&texts, unit, Some(action), true, &[(5, 4)], &other), expect, "{other:?}");
            }
        }
    }
}

/// The shares of repetition by their definitions, with strings instead of hashes.
fn excess_by_definition(text: &str, limits: &RepetitionLimits) -> Option<f64> {
    let tokens: Vec<String> = normalized(&format!("x{text}x"))
        .strip_prefix('x')?
        .strip_suffix('x')?
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
        .collect();
    if tokens.len() < limits.min_document_tokens {
        return None;
    }
    let of_units = |unit: Unit| {
        let bounds = units_by_definition(text, unit);
        let chars = |ordinal: usize| n_chars(&text[bounds[ordinal].0..bounds[ordinal].1]);
        let total: usize = (0..bounds.len()).map(chars).sum();
        let all = compared(text, unit);
        let repeated =
            all.iter().enumerate().filter(|(index, (_, key))| all[..*index].iter().any(|(_, other)| other == key));
        repeated.map(|(_, (ordinal, _))| chars(*ordinal)).sum::<usize>() as f64 / total.max(1) as f64
    };
    let of_marks = |starts: &[usize], n: usize| {
        let marked: BTreeSet<usize> = starts.iter().flat_map(|&start| start..start + n).collect();
        marked.len() as f64 / tokens.len() as f64
    };
    let ngrams = |n: usize| tokens.windows(n).enumerate().collect::<Vec<_>>();
    let occurrences = |n: usize, ngram: &[String]| {
        ngrams(n).iter().filter(|(_, other)| *other == ngram).map(|(at, _)| *at).collect::<Vec<_>>()
    };
    let top = ngrams(2)
        .iter()
        .map(|(_, ngram)| occurrences(2, ngram))
        .filter(|starts| starts.len() > 1)
        .map(|starts| of_marks(&starts, 2))
        .fold(0.0, f64::max);
    let later: Vec<usize> =
        ngrams(10).iter().filter(|(at, ngram)| occurrences(10, ngram)[0] < *at).map(|(at, _)| *at).collect();
    let shares = [
        (of_units(Unit::Line), limits.max_line_ratio),
        (of_units(Unit::Paragraph), limits.max_paragraph_ratio),
        (top, limits.max_top_bigram_ratio),
        (of_marks(&later, 10), limits.max_tengram_ratio),
    ];
    shares.into_iter().find(|(share, limit)| share > limit).map(|(share, _)| share)
}

#[test]
fn repetition_is_that_of_the_definition() {
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut texts = Vec::new();
    for _ in 0..400 {
        let n_words = if random.random_bool(0.3) { random.random_range(2..12) } else { random.random_range(12..200) };
        let mut text = String::new();
        for _ in 0..random.random_range(1..160) {
            text += &format!("w{}", random.random_range(0..n_words));
            text += ["\n", "\n\n", " ", " ", " ", " ", " ", " "].choose(&mut random).unwrap();
        }
        let passage: String = text.chars().take(random.random_range(0..120)).collect();
        texts.push(text + &passage);
    }
    let base = RepetitionLimits { min_tokens: 3, min_document_tokens: 20, ..RepetitionLimits::default() };
    // Each of the four limits alone, then all.
    let off = RepetitionLimits {
        max_line_ratio: 1.0,
        max_paragraph_ratio: 1.0,
        max_top_bigram_ratio: 1.0,
        max_tengram_ratio: 1.0,
        ..base
    };
    for limits in [
        RepetitionLimits { max_line_ratio: 0.02, ..off },
        RepetitionLimits { max_paragraph_ratio: 0.02, ..off },
        RepetitionLimits { max_top_bigram_ratio: 0.2, ..off },
        RepetitionLimits { max_tengram_ratio: 0.1, ..off },
        base,
    ] {
        let found = Repetition::new(limits).excesses(&StringArray::from_iter_values(&texts));
        let expect: Vec<Option<f64>> = texts.iter().map(|text| excess_by_definition(text, &limits)).collect();
        let n_found = found.iter().flatten().count();
        assert!((20..380).contains(&n_found), "{n_found} under {limits:?}");
        for ((found, expect), text) in found.iter().zip(&expect).zip(&texts) {
            assert_eq!(found.is_some(), expect.is_some(), "{text:?} {limits:?}");
            assert!((found.unwrap_or(0.0) - expect.unwrap_or(0.0)).abs() < 1e-12, "{found:?} {expect:?}");
        }
    }
}

#[test]
fn rows_that_repeat_themselves_are_parted_from_the_others() {
    let texts: Vec<String> = vec!["one two three four five".into(), "again and again ".repeat(40), String::new()];
    let (rest, dropped) = Repetition::new(RepetitionLimits::default()).split(batches(&texts, 10).remove(0)).unwrap();
    assert_eq!(rest.column(1).as_primitive::<arrow::datatypes::UInt64Type>().values().as_ref(), [0, 2]);
    assert_eq!(dropped.len(), 1);
    assert!(dropped[0].0 == 1 && dropped[0].1 > 0.2, "{dropped:?}");
}
