//! Which rows say what others say, from the embeddings of all units.

use std::io::{Read, Write};

use tamis_schemas::manifest::EmbeddingRecord;

use super::Task;
use super::embed::EmbeddedUnit;
use super::expected::Expected;
use super::record::{Kind, Record, RecordWriter, for_each_record};
use super::scored::Works;
use super::stream::{Incoming, Outgoing};
use crate::context::Context;
use crate::dedup::semantic::{SemanticDuplicates, SemanticSettings};
use crate::dedup::{Grouped, Handed};
use crate::run::semantic;
use crate::source::batch_of_bytes;
use crate::spill::ExternalSorter;
use crate::{Error, Result, RowSet};

/// Decides, from records sorted by kind, unit and place.
pub(super) fn fold(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let context = task.with.context;
    let settings = &task.semantic()?.settings;
    let mut seen = Seen::default();
    let mut n_records = 0;
    for_each_record(input, |record| {
        context.cancel.check()?;
        n_records += 1;
        seen.take(&record, settings, context)
    })?;
    let (search, stays, embedding, blank) = seen.finish(task.job.starts.len(), settings, context)?;
    let mut writer = RecordWriter::begin(output)?;
    let unit_of = |row| task.job.unit_of(row);
    let mut kept = ExternalSorter::new("rows that stay for others", &context.budget);
    let report = search.decide(
        |row| stays.contains(row),
        context,
        |drop| {
            kept.push((drop.kept, drop.dropped), context)?;
            writer.push(&Record::of_handed(Handed::Drop(drop), true, unit_of)?)
        },
    )?;
    let mut kept = Grouped::new(kept.finish(context)?)?;
    while let Some((row, _)) = kept.next()? {
        let mut n_dropped = 1;
        while kept.next_if(|(of, _)| *of == row)?.is_some() {
            n_dropped += 1;
        }
        writer.push(&Record { unit: unit_of(row), a: row, c: n_dropped, ..Record::new(Kind::Holder) })?;
    }
    let said = semantic::record(settings, embedding, &report, blank);
    writer.push(&Record { c: n_records, ..Record::json(Kind::Folded, &said)? })?;
    writer.finish()
}

/// What has come, and must come.
#[derive(Debug, Default)]
struct Seen {
    /// Rows that something rests on.
    stays: RowSet,
    pieces: Expected,
    works: Works,
    first: Option<EmbeddingRecord>,
    search: Option<SemanticDuplicates>,
    expected_rows: u64,
    n_rows: u64,
    blank: u64,
}

impl Seen {
    fn take(&mut self, record: &Record, settings: &SemanticSettings, context: &Context) -> Result<()> {
        let unit = || record.unit.ok_or_else(|| Error::Invariant("embeddings that are of no unit".into()));
        match record.kind {
            Kind::Drop | Kind::Holder => {
                self.stays.insert(record.a);
                Ok(())
            }
            Kind::EmbeddedUnit => {
                let EmbeddedUnit { rows, blank, work, first } = record.value()?;
                if !self.pieces.expect(unit()?, record.c) {
                    return Err(lost(&format!("unit {} comes twice", unit()?)));
                }
                self.works.add(Some(&work))?;
                self.expected_rows += rows;
                self.blank += blank;
                self.first = self.first.take().or(first);
                Ok(())
            }
            Kind::Embedded if self.pieces.take(unit()?, record.a) => {
                let batch = batch_of_bytes(&record.payload)?;
                self.n_rows += batch.num_rows() as u64;
                let search = match &mut self.search {
                    Some(search) => search,
                    none => none.insert(SemanticDuplicates::new(
                        settings.clone(),
                        dimensions(self.first.as_ref())?,
                        context,
                    )),
                };
                search.observe(&batch, context)
            }
            Kind::Embedded => Err(lost(&format!("piece {} of unit {} is not the next one", record.a, unit()?))),
            kind => Err(Error::Invariant(format!("no embeddings are told of by records of kind {}", kind as u8))),
        }
    }

    /// The search with all rows, the rows that stay in any case, what is said of the embeddings, and how many rows have none.
    ///
    /// # Errors
    /// `Error::Invariant` if something was lost on its way.
    fn finish(
        self,
        n_units: usize,
        settings: &SemanticSettings,
        context: &Context,
    ) -> Result<(SemanticDuplicates, RowSet, EmbeddingRecord, u64)> {
        let Self { stays, pieces, works, first, search, expected_rows, n_rows, blank } = self;
        if let Some((unit, piece)) = pieces.missing() {
            return Err(lost(&format!("piece {piece} of unit {unit} is not there")));
        }
        if pieces.n_units() != n_units || n_rows != expected_rows {
            let n_found = pieces.n_units();
            return Err(lost(&format!("{n_found} of {n_units} units, with {n_rows} of {expected_rows} rows")));
        }
        let search = match search {
            Some(search) => search,
            None if n_units == 0 => SemanticDuplicates::new(settings.clone(), 1, context),
            None => SemanticDuplicates::new(settings.clone(), dimensions(first.as_ref())?, context),
        };
        Ok((search, stays, works.of_embedding(first.unwrap_or_default(), n_rows), blank))
    }
}

fn dimensions(first: Option<&EmbeddingRecord>) -> Result<usize> {
    let dimensions = first.map(|record| record.dimensions as usize).filter(|&dimensions| dimensions != 0);
    dimensions.ok_or_else(|| lost("nothing is said of unit 0"))
}

fn lost(what: &str) -> Error {
    Error::Invariant(format!("the embeddings are not whole: {what}"))
}
