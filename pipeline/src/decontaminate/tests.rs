//! Against the definition, on texts whose tokens are known because they were written from them.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tamis_schemas::columns::{ID, TEXT};

use super::*;
use crate::context::{Cancel, Context, Resources};
use crate::stage::MapStage;
use crate::{Error, Result};

fn context(limit_bytes: usize) -> Context {
    Context::new(&Resources { memory_limit_bytes: limit_bytes, ..Resources::default() }, Cancel::default()).unwrap()
}

fn batch(texts: &[String]) -> RecordBatch {
    let ids = StringArray::from_iter_values((0..texts.len()).map(|index| format!("item {index}")));
    let texts = StringArray::from_iter_values(texts);
    RecordBatch::try_from_iter([(TEXT, Arc::new(texts) as ArrayRef), (ID, Arc::new(ids))]).unwrap()
}

fn held_out(texts: &[String], settings: Settings, limit_bytes: usize) -> Result<HeldOut> {
    let context = context(limit_bytes);
    let mut builder = HeldOutBuilder::new(settings, &context);
    for texts in texts.chunks(3) {
        builder.add(&ItemReader::new(settings).read(&batch(texts))?)?;
    }
    builder.finish(&context)
}

/// A text with its tokens, and where each lies in it.
struct Written {
    text: String,
    tokens: Vec<usize>,
    spans: Vec<Range<usize>>,
}

/// Ways to write each token that normalization makes one.
const TOKENS: [&[&str]; 5] = [
    &["a", "A"],
    &["\u{e9}te", "E\u{301}TE", "\u{c9}te", "e\u{301}te"],
    &["\u{65e5}"],
    &["i\u{307}x", "\u{130}X"],
    &["\u{8c48}", "\u{f900}"],
];
const IDEOGRAPHS: [usize; 2] = [2, 4];

fn write(tokens: Vec<usize>, random: &mut ChaCha8Rng) -> Written {
    let mut text = ["", "\u{2014} ", "\n"].choose(random).unwrap().to_string();
    let mut spans = Vec::new();
    for (at, &token) in tokens.iter().enumerate() {
        let may_touch = at > 0 && IDEOGRAPHS.contains(&token) && IDEOGRAPHS.contains(&tokens[at - 1]);
        if at > 0 && !(may_touch && random.random_bool(0.5)) {
            text += [" ", "\n", ", ", "\u{3002}", " \u{1f600} ", "-"].choose(random).unwrap();
        }
        let start = text.len();
        text += TOKENS[token].choose(random).unwrap();
        spans.push(start..text.len());
    }
    text += ["", ".", " !\n"].choose(random).unwrap();
    Written { text, tokens, spans }
}

/// First token in the row and number of tokens of the longest run that both have, of several the first.
fn longest_run(row: &[usize], item: &[usize]) -> (usize, usize) {
    let mut best = (0, 0);
    for start in 0..row.len() {
        for item_start in 0..item.len() {
            let n = row[start..].iter().zip(&item[item_start..]).take_while(|(a, b)| a == b).count();
            if best.1 < n {
                best = (start, n);
            }
        }
    }
    best
}

/// The definition.
fn expected(row: &Written, items: &[Written], settings: Settings) -> Option<Found> {
    let mut best: Option<Found> = None;
    let is_looked_for = |item: &&Written| !item.tokens.is_empty() && settings.min_tokens <= item.tokens.len();
    for (index, item) in items.iter().filter(is_looked_for).enumerate() {
        let n_needed = settings.n_tokens.min(item.tokens.len());
        let (start, n_tokens) = longest_run(&row.tokens, &item.tokens);
        if n_tokens < n_needed || best.as_ref().is_some_and(|best| n_tokens <= best.n_tokens) {
            continue;
        }
        let ngrams: HashSet<&[usize]> = row.tokens.windows(n_needed).collect();
        let n_shared = item.tokens.windows(n_needed).filter(|ngram| ngrams.contains(ngram)).count();
        let share = n_shared as f64 / (item.tokens.len() - n_needed + 1) as f64;
        let span = row.spans[start].start..row.spans[start + n_tokens - 1].end;
        best = Some(Found { item: index, n_tokens, share, span });
    }
    best
}

#[test]
fn random_texts_are_judged_as_the_definition_says() {
    let mut random = ChaCha8Rng::seed_from_u64(12);
    let (mut n_found, mut n_clean, mut n_short) = (0, 0, 0);
    for _ in 0..1500 {
        let settings = Settings {
            n_tokens: random.random_range(1..7),
            min_tokens: random.random_range(1..4),
            ..Settings::default()
        };
        let n_kinds = random.random_range(1..=TOKENS.len());
        let mut draw = |max_tokens: usize| {
            let n_tokens = random.random_range(0..=max_tokens);
            let tokens = (0..n_tokens).map(|_| random.random_range(0..n_kinds)).collect();
            write(tokens, &mut random)
        };
        // So few that no n-gram is in more than 64 places.
        let items: Vec<Written> = (0..4).map(|_| draw(14)).collect();
        let rows: Vec<Written> = (0..6).map(|_| draw(30)).collect();
        let texts: Vec<String> = items.iter().map(|item| item.text.clone()).collect();
        let held_out = held_out(&texts, settings, 16 << 20).unwrap();
        let mut finder = Finder::new(&held_out);
        for row in &rows {
            let expect = expected(row, &items, settings);
            assert_eq!(finder.find(&row.text), expect, "{settings:?} {:?} in {texts:?}", row.text);
            n_short += usize::from(expect.as_ref().is_some_and(|found| found.n_tokens < settings.n_tokens));
            if expect.is_some() { n_found += 1 } else { n_clean += 1 }
        }
    }
    assert!(n_found > 1000 && n_clean > 1000 && n_short > 300, "{n_found} found, {n_clean} clean, {n_short} short");
}

#[test]
fn among_many_items_of_one_template_the_right_one_is_named() {
    let template = "answer the question below with one of the four letters and nothing else please";
    let item = |index: usize| format!("{template} what is the {index} th number of row {} there", index * 31);
    let texts: Vec<String> = (0..1000).map(item).collect();
    let held_out = held_out(&texts, Settings::default(), 64 << 20).unwrap();
    let mut finder = Finder::new(&held_out);
    let found = finder.find(&format!("Before. {} After.", item(777).to_uppercase())).unwrap();
    assert_eq!((found.item, found.share), (777, 1.0));
    // Its number is in no other item; the run is followed back from there to its beginning.
    assert_eq!((found.n_tokens, found.span), (24, 8..8 + item(777).len()));
    let found = finder.find(&format!("Before. {template} after.")).unwrap();
    assert_eq!((found.item, found.n_tokens), (0, 14));
}

/// Every n-gram everywhere in both: what grows with the product of their lengths is bounded.
#[test]
fn one_word_again_and_again_ends_in_time() {
    let held_out = held_out(&["no ".repeat(20_000), "no ".repeat(30_000)], Settings::default(), 64 << 20).unwrap();
    let found = Finder::new(&held_out).find(&"No, ".repeat(100_000)).unwrap();
    // Its n-gram is in 50,000 places, and followed into the first ones only.
    assert_eq!((found.item, found.share, found.span.start), (0, 1.0, 0));
    assert_eq!((found.n_tokens, found.span.end), (20_000, 4 * 20_000 - 2));
}

#[test]
fn items_that_are_not_looked_for_are_counted() {
    let texts: Vec<String> = ["", " ?! ", "yes", "yes it is", "yes it is so"].map(str::to_owned).to_vec();
    let held_out = held_out(&texts, Settings::default(), 16 << 20).unwrap();
    assert_eq!((held_out.n_without_tokens(), held_out.n_too_short(), held_out.len()), (2, 2, 1));
    let stage = Decontaminate::new(held_out);
    let rows = batch(&["Yes, it is.".to_owned(), "oh YES: it is so".to_owned(), String::new()]);
    let schema = stage.output_schema(rows.schema_ref()).unwrap();
    let marked = stage.apply(rows.clone()).unwrap();
    assert_eq!(marked.schema(), schema);
    let items = marked.column_by_name(ITEM).unwrap();
    assert_eq!((0..3).map(|row| items.is_valid(row)).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(stage.apply(rows.slice(0, 0)).unwrap().num_rows(), 0);
}

#[test]
fn memory_is_asked_for_and_given_back() {
    let texts: Vec<String> = (0..2000).map(|row| format!("a question of {row} words and {} more", row * 7)).collect();
    for limit_bytes in [1 << 10, 120_000] {
        let error = held_out(&texts, Settings::default(), limit_bytes).unwrap_err();
        assert!(matches!(error, Error::OverBudget { stage: "decontamination", .. }), "{error}");
        assert!(error.hint().unwrap().contains("--memory-limit"));
    }
    let context = context(1 << 20);
    let mut builder = HeldOutBuilder::new(Settings::default(), &context);
    builder.add(&ItemReader::new(Settings::default()).read(&batch(&texts)).unwrap()).unwrap();
    let held_out = builder.finish(&context).unwrap();
    assert!(!context.budget.reserve("test").try_grow(1 << 20));
    drop(held_out);
    assert!(context.budget.reserve("test").try_grow(1 << 20));
}
