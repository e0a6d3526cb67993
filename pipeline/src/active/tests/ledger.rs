//! What is visible when, and which of two commands wins.

use tamis_schemas::active::{LEDGER_VERSION, LoopSettings, ModelRecord, PoolRecord, RoundRecord, Stability};
use tamis_schemas::config::{InputConfig, Strategy};
use tamis_schemas::manifest::{RowCounts, ScorerRecord, SelectionRecord};
use tempfile::TempDir;

use super::super::Ledger;
use super::answers::label_rows;
use crate::Error;
use crate::context::{Cancel, Context, Resources};
use crate::dedup::index::Stamp;
use crate::store::Stores;

struct Fixture {
    context: Context,
    stores: Stores,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        Self { context, stores: Stores::new::<&str, &str>([]), folder: tempfile::tempdir().unwrap() }
    }

    fn location(&self) -> String {
        self.folder.path().join("loop").display().to_string()
    }

    fn create(&self, settings: &LoopSettings) -> crate::Result<Ledger> {
        let stamp = Stamp { now: 0, nonce: "n".into() };
        Ledger::create(&self.location(), settings, &stamp, &self.stores, &self.context)
    }

    fn open(&self) -> crate::Result<Ledger> {
        Ledger::open(&self.location(), &self.stores, &self.context)
    }
}

fn settings() -> LoopSettings {
    LoopSettings {
        ledger_version: LEDGER_VERSION,
        pool: InputConfig::new(vec!["pool.jsonl".into()]),
        scorer: "builtin".into(),
        head: None,
        cache: None,
        strategy: Strategy::Auto,
        budget: 10,
        random_ratio: 0.1,
        threshold: 0.8,
        stratum_column: None,
        stratum_max_ratio: None,
        max_similarity: None,
        cost_exponent: 0.0,
        classes: Vec::new(),
        max_labels: None,
        stop_set_rows: 10,
        seed: 0,
    }
}

/// A record of a round whose tables are these label rows: the ledger does not look into them.
fn record(ledger: &Ledger, round: u32, why: &str) -> RoundRecord {
    let table = label_rows(&[("1", "x", None, "skipped", None, 0)]);
    RoundRecord {
        ledger_version: LEDGER_VERSION,
        tamis_version: "0".into(),
        round,
        selected_at: 1,
        seed: 1,
        pool: PoolRecord { rows: RowCounts::default(), inputs: Vec::new() },
        labels: Vec::new(),
        model: ModelRecord {
            sha256: String::new(),
            scorer: ScorerRecord {
                name: "builtin".into(),
                device: "cpu".into(),
                device_note: None,
                task: "classes".into(),
                classes: Vec::new(),
                labelled_rows: 0,
                truncated_rows: 0,
                cached_rows: 0,
                right_size: None,
                reference: Vec::new(),
            },
        },
        selection: SelectionRecord {
            strategy: "random".into(),
            why: why.into(),
            shortfall: None,
            pool_rows: 1,
            batch_rows: 1,
            random_rows: 1,
            relabelled_rows: 0,
            labelled_rows: 0,
            unknown_labels: 0,
        },
        stability: Stability::default(),
        batch: ledger.put_table(round, "batch", &table).unwrap(),
        stop_set: ledger.put_table(round, "stop_set", &table).unwrap(),
    }
}

#[test]
fn a_loop_begins_once() {
    let fixture = Fixture::new();
    let missing = fixture.open().unwrap_err();
    assert!(missing.to_string().contains("no labelling loop") && missing.hint().unwrap().contains("al init"));
    fixture.create(&settings()).unwrap();
    fixture.create(&settings()).unwrap();
    let other = fixture.create(&LoopSettings { budget: 11, ..settings() }).unwrap_err();
    assert!(other.to_string().contains("other settings"), "{other}");
    assert_eq!(fixture.open().unwrap().settings(), &settings());
    let around = LoopSettings { pool: InputConfig::new(vec![fixture.location() + "/pool"]), ..settings() };
    assert!(fixture.create(&around).unwrap_err().to_string().contains("overlap"));
}

#[test]
fn of_two_commands_that_choose_one_wins_and_its_tables_stay() {
    let fixture = Fixture::new();
    let (mut first, mut second) = (fixture.create(&settings()).unwrap(), fixture.open().unwrap());
    let (mine, other) = (record(&first, 1, "mine"), record(&second, 1, "other"));
    first.add_round(mine.clone()).unwrap();
    first.add_round(mine.clone()).unwrap();
    assert!(second.add_round(other).unwrap_err().to_string().contains("meanwhile"));
    let opened = fixture.open().unwrap();
    assert_eq!(opened.rounds(), std::slice::from_ref(&mine));
    opened.table(&mine.batch).unwrap();
}

#[test]
fn a_round_without_its_record_is_none() {
    let fixture = Fixture::new();
    let mut ledger = fixture.create(&settings()).unwrap();
    let unfinished = record(&ledger, 1, "unfinished");
    assert_eq!(fixture.open().unwrap().rounds(), []);
    assert_eq!(fixture.open().unwrap().next_round(), 1);
    ledger.add_round(unfinished).unwrap();
    assert_eq!(fixture.open().unwrap().next_round(), 2);
}

#[test]
fn damage_is_told_of() {
    let fixture = Fixture::new();
    let mut ledger = fixture.create(&settings()).unwrap();
    for round in 1..=2 {
        let record = record(&ledger, round, "x");
        ledger.add_round(record).unwrap();
    }
    let is_corrupt = |result: crate::Result<()>| assert!(matches!(result, Err(Error::Corrupt { .. })), "{result:?}");
    let batch = ledger.rounds()[0].batch.clone();
    let path = fixture.folder.path().join("loop").join(&batch.path);
    std::fs::write(&path, b"PAR1 nothing PAR1").unwrap();
    is_corrupt(ledger.table(&batch).map(drop));
    std::fs::remove_file(&path).unwrap();
    is_corrupt(ledger.table(&batch).map(drop));

    ledger.add_labels(Some(2), &label_rows(&[("1", "x", None, "skipped", None, 0)])).unwrap();
    let name = ledger.label_files(Some(2)).unwrap().remove(0);
    std::fs::write(fixture.folder.path().join("loop").join(&name), b"other").unwrap();
    is_corrupt(ledger.labels(&name).map(drop));

    let rounds = fixture.folder.path().join("loop/rounds");
    std::fs::write(rounds.join("000002/round.json"), b"{\"ledger_version\": 1, \"rou").unwrap();
    is_corrupt(fixture.open().map(drop));
    std::fs::write(rounds.join("000002/round.json"), b"{\"ledger_version\": 2}").unwrap();
    assert!(matches!(fixture.open(), Err(Error::Config { .. })));
    std::fs::remove_file(rounds.join("000001/round.json")).unwrap();
    is_corrupt(fixture.open().map(drop));
}

#[test]
fn labels_are_kept_in_the_order_in_which_they_came() {
    let fixture = Fixture::new();
    let ledger = fixture.create(&settings()).unwrap();
    let rows = |label: &'static [&'static str]| label_rows(&[("1", "x", Some(label), "submitted", None, 0)]);
    for round in [Some(1), None] {
        for label in [&["b"], &["a"], &["b"]] {
            ledger.add_labels(round, &rows(label)).unwrap();
        }
        let names = ledger.label_files(round).unwrap();
        let numbers: Vec<&str> = names.iter().map(|name| &name.rsplit('/').next().unwrap()[..7]).collect();
        assert_eq!(numbers, ["000001-", "000002-", "000003-"]);
        assert_eq!(ledger.labels(&names[1]).unwrap(), rows(&["a"]));
    }
}
