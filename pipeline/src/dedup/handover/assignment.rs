//! Who decides: from pairs and sets to drops.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use tamis_schemas::columns::ROW;

use super::pairs::Pairs;
use super::{Handed, Part, STAGE, SearchCounts};
use crate::context::Context;
use crate::dedup::columns::SHINGLES;
use crate::dedup::earlier::{Earlier, EarlierRows};
use crate::dedup::identical::Identical;
use crate::dedup::keep::Ranks;
use crate::dedup::lists::Lists;
use crate::dedup::near_duplicates::Closing;
use crate::dedup::prune::OpenPairs;
use crate::dedup::report::{NearDuplicateResult, ResultHandle};
use crate::dedup::settings::Settings;
use crate::dedup::tape::RowTableWriter;
use crate::spill::ExternalSorter;
use crate::stage::{BarrierStage, Next};
use crate::{Error, Result, RowSet};

/// Shingles that are observed together, about.
const BATCH_SHINGLES: usize = 1 << 18;

/// The second part: takes what the first has handed on, sets last, and decides.
#[derive(Debug)]
pub(crate) struct Assignment {
    settings: Settings,
    part: Part,
    /// Rows of earlier runs that take part.
    earlier: Option<EarlierRows>,
    /// Of rows of earlier runs.
    ids: ExternalSorter<(u64, Vec<u8>)>,
    state: State,
}

#[derive(Debug)]
enum State {
    Taking(Box<Taking>),
    Proving { barrier: Box<dyn BarrierStage>, result: ResultHandle, sets: Sets },
    Decided(ResultHandle),
}

#[derive(Debug)]
struct Taking {
    counts: Option<SearchCounts>,
    row_of_rank: RowTableWriter<u64>,
    rank_of_row: ExternalSorter<(u64, u64)>,
    members: ExternalSorter<(u64, u64)>,
    pairs: Pairs,
}

/// Sets that are observed together.
#[derive(Debug, Default)]
struct Sets {
    rows: Vec<u64>,
    lists: Lists,
    n_shingles: usize,
}

impl Sets {
    fn push(&mut self, row: u64, shingles: &[u64]) -> bool {
        self.rows.push(row);
        self.lists.push(shingles);
        self.n_shingles += shingles.len();
        self.n_shingles >= BATCH_SHINGLES
    }

    fn take(&mut self) -> Result<RecordBatch> {
        let Self { rows, lists, .. } = std::mem::take(self);
        let rows: ArrayRef = Arc::new(UInt64Array::from(rows));
        Ok(RecordBatch::try_from_iter([(ROW, rows), (SHINGLES, lists.into_column()?)])?)
    }
}

impl Assignment {
    pub(crate) fn new(settings: &Settings, part: Part, context: &Context) -> Self {
        let taking = Taking {
            counts: None,
            row_of_rank: RowTableWriter::new(STAGE, context),
            rank_of_row: ExternalSorter::new(STAGE, &context.budget),
            members: ExternalSorter::new(STAGE, &context.budget),
            pairs: Pairs::new(context),
        };
        Self {
            settings: settings.clone(),
            part,
            earlier: None,
            ids: ExternalSorter::new(STAGE, &context.budget),
            state: State::Taking(Box::new(taking)),
        }
    }

    /// Takes what comes next. Ranks come in their order, sets in that of their rows and after all else.
    pub(crate) fn push(&mut self, handed: Handed, context: &Context) -> Result<()> {
        if let Handed::Id { row, id } = handed {
            return self.ids.push((row, id.into_bytes()), context);
        }
        if let Handed::Set { row, shingles } = handed {
            if matches!(self.state, State::Taking(_)) {
                self.begin_proof(context)?;
            }
            let State::Proving { barrier, sets, .. } = &mut self.state else {
                return Err(Error::Invariant(format!("nobody asked for the set of row {row}")));
            };
            return if sets.push(row, &shingles) { barrier.observe(&sets.take()?, context) } else { Ok(()) };
        }
        let State::Taking(taking) = &mut self.state else {
            return Err(Error::Invariant("sets come after all else".into()));
        };
        match handed {
            Handed::Counts(counts) => {
                self.earlier = self.earlier.or(counts.earlier);
                taking.counts.get_or_insert_default().add(counts);
            }
            Handed::Rank { rank, row } => {
                taking.row_of_rank.push(rank, &row, context)?;
                taking.rank_of_row.push((row, rank), context)?;
            }
            Handed::Member { first, other } => taking.members.push((first, other), context)?,
            Handed::Edges { .. } | Handed::Open { .. } => taking.pairs.push(&handed, context)?,
            Handed::Wanted { .. }
            | Handed::Set { .. }
            | Handed::Id { .. }
            | Handed::Drop(_)
            | Handed::Cluster { .. } => {
                return Err(Error::Invariant(format!("{handed:?} is not for who decides")));
            }
        }
        Ok(())
    }

    fn begin_proof(&mut self, context: &Context) -> Result<()> {
        let (result, next) = match std::mem::replace(&mut self.state, State::Decided(ResultHandle::default())) {
            State::Taking(taking) => taking.close(&self.settings, self.part, context)?,
            other => return Err(Error::Invariant(format!("a proof begins once: {other:?}"))),
        };
        self.state = match next {
            Next::Done(_) => State::Decided(result),
            Next::Again { barrier, .. } => State::Proving { barrier, result, sets: Sets::default() },
        };
        Ok(())
    }

    /// Decides, and hands on who is dropped for whom.
    pub(crate) fn finish(mut self, context: &Context, mut to: impl FnMut(Handed) -> Result<()>) -> Result<()> {
        if matches!(self.state, State::Taking(_)) {
            self.begin_proof(context)?;
        }
        let result = match self.state {
            State::Decided(result) => result,
            State::Proving { mut barrier, result, mut sets } => {
                barrier.observe(&sets.take()?, context)?;
                barrier.end_of_pass(context)?;
                result
            }
            State::Taking(_) => return Err(Error::Invariant("the proof has not begun".into())),
        };
        let NearDuplicateResult { evidence, report, .. } = result.take()?;
        to(Handed::Counts(SearchCounts::of(&report).against(self.earlier)))?;
        let named = evidence.kept_rows().clone();
        evidence.hand_over(|handed| {
            context.cancel.check()?;
            to(handed)
        })?;
        for record in self.ids.finish(context)? {
            let (row, id) = record?;
            if named.contains(row) {
                to(Handed::Id { row, id: String::from_utf8_lossy(&id).into_owned() })?;
            }
        }
        Ok(())
    }
}

impl Taking {
    fn close(self, settings: &Settings, part: Part, context: &Context) -> Result<(ResultHandle, Next)> {
        let counts = self.counts.or((part == Part::Some).then(SearchCounts::default));
        let counts = counts.ok_or_else(|| Error::Invariant("what was counted is not there".into()))?;
        let ranks = if self.rank_of_row.is_empty() {
            Ranks::ByRow
        } else {
            let mut rank_of_row = RowTableWriter::new(STAGE, context);
            for record in self.rank_of_row.finish(context)? {
                let (row, rank) = record?;
                rank_of_row.push(row, &rank, context)?;
            }
            let row_of_rank = self.row_of_rank.finish(context)?;
            Ranks::Tables { rank_of_row: rank_of_row.finish(context)?, row_of_rank }
        };
        let ranks = match counts.earlier {
            Some(earlier) => earlier.ranks(ranks),
            None => ranks,
        };
        let identical = Identical { members: self.members.finish(context)?, collapsed: RowSet::new() };
        let report = counts.into_report(settings)?;
        let (mut closing, result) = Closing::new(settings.clone(), ranks, identical, report, context);
        let Pairs { edges, open } = self.pairs;
        closing.edges = edges;
        closing.earlier = counts.earlier.map(Earlier::known);
        let mut rows = OpenPairs::new(context);
        for pair in open.finish(context)? {
            rows.push_row(&[pair?], context)?;
        }
        Ok((result, closing.prove_open(rows, None, context)?))
    }
}
