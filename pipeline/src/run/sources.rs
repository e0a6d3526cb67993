//! Rows and dropped rows by source, however many sources there are.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tamis_schemas::columns;

use super::Run;
use super::ids::{column, rows_of};
use crate::budget::Reservation;
use crate::context::Context;
use crate::spill::{ExternalSorter, Record};
use crate::{Error, Result, decontaminate, quality};

const STAGE: &str = "loss guards";
/// Dropped rows that are remembered of a source.
const N_EXAMPLES: usize = 5;
/// Bytes that an entry of the map takes beside its name.
const BYTES_PER_SOURCE: usize = 2 * size_of::<(Vec<u8>, Tally)>();

/// Where the source of a row is found.
#[derive(Debug, Clone)]
pub(super) enum SourceOf {
    /// Its file, by these names.
    File(Vec<String>),
    /// A column.
    Column(String),
}

/// Name of a source: 1 and its text, or nothing for rows without a value.
type Name = Vec<u8>;

/// Rows of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Tally {
    n_rows: u64,
    n_dropped: u64,
    /// The first dropped rows, as many as there are.
    first: [u64; N_EXAMPLES],
}

impl Tally {
    fn add(&mut self, other: &Self) {
        let mut first: Vec<u64> = self.examples().iter().chain(other.examples()).copied().collect();
        first.sort_unstable();
        first.truncate(N_EXAMPLES);
        self.first[..first.len()].copy_from_slice(&first);
        self.n_rows += other.n_rows;
        self.n_dropped += other.n_dropped;
    }

    fn examples(&self) -> &[u64] {
        &self.first[..N_EXAMPLES.min(self.n_dropped as usize)]
    }

    fn drop(&mut self, row: u64) {
        if let Some(place) = self.first.get_mut(self.n_dropped as usize) {
            *place = row;
        }
        self.n_dropped += 1;
    }
}

impl Record for Tally {
    fn encode(&self, out: &mut impl Write) -> io::Result<()> {
        [self.n_rows, self.n_dropped].iter().chain(&self.first).try_for_each(|number| number.encode(out))
    }

    fn decode(input: &mut impl Read) -> io::Result<Self> {
        let mut tally = Self { n_rows: u64::decode(input)?, n_dropped: u64::decode(input)?, ..Self::default() };
        for place in &mut tally.first {
            *place = u64::decode(input)?;
        }
        Ok(tally)
    }
}

/// The sources of some rows.
#[derive(Debug, Default)]
pub(super) struct Tallies(HashMap<Name, Tally>);

impl Tallies {
    /// For another process.
    pub(super) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for (name, tally) in &self.0 {
            name.encode(&mut bytes)?;
            tally.encode(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// From another process.
    pub(super) fn of_bytes(mut bytes: &[u8]) -> io::Result<Self> {
        let mut tallies = Self::default();
        while !bytes.is_empty() {
            tallies.0.insert(Name::decode(&mut bytes)?, Tally::decode(&mut bytes)?);
        }
        Ok(tallies)
    }
}

impl SourceOf {
    /// As the config says.
    pub(super) fn new(run: Run<'_>) -> Self {
        match &run.config.input.source {
            Some(name) => Self::Column(name.clone()),
            None => Self::File(run.inputs.files().iter().map(|file| file.name.clone()).collect()),
        }
    }

    /// The input columns that it looks at.
    pub(super) fn columns(&self) -> Vec<String> {
        match self {
            Self::File(_) => Vec::new(),
            Self::Column(name) => vec![name.clone()],
        }
    }

    /// Counts the rows of a batch of one file; those with a reason are dropped. Rows that contain a held-out item are not counted at all, and
    /// it is no loss if their quality drops rows.
    pub(super) fn count(&self, file: usize, batch: &RecordBatch) -> Result<Tallies> {
        let rows = rows_of(batch)?.values();
        let reasons = column(batch, columns::REASON)?.as_string::<i32>();
        let mut tallies = Tallies::default();
        let mut count = |name: &[u8], index: usize| {
            let reason = reasons.is_valid(index).then(|| reasons.value(index));
            if reason == Some(decontaminate::REASON) {
                return;
            }
            let tally = match tallies.0.get_mut(name) {
                Some(tally) => tally,
                None => tallies.0.entry(name.to_vec()).or_default(),
            };
            tally.n_rows += 1;
            if reason.is_some_and(|reason| reason != quality::REASON) {
                tally.drop(rows[index]);
            }
        };
        match self {
            Self::File(names) => {
                let name = named(&names[file]);
                (0..rows.len()).for_each(|index| count(name.as_bytes(), index));
            }
            Self::Column(name) => {
                let values = column(batch, name)?;
                let nulls = values.logical_nulls();
                let options = FormatOptions::new();
                let texts = ArrayFormatter::try_new(values, &options)?;
                let mut name = String::new();
                for index in 0..rows.len() {
                    name.clear();
                    if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(index)) {
                        name.push(NAMED);
                        write!(name, "{}", texts.value(index)).map_err(|_| no_text_form(values))?;
                    }
                    count(name.as_bytes(), index);
                }
            }
        }
        Ok(tallies)
    }
}

/// Begins every name, so that an empty one differs from none.
const NAMED: char = '\u{1}';

fn named(name: &str) -> String {
    format!("{NAMED}{name}")
}

fn no_text_form(values: &dyn Array) -> Error {
    let message = format!("input.source names a column of type {}, which has no text form", values.data_type());
    Error::Column { message, hint: None }
}

/// All sources.
#[derive(Debug)]
pub(super) struct SourceCounts {
    counts: HashMap<Name, Tally>,
    reservation: Reservation,
    spilled: ExternalSorter<(Name, Tally)>,
}

/// What a source lost.
#[derive(Debug, PartialEq)]
pub(super) struct SourceLoss {
    /// `None`: the rows without one.
    pub(super) name: Option<String>,
    pub(super) n_rows: u64,
    pub(super) n_dropped: u64,
    /// The first rows dropped.
    pub(super) examples: Vec<u64>,
}

impl SourceCounts {
    pub(super) fn new(context: &Context) -> Self {
        Self {
            counts: HashMap::new(),
            reservation: context.budget.reserve(STAGE),
            spilled: ExternalSorter::new(STAGE, &context.budget),
        }
    }

    /// Adds the rows of a batch.
    pub(super) fn add(&mut self, tallies: Tallies, context: &Context) -> Result<()> {
        for (name, tally) in tallies.0 {
            if let Some(sum) = self.counts.get_mut(&name) {
                sum.add(&tally);
                continue;
            }
            if !self.reservation.try_grow(BYTES_PER_SOURCE + name.len()) {
                self.spill(context)?;
            }
            self.counts.insert(name, tally);
        }
        Ok(())
    }

    fn spill(&mut self, context: &Context) -> Result<()> {
        self.counts.drain().try_for_each(|count| self.spilled.push(count, context))?;
        self.reservation.free();
        Ok(())
    }

    /// Hands the sources out in the order of their names, each once.
    pub(super) fn finish(mut self, context: &Context, mut visit: impl FnMut(SourceLoss)) -> Result<()> {
        self.spill(context)?;
        let mut last: Option<(Name, Tally)> = None;
        for count in self.spilled.finish(context)? {
            let (name, tally) = count?;
            match &mut last {
                Some((last, sum)) if *last == name => sum.add(&tally),
                _ => {
                    if let Some(whole) = last.replace((name, tally)) {
                        visit(SourceLoss::new(whole));
                    }
                }
            }
        }
        if let Some(whole) = last {
            visit(SourceLoss::new(whole));
        }
        Ok(())
    }
}

impl SourceLoss {
    fn new((name, tally): (Name, Tally)) -> Self {
        let name = String::from_utf8_lossy(&name);
        Self {
            name: name.strip_prefix(NAMED).map(str::to_owned),
            n_rows: tally.n_rows,
            n_dropped: tally.n_dropped,
            examples: tally.examples().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray, UInt64Array};

    use super::*;
    use crate::context::{Cancel, Resources};

    /// Counts by definition and under several limits of memory, batch by batch.
    fn check(sources: &[Option<i64>], is_dropped: impl Fn(usize) -> bool) {
        let mut expect: BTreeMap<Option<String>, (u64, Vec<u64>)> = BTreeMap::new();
        for (row, source) in sources.iter().enumerate() {
            let (n_rows, dropped) = expect.entry(source.map(|source| source.to_string())).or_default();
            *n_rows += 1;
            dropped.extend(is_dropped(row).then_some(row as u64));
        }
        let reasons: StringArray = (0..sources.len()).map(|row| is_dropped(row).then_some("identical")).collect();
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("source", Arc::new(Int64Array::from(sources.to_vec())) as ArrayRef, true),
            (columns::ROW, Arc::new(UInt64Array::from_iter_values(0..sources.len() as u64)), false),
            (columns::REASON, Arc::new(reasons), true),
        ])
        .unwrap();
        for (limit_bytes, batch_rows) in [(1 << 30, 1000), (1 << 10, 7), (1, 100_000)] {
            let resources = Resources { memory_limit_bytes: limit_bytes, ..Resources::default() };
            let context = Context::new(&resources, Cancel::default()).unwrap();
            let mut counts = SourceCounts::new(&context);
            let source = SourceOf::Column("source".into());
            for start in (0..sources.len()).step_by(batch_rows) {
                let part = batch.slice(start, batch_rows.min(sources.len() - start));
                counts.add(source.count(0, &part).unwrap(), &context).unwrap();
            }
            let mut found = BTreeMap::new();
            counts
                .finish(&context, |loss| {
                    let examples = loss.examples;
                    assert!(found.insert(loss.name, (loss.n_rows, loss.n_dropped, examples)).is_none());
                })
                .unwrap();
            assert_eq!(found.len(), expect.len());
            for (name, (n_rows, dropped)) in &expect {
                let examples = dropped.iter().copied().take(N_EXAMPLES).collect::<Vec<_>>();
                assert_eq!(found[name], (*n_rows, dropped.len() as u64, examples), "{name:?}");
            }
        }
    }

    #[test]
    fn sources_are_counted_in_any_memory() {
        check(&[], |_| true);
        check(&[None, Some(1), None, Some(1)], |row| row > 1);
        let sources: Vec<Option<i64>> = (0..20_000).map(|row| (row % 11 != 0).then_some(row * 7919 % 3001)).collect();
        check(&sources, |row| row % 3 == 0);
    }
}
