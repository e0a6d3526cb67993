//! What a driver hands a session once all is written.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{StringArray, UInt64Array};
use tamis_schemas::config::Table;
use tamis_schemas::manifest::FileRecord;

use super::index::TaskSegments;
use super::judged::JudgedRun;
use super::more::MoreDropped;
use super::picked::PickedRun;
use super::record::{Kind, Record};
use super::scored::ScoredRun;
use super::write::{WrittenFile, WrittenRows};
use crate::context::Context;
use crate::dedup::{Decisions, Handed, Settings};
use crate::run::sources::{SourceCounts, Tallies};
use crate::spill::ExternalSorter;
use crate::{Error, Result};

/// Ids that are handed on together.
const BATCH_ROWS: usize = 8192;

/// See the module.
#[derive(Debug)]
pub(super) struct Told {
    /// Of each table the files, and the unit that each is of.
    pub(super) files: BTreeMap<Table, Vec<(Option<u64>, FileRecord)>>,
    /// Units that were written.
    pub(super) units: BTreeSet<u64>,
    pub(super) rows: WrittenRows,
    /// If near-duplicates are looked for.
    pub(super) decisions: Option<Decisions>,
    pub(super) more: MoreDropped,
    pub(super) ids: Ids,
    pub(super) sources: SourceCounts,
    pub(super) scored: ScoredRun,
    pub(super) judged: JudgedRun,
    pub(super) picked: PickedRun,
    pub(super) used: Vec<Vec<u8>>,
}

impl Told {
    /// Nothing so far. `settings` are those of the search for near-duplicates, among so many rows.
    pub(super) fn new(settings: Option<&Settings>, n_compared: u64, context: &Context) -> Self {
        Self {
            files: BTreeMap::new(),
            units: BTreeSet::new(),
            rows: WrittenRows::default(),
            decisions: settings.map(|settings| Decisions::new(settings, n_compared, context)),
            more: MoreDropped::new(context),
            ids: Ids(ExternalSorter::new("ids", &context.budget)),
            sources: SourceCounts::new(context),
            scored: ScoredRun::default(),
            judged: JudgedRun::default(),
            picked: PickedRun::new(context),
            used: Vec::new(),
        }
    }

    /// Takes a record; `segments` are those of the index that the run adds to.
    ///
    /// # Errors
    /// `Error::Invariant` for what comes twice, or was not asked for.
    pub(super) fn take(
        &mut self,
        record: Record,
        segments: Option<&mut TaskSegments>,
        context: &Context,
    ) -> Result<()> {
        match record.kind {
            Kind::File => {
                let WrittenFile { table, record: file } = record.value()?;
                self.files.entry(table).or_default().push((record.unit, file));
                Ok(())
            }
            Kind::Rows => self.take_rows(record.a, record.value()?),
            Kind::Id => self.ids.0.push((record.a, record.payload), context),
            Kind::Segment => {
                let segments = segments.ok_or_else(|| Error::Invariant("nobody asked for rows of an index".into()))?;
                segments.push(record.a, record.value()?);
                Ok(())
            }
            Kind::Sources => {
                let tallies = Tallies::of_bytes(&record.payload)
                    .map_err(|error| Error::config(format!("counts of sources cannot be read: {error}")))?;
                self.sources.add(tallies, context)
            }
            Kind::Learnt if record.a == 0 => self.scored.push_learnt(record.value()?, record.b),
            Kind::Learnt => self.judged.push_learnt(record.value()?, record.b, record.c),
            Kind::Grain => self.more.push_grain(record.value()?),
            Kind::Folded => self.more.push_semantic(record.value()?),
            Kind::Sifted => self.judged.push(record.value()?),
            Kind::Scored => self.scored.push_unit(record.a, record.value()?),
            Kind::Used => {
                self.used.push(record.payload);
                Ok(())
            }
            Kind::Chosen => self.picked.push_chosen(record),
            Kind::Selected => self.picked.push_record(record.value()?),
            Kind::TableRows => self.picked.push_rows(&record),
            _ => match (record.into_handed()?, &mut self.decisions) {
                (Some(Handed::Drop(drop)), _) if !drop.rule.is_of_search() => self.more.push_drop(drop, context),
                (Some(handed), Some(decisions)) => decisions.push(&handed, context),
                _ => Ok(()),
            },
        }
    }

    fn take_rows(&mut self, unit: u64, of_unit: WrittenRows) -> Result<()> {
        if !self.units.insert(unit) {
            return Err(Error::Invariant(format!("unit {unit} was written twice")));
        }
        let rows = &mut self.rows;
        rows.kept += of_unit.kept;
        rows.dropped += of_unit.dropped;
        rows.rejected += of_unit.rejected;
        for (reason, n_rows) in of_unit.reasons {
            *rows.reasons.entry(reason).or_default() += n_rows;
        }
        rows.cuts.iter_mut().zip(of_unit.cuts).for_each(|(sum, n)| *sum += n);
        self.more.push_told(unit, of_unit.told);
        Ok(())
    }
}

/// Ids of rows, in any order.
#[derive(Debug)]
pub(super) struct Ids(ExternalSorter<(u64, Vec<u8>)>);

impl Ids {
    /// Visits them in the order of the rows.
    pub(super) fn for_each(
        self,
        context: &Context,
        mut visit: impl FnMut(&UInt64Array, &StringArray) -> Result<()>,
    ) -> Result<()> {
        let mut sorted = self.0.finish(context)?.peekable();
        while sorted.peek().is_some() {
            context.cancel.check()?;
            let batch = sorted.by_ref().take(BATCH_ROWS).collect::<Result<Vec<_>>>()?;
            let rows = UInt64Array::from_iter_values(batch.iter().map(|(row, _)| *row));
            let ids = StringArray::from_iter_values(batch.iter().map(|(_, id)| String::from_utf8_lossy(id)));
            visit(&rows, &ids)?;
        }
        Ok(())
    }
}
