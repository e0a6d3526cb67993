//! Whatever is in the files, the survey and every scan agree on which rows there are, and nothing panics.

use proptest::prelude::*;

use super::support::*;
use crate::source::{Columns, IdSource, Request};

/// JSON values: good ones, bad ones, and what breaks parsers.
const VALUES: [&[u8]; 24] = [
    b"1",
    b"-0",
    b"1.5e3",
    b"1e999",
    b"18446744073709551616",
    b"01",
    b"true",
    b"null",
    b"nul",
    b"\"text\"",
    b"\"\\ud83d\\ude00\"",
    b"\"\\ud83d\"",
    b"\"\\u0000\"",
    b"\"\xc3\xa9\"",
    b"\"\xc3\"",
    b"\"\t\"",
    b"[]",
    b"[1,\"a\",[null]]",
    b"{}",
    b"{\"k\":1,\"k\":2}",
    b"{\"k\":[{\"l\":true}]}",
    b"[1,]",
    b"\"\\x\"",
    b"\"open",
];
/// Keys, likelier ones more than once.
const KEYS: [&str; 10] = ["text", "text", "text", "text", "id", "id", "a", "b\\u0041", "bA", "\\udc00"];
/// Pieces of CSV, likelier ones more than once.
const PIECES: [&[u8]; 18] = [
    b"\n",
    b"\n",
    b"\n",
    b",",
    b",",
    b",",
    b",",
    b"\"",
    b"\"\"",
    b"1",
    b"0.5",
    b"2020-01-01",
    b"true",
    b"text",
    b"text",
    b"\xff",
    b"\r\n",
    b" ",
];

fn json_line() -> impl Strategy<Value = Vec<u8>> {
    let (key, value) = (prop::sample::select(&KEYS[..]), prop::sample::select(&VALUES[..]));
    let entries = prop::collection::vec((key, value), 0..5);
    let object = entries.prop_map(|entries| {
        let entries: Vec<Vec<u8>> =
            entries.into_iter().map(|(key, value)| [b"\"", key.as_bytes(), b"\": ", value].concat()).collect();
        [b"{", entries.join(&b","[..]).as_slice(), b"}"].concat()
    });
    // Mostly whole objects; some with a byte changed, cut, or with more behind.
    (object, 0..8u8, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut line, how, at, byte)| {
        let at = at.index(line.len());
        match how {
            0 => line[at] = byte,
            1 => line.truncate(at),
            2 => line.extend_from_slice(b" {}"),
            3 => line.insert(at, byte),
            _ => {}
        }
        line
    })
}

fn csv_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(&PIECES[..]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| [b"id,text\n", pieces.concat().as_slice()].concat())
}

/// Surveys and scans a file in every way and compares.
fn check(name: &str, bytes: &[u8], text: bool, batch_rows: usize) {
    let mut folder = Folder::with_batch_rows(batch_rows);
    folder.options.max_row_bytes = 150;
    folder.write(name, bytes);
    let id = Some(IdSource::FirstPresent(vec!["other".into()]));
    let request = if text { Request { id, ..request("text", "") } } else { Request { id, ..everything() } };
    let inputs = folder.all();
    let (surveyed, types) = survey(&inputs, &request).unwrap();
    // Text that is numbers throughout, or in no row, is an error that the user is told of.
    let Ok(schema) = inputs.resolve(types) else { return };
    let scanned = scan(&inputs, &schema, &request).unwrap();
    assert_eq!(scanned.rejects, surveyed.rejects);
    let n_columns = schema.schema().fields().len();
    let added: Vec<usize> = (n_columns..scanned.rows.num_columns()).collect();
    assert_eq!(scanned.rows.project(&added).unwrap(), surveyed.rows);
    assert_eq!(schema.n_rows(), (scanned.rows.num_rows() + scanned.rejects.len()) as u64);
    let positions: Vec<Option<String>> = (0..schema.n_rows()).map(|row| Some(row.to_string())).collect();
    let mut seen = texts(&scanned.rows, "tamis_row");
    seen.extend(scanned.rejects.iter().map(|reject| Some(reject.row.to_string())));
    seen.sort_by_key(|row| row.as_ref().unwrap().parse::<u64>().unwrap());
    assert_eq!(seen, positions);
    let few = Request { columns: Columns::Named(Vec::new()), ..everything() };
    assert_eq!(scan(&inputs, &schema, &few).unwrap().rejects, surveyed.rejects);
    let odd = only(&request, (0..schema.n_rows()).filter(|row| row % 2 == 1));
    let odd = scan(&inputs, &schema, &odd).unwrap();
    let expected: Vec<_> = surveyed.rejects.iter().filter(|reject| reject.row % 2 == 1).cloned().collect();
    assert_eq!(odd.rejects, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(11), ..ProptestConfig::default() })]

    #[test]
    fn json_passes_agree(lines in prop::collection::vec(json_line(), 1..12), text: bool, batch_rows in 1..5usize) {
        check("x.jsonl", &lines.join(&b"\n"[..]), text, batch_rows);
    }

    #[test]
    fn csv_passes_agree(csv in csv_text(), text: bool, batch_rows in 1..5usize) {
        check("x.csv", &csv, text, batch_rows);
    }
}
