//! A driver of kernels in one process: no cluster, but the streams, the order and the parts of one.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, is_not_null, take_record_batch};
use arrow::datatypes::Int64Type;
use serde_json::Value;

use super::records::{
    column, drops_of_named, having_rows, int64s, lists, members_as_records, of_kinds, of_several_rows, of_units,
    positioned, sorted, summaries, with_columns, with_fate, with_list, with_payloads,
};
use super::started::{run_on, stream_with};

pub use super::started::{Place, Session, kernel, run, stream};

/// What becomes of records.
pub type Change = fn(&RecordBatch) -> RecordBatch;

/// A run by kernels.
pub struct Driver<'a> {
    pub place: Place<'a>,
    pub config: PathBuf,
    pub unit_bytes: u64,
    /// Units that one kernel reads.
    pub units_at_once: usize,
    pub n_bucket_tasks: i64,
    /// Tasks that decide who is dropped.
    pub n_parts: i64,
    /// Whether it takes the place of what is in the output.
    pub overwrite: bool,
    /// Whether it goes on to the end, or only to where all is written.
    pub commits: bool,
    /// What becomes of the input of a kernel on its way there.
    pub on_its_way: Option<(&'static str, Change)>,
}

/// How it ended.
pub struct Ended {
    pub manifest: Value,
    pub code: i32,
    pub n_units: usize,
    pub n_proven_sets: usize,
}

impl<'a> Driver<'a> {
    /// Three units to a kernel, buckets in two tasks.
    pub fn new(place: Place<'a>, config: PathBuf, unit_bytes: u64) -> Self {
        Self {
            place,
            config,
            unit_bytes,
            units_at_once: 3,
            n_bucket_tasks: 2,
            n_parts: 1,
            overwrite: false,
            commits: true,
            on_its_way: None,
        }
    }

    pub fn run(&self) -> Ended {
        self.try_run().unwrap_or_else(|stderr| panic!("{stderr}"))
    }

    /// Checks that a kernel says what is wrong with what `change` made of its input.
    pub fn expect_fault(self, kernel: &'static str, change: Change, expect: &str) {
        let driver = Self { on_its_way: Some((kernel, change)), ..self };
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| driver.run())).err();
        let told = panicked.expect("a kernel ends with an error");
        let told = told.downcast_ref::<String>().expect("what it said");
        assert!(told.contains(expect), "{kernel}: {told}");
    }

    /// Checks that the session says what is wrong with what `change` made of the records that it was to commit.
    pub fn expect_refusal(&self, change: impl FnOnce(RecordBatch) -> RecordBatch, expect: &str) {
        let told = self.try_run_and(change).map(|ended| ended.code);
        assert!(told.as_ref().is_err_and(|told| told.contains(expect)), "{expect}: {told:?}");
    }

    /// What the session said on stderr if it did not commit.
    pub fn try_run(&self) -> Result<Ended, String> {
        self.try_run_and(|records| records)
    }

    /// As [`try_run`](Self::try_run); `change` sees the records of `assign` and `write` before they are committed.
    pub fn try_run_and(&self, change: impl FnOnce(RecordBatch) -> RecordBatch) -> Result<Ended, String> {
        let flags: &[&str] = if self.overwrite { &["--overwrite"] } else { &[] };
        let mut session = Session::start_with(self.place, &self.config, self.unit_bytes, flags);
        let units = session.read();
        let n_units = units.batch.num_rows();
        let job = units.job.unwrap();
        let scanned = self.each(&units.batch, "scan", &job);
        session.write(&summaries(&scanned));
        let places = session.try_read()?;
        let job = places.job.unwrap();
        let placed = with_columns(
            &units.batch,
            &places.batch,
            &["base_row", "first_row", "n_rows", "rejected", "contaminated", "repeated"],
        );
        let mut n_proven_sets = 0;
        let mut decided = None;
        let all_stages: Vec<&str> = units.stages.iter().map(String::as_str).collect();
        let of_search = ["fingerprint", "bucket", "prune", "compare", "prove", "assign"];
        let stages: Vec<&str> = all_stages.iter().copied().filter(|stage| of_search.contains(stage)).collect();
        if !stages.is_empty() {
            let scanned_again = (stages[0] == "fingerprint").then(|| self.each(&placed, "scan", &job));
            let fingerprints = scanned_again.unwrap_or(scanned);
            let is_row = is_not_null(column(&fingerprints, "exact_key")).unwrap();
            let rows = positioned(&filter_record_batch(&fingerprints, &is_row).unwrap(), &places.batch);
            let (compared, parts) = if stages[0] == "bucket" {
                assert_eq!(stages, ["bucket", "prune", "prove", "assign"]);
                self.compare_buckets(&rows, &job)
            } else {
                assert!(stages.ends_with(&["compare", "prove", "assign"]), "{stages:?}");
                (run(self.place, "compare", &rows, &job, "c"), Parts::default())
            };
            let wanted = of_kinds(&compared, &[5]);
            let mut records = of_kinds(&compared, &[0, 1, 2, 3, 4, 6, 11]);
            if wanted.num_rows() > 0 {
                let lists = lists(n_units, &wanted, "a", "a");
                let sets = self.each(&having_rows(&with_list(&placed, "rows", lists)), "prove", &job);
                n_proven_sets = sets.num_rows();
                assert_eq!(n_proven_sets, wanted.num_rows());
                records = concat_batches(&records.schema(), [&records, &sets]).unwrap();
            }
            decided = Some(self.in_parts("assign", &records, &parts, &job));
        }
        let mut held = None;
        let units_of = |decided: Option<&RecordBatch>, held: Option<&RecordBatch>| {
            let units = with_fate(&placed, decided);
            held.map_or_else(|| units.clone(), |held| with_payloads(&units, "cuts", held, 37))
        };
        for (read, decide) in [("divide", "hold"), ("embed", "fold")] {
            if !all_stages.contains(&decide) {
                continue;
            }
            let made = self.each(&units_of(decided.as_ref(), held.as_ref()), read, &job);
            let mut parts = if read == "divide" {
                vec![of_kinds(&made, &[33]), of_several_rows(&made)]
            } else {
                vec![of_kinds(&made, &[39, 40])]
            };
            parts.extend(held.iter().map(|held| of_kinds(held, &[36])));
            parts.extend(decided.iter().map(|decided| of_kinds(decided, &[7])));
            let order: &[&str] = if read == "divide" { &["kind", "a", "b"] } else { &["kind", "unit", "a"] };
            let records = sorted(&concat_batches(&made.schema(), &parts).unwrap(), order);
            let found = run(self.place, decide, &self.handed_on(decide, records), &job, decide);
            let of_drops = of_kinds(&found, &[7, 36, 38, 41]);
            decided = Some(concat_batches(&found.schema(), decided.iter().chain([&of_drops])).unwrap());
            if decide == "hold" {
                held = Some(found);
            }
        }
        let to_write = units_of(decided.as_ref(), held.as_ref());
        let (to_write, mut records) = self.judge(&all_stages, to_write, &job);
        // As if a task was done twice: what one of its tries wrote must not be seen.
        run(self.place, "write", &to_write.slice(0, 1), &job, "lost");
        records.extend(self.scores(&all_stages, &to_write, decided.as_ref(), &job));
        records.push(self.each(&to_write, "write", &job));
        records.extend(decided);
        let records = concat_batches(&records[0].schema(), &records).unwrap();
        if !self.commits {
            return Err(session.end().1);
        }
        session.write(&change(records));
        let manifest = session.try_read()?;
        let manifest = serde_json::from_str(column(&manifest.batch, "manifest").as_string::<i32>().value(0)).unwrap();
        let (code, stderr) = session.end();
        Ok(Ended { manifest, code: code.ok_or(stderr)?, n_units, n_proven_sets })
    }

    /// The units with what quality decides of their rows, and what a session wants to know of it.
    fn judge(&self, stages: &[&str], units: RecordBatch, job: &str) -> (RecordBatch, Vec<RecordBatch>) {
        if !stages.contains(&"judge") {
            return (units, Vec::new());
        }
        let of_quality = [("tamis.section", "quality")];
        let (mut records, mut scorer) = (Vec::new(), None);
        if stages.contains(&"quality-learn") {
            let texts = sorted(&self.each_with(&units, "texts", job, &of_quality), &["kind", "a", "b"]);
            let learnt = run_on(self.place, "learn", stream_with(&texts, job, &of_quality), "ql");
            let of_scorer = of_kinds(&learnt, &[16]);
            scorer = Some(column(&of_scorer, "payload").as_binary::<i32>().value(0).to_vec());
            records.push(of_kinds(&learnt, &[17]));
        }
        let judged = self.each_with_scorer(&units, "judge", job, &[], scorer.as_deref());
        records.extend(self.tabulate(&judged, units.num_rows(), job));
        let scores = self.handed_on("sift", sorted(&of_kinds(&judged, &[27, 28]), &["kind", "unit", "a"]));
        let sifted = run(self.place, "sift", &scores, job, "s");
        let units = with_payloads(&with_payloads(&units, "unfit", &sifted, 29), "control", &sifted, 30);
        records.push(of_kinds(&sifted, &[31]));
        (units, records)
    }

    /// Writes rows of tables; gives records of their files.
    fn tabulate(&self, made: &RecordBatch, n_units: usize, job: &str) -> Vec<RecordBatch> {
        let rows = sorted(&of_kinds(made, &[18]), &["unit", "b", "a"]);
        let starts = (0..n_units).step_by(self.units_at_once);
        let of_task = |start| {
            let of_task = self.handed_on("tabulate", of_units(&rows, start, self.units_at_once));
            run(self.place, "tabulate", &of_task, job, &format!("lost.{start}"));
            run(self.place, "tabulate", &of_task, job, &format!("t.{start}"))
        };
        starts.map(of_task).collect()
    }

    /// What a session wants to know of scoring and selecting; the rows are in their tables then.
    fn scores(
        &self,
        stages: &[&str],
        units: &RecordBatch,
        decided: Option<&RecordBatch>,
        job: &str,
    ) -> Vec<RecordBatch> {
        let (mut records, mut scorer, mut known) = (Vec::new(), None, None);
        if stages.contains(&"learn") {
            let mut texts = self.each(units, "texts", job);
            if let Some(decided) = decided.filter(|_| stages.contains(&"choose")) {
                texts = concat_batches(&texts.schema(), [&texts, &drops_of_named(decided, &texts)]).unwrap();
            }
            let texts = self.handed_on("learn", sorted(&texts, &["kind", "a", "b"]));
            let learnt = run(self.place, "learn", &texts, job, "l");
            let payload = |kind: i64| {
                let found = of_kinds(&learnt, &[kind]);
                assert!(found.num_rows() < 2);
                (found.num_rows() == 1).then(|| column(&found, "payload").as_binary::<i32>().value(0).to_vec())
            };
            (scorer, known) = (payload(16), payload(22));
            assert_eq!(known.is_some(), stages.contains(&"choose"));
            records.push(of_kinds(&learnt, &[17]));
        }
        if !stages.contains(&"score") {
            return records;
        }
        let known = known.map(|known| String::from_utf8(known).unwrap());
        let known: Vec<(&str, &str)> = known.iter().map(|known| ("tamis.known", known.as_str())).collect();
        let n_units = units.num_rows();
        let scored = self.each_with_scorer(units, "score", job, &known, scorer.as_deref());
        records.push(of_kinds(&scored, &[19]));
        records.extend(self.tabulate(&scored, n_units, job));
        if stages.contains(&"choose") {
            let chosen = self.choose(&of_kinds(&scored, &[23, 24]), n_units, job, &known);
            if stages.contains(&"pick") {
                let rows = with_list(units, "rows", lists(n_units, &of_kinds(&chosen, &[25]), "a", "a"));
                records.push(self.each_with_scorer(&having_rows(&rows), "pick", job, &[], scorer.as_deref()));
            }
            records.push(chosen);
        }
        records
    }

    /// The batch, from what was seen of all units, which some tasks join before.
    fn choose(&self, seen: &RecordBatch, n_units: usize, job: &str, known: &[(&str, &str)]) -> RecordBatch {
        let mut gathered = vec![seen.clone()];
        if self.units_at_once > 1 {
            let starts = (0..n_units).step_by(self.units_at_once);
            let of_task = |start| {
                let some = sorted(&of_units(seen, start, self.units_at_once), &["kind", "unit", "a"]);
                run_on(self.place, "gather", stream_with(&some, job, known), &format!("g.{start}"))
            };
            gathered = starts.map(of_task).collect();
        }
        let all = sorted(&concat_batches(&seen.schema(), &gathered).unwrap(), &["kind", "unit", "a"]);
        let all = self.handed_on("choose", all);
        run_on(self.place, "choose", stream_with(&all, job, known), "ch")
    }

    fn handed_on(&self, kernel: &str, records: RecordBatch) -> RecordBatch {
        match self.on_its_way {
            Some((of, change)) if of == kernel => change(&records),
            _ => records,
        }
    }

    /// What Spark does between scans and proofs: identical texts collapse, rows meet by the keys of their bands.
    fn compare_buckets(&self, rows: &RecordBatch, job: &str) -> (RecordBatch, Parts) {
        let (positions, exact_keys) = (int64s(rows, "row"), column(rows, "exact_key").as_binary::<i32>());
        let mut first_of: HashMap<&[u8], i64> = HashMap::new();
        let mut members = Vec::new();
        let mut met: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for row in 0..rows.num_rows() {
            let position = positions.value(row);
            let first = *first_of.entry(exact_keys.value(row)).or_insert(position);
            if first < position {
                members.push((first, position));
                continue;
            }
            for &key in column(rows, "keys").as_list::<i32>().value(row).as_primitive::<Int64Type>().values() {
                met.entry(key).or_default().push(row);
            }
        }
        met.retain(|_, rows| rows.len() > 1);
        let hot_keys: Vec<i64> = met.iter().filter(|(_, rows)| rows.len() > 1000).map(|(&key, _)| key).collect();
        let mut found: Vec<RecordBatch> = Vec::new();
        for task in 0..self.n_bucket_tasks {
            let of_task = met.iter().filter(|(key, _)| key.rem_euclid(self.n_bucket_tasks) == task);
            let (keys, of_keys): (Vec<i64>, Vec<u32>) =
                of_task.flat_map(|(&key, rows)| rows.iter().map(move |&row| (key, row as u32))).unzip();
            let some = take_record_batch(rows, &UInt32Array::from(of_keys)).unwrap();
            let keys: ArrayRef = Arc::new(Int64Array::from(keys));
            let (row, sketch) = (Arc::clone(column(&some, "row")), Arc::clone(column(&some, "sketch")));
            let input = RecordBatch::try_from_iter([("key", keys), ("row", row), ("sketch", sketch)]).unwrap();
            let input = stream_with(&input, job, &[("tamis.hot_keys", &format!("{hot_keys:?}"))]);
            found.push(run_on(self.place, "bucket", input, &format!("b{task}")));
        }
        let parts = self.parts(&found, job);
        let pairs = concat_batches(&found[0].schema(), &found).unwrap();
        let pruned = self.in_parts("prune", &pairs, &parts, job);
        let members = members_as_records(&pruned, &members);
        (concat_batches(&pruned.schema(), [&pruned, &members]).unwrap(), parts)
    }

    /// In which part the rows of pairs are, of which each batch is what one task has found.
    fn parts(&self, found: &[RecordBatch], job: &str) -> Parts {
        let mut parts = Parts { roots: BTreeMap::new(), n_parts: self.n_parts };
        for (task, pairs) in found.iter().enumerate().filter(|_| self.n_parts > 1) {
            let links = run(self.place, "link", pairs, job, &format!("link.{task}"));
            let (rows, least) = (int64s(&links, "a"), int64s(&links, "b"));
            (0..links.num_rows()).for_each(|link| parts.join(rows.value(link), least.value(link)));
        }
        parts
    }

    /// Runs a kernel on the records of each part, all after each other.
    fn in_parts(&self, name: &str, records: &RecordBatch, parts: &Parts, job: &str) -> RecordBatch {
        let mut batches = Vec::new();
        let (kinds, rows) = (int64s(records, "kind"), int64s(records, "a"));
        for part in 0..parts.n_parts {
            let is_of_part: BooleanArray = (0..records.num_rows())
                .map(|record| Some(part == if kinds.value(record) == 0 { 0 } else { parts.of(rows.value(record)) }))
                .collect();
            let some = sorted(&filter_record_batch(records, &is_of_part).unwrap(), &["kind", "a", "b"]);
            let input = stream_with(&some, job, &[("tamis.parts", &parts.n_parts.to_string())]);
            batches.push(run_on(self.place, name, input, &format!("{name}.{part}")));
        }
        concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    /// Runs a kernel on some units at once, all after each other.
    fn each(&self, units: &RecordBatch, name: &str, job: &str) -> RecordBatch {
        self.each_with(units, name, job, &[])
    }

    fn each_with(&self, units: &RecordBatch, name: &str, job: &str, metadata: &[(&str, &str)]) -> RecordBatch {
        self.each_changed(units, name, job, metadata, |some| some)
    }

    /// Each unit with the scorer.
    fn each_with_scorer(
        &self,
        units: &RecordBatch,
        name: &str,
        job: &str,
        metadata: &[(&str, &str)],
        scorer: Option<&[u8]>,
    ) -> RecordBatch {
        self.each_changed(units, name, job, metadata, |some| {
            let scorers: ArrayRef = Arc::new(BinaryArray::from(vec![scorer; some.num_rows()]));
            let scorers = RecordBatch::try_from_iter_with_nullable([("scorer", scorers, true)]).unwrap();
            with_columns(&some, &scorers, &["scorer"])
        })
    }

    fn each_changed(
        &self,
        units: &RecordBatch,
        name: &str,
        job: &str,
        metadata: &[(&str, &str)],
        change: impl Fn(RecordBatch) -> RecordBatch,
    ) -> RecordBatch {
        let mut batches = Vec::new();
        for start in (0..units.num_rows()).step_by(self.units_at_once) {
            let some = change(units.slice(start, self.units_at_once.min(units.num_rows() - start)));
            let some = self.handed_on(name, some);
            batches.push(run_on(self.place, name, stream_with(&some, job, metadata), &format!("{name}.{start}")));
        }
        concat_batches(&batches[0].schema(), &batches).unwrap()
    }
}

/// Rows that are decided together.
struct Parts {
    /// The least row that a row is connected to, if it is not itself.
    roots: BTreeMap<i64, i64>,
    n_parts: i64,
}

impl Default for Parts {
    fn default() -> Self {
        Self { roots: BTreeMap::new(), n_parts: 1 }
    }
}

impl Parts {
    fn root(&self, row: i64) -> i64 {
        self.roots.get(&row).map_or(row, |&other| self.root(other))
    }

    fn join(&mut self, row: i64, other: i64) {
        let (row, other) = (self.root(row), self.root(other));
        if row != other {
            self.roots.insert(row.max(other), row.min(other));
        }
    }

    fn of(&self, row: i64) -> i64 {
        self.root(row) % self.n_parts
    }
}
