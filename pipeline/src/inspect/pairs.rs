//! Dropped rows beside the rows that stand for them, with both texts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use tamis_schemas::config::Table;

use super::clusters::similarity_bits;
use super::evidence::{self, Proof};
use super::unknown;
use crate::budget::Reservation;
use crate::finished::FinishedRun;
use crate::{Error, Result, decontaminate};

/// A cluster, some of its dropped rows in full.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its id.
    pub id: String,
    /// Rows, the kept one included.
    pub rows: u64,
    /// Rows dropped in this run.
    pub dropped: u64,
    /// The least similar of them.
    pub pairs: Vec<Pair>,
}

/// A dropped row and the one that stands for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// What evidence says.
    pub proof: Proof,
    /// Text of the row that stands for it; `None` if it is not in this run's tables: a row of an earlier run, a held-out
    /// item, or there is none.
    pub kept: Option<Arc<Text>>,
    /// Text of the dropped row; `None` if the run did not write its dropped rows.
    pub dropped: Option<Arc<Text>>,
}

/// A text, or a part of one that is long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The part.
    pub part: String,
    /// Where it begins in the text, in bytes.
    pub start: u64,
    /// Bytes of the whole text.
    pub bytes: u64,
}

impl Text {
    /// At most about `max_bytes` of `text`, around `focus` if that is given.
    fn new(text: &str, max_bytes: usize, focus: Option<&Range<u64>>) -> Self {
        let focus = focus.map_or(0, |focus| (focus.start as usize).min(text.len()));
        let last = text.len().saturating_sub(max_bytes);
        let start = text.floor_char_boundary(focus.saturating_sub(max_bytes / 2).min(last));
        let end = text.floor_char_boundary(start.saturating_add(max_bytes).min(text.len()));
        Self { part: text[start..end].to_owned(), start: start as u64, bytes: text.len() as u64 }
    }

    /// Bytes of the text that are not in the part.
    pub fn missing_bytes(&self) -> u64 {
        self.bytes - self.part.len() as u64
    }
}

/// The clusters of these ids, in their order, with at most `limit` of their dropped rows, the least similar first, and at
/// most `max_bytes` of each text.
///
/// # Errors
/// `Error::Config` for an id without a cluster.
pub fn clusters(run: &FinishedRun<'_>, ids: &[&str], limit: usize, max_bytes: usize) -> Result<Vec<Cluster>> {
    let evidence = evidence::open(run)?;
    let mut found: HashMap<&str, Members> = ids.iter().map(|&id| (id, Members::default())).collect();
    evidence::for_each(&evidence, |row| {
        if let Some(members) = row.cluster_id.and_then(|id| found.get_mut(id)) {
            members.rows = members.rows.max(row.cluster_size.unwrap_or(0));
            members.dropped += 1;
            let key = (similarity_bits(row.similarity), row.position);
            let is_full = members.first.len() == limit;
            if !is_full || members.first.last_key_value().is_some_and(|(last, _)| key < *last) {
                members.first.insert(key, row.to_owned());
            }
            if members.first.len() > limit {
                members.first.pop_last();
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if let Some(id) = ids.iter().find(|&id| found[id].dropped == 0) {
        return Err(unknown::cluster(run, &evidence, id)?);
    }
    let proofs: Vec<&Proof> = ids.iter().flat_map(|id| found[id].first.values()).collect();
    let texts = Texts::read(run, &proofs, max_bytes)?;
    let cluster = |&id: &&str| {
        let members = &found[id];
        Cluster {
            id: id.to_owned(),
            rows: if members.rows > 0 { members.rows } else { members.dropped + 1 },
            dropped: members.dropped,
            pairs: members.first.values().map(|proof| texts.pair(proof)).collect(),
        }
    };
    Ok(ids.iter().map(cluster).collect())
}

/// What was found of a cluster.
#[derive(Debug, Default)]
struct Members {
    rows: u64,
    dropped: u64,
    /// By similarity and position.
    first: BTreeMap<(u64, u64), Proof>,
}

/// What evidence says of a dropped row: one pair, or more where several rules have something to say.
///
/// # Errors
/// `Error::Config` for an id that was not dropped.
pub fn dropped(run: &FinishedRun<'_>, id: &str, max_bytes: usize) -> Result<Vec<Pair>> {
    let evidence = evidence::open(run)?;
    let mut proofs = Vec::new();
    evidence::for_each(&evidence, |row| {
        if row.dropped_id == id {
            proofs.push(row.to_owned());
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if proofs.is_empty() {
        return Err(unknown::dropped(run, &evidence, id)?);
    }
    let proofs: Vec<&Proof> = proofs.iter().collect();
    let texts = Texts::read(run, &proofs, max_bytes)?;
    Ok(proofs.iter().map(|proof| texts.pair(proof)).collect())
}

/// Texts by id.
struct Texts {
    kept: HashMap<String, Arc<Text>>,
    dropped: HashMap<String, Arc<Text>>,
}

impl Texts {
    fn read(run: &FinishedRun<'_>, proofs: &[&Proof], max_bytes: usize) -> Result<Self> {
        let mut reservation = run.context.budget.reserve("inspect: texts");
        let kept_ids: BTreeSet<&str> = proofs.iter().filter_map(|proof| kept_row(proof)).collect();
        let spans: HashMap<&str, Option<&Range<u64>>> =
            proofs.iter().map(|proof| (proof.dropped_id.as_str(), proof.span.as_ref())).collect();
        let mut kept = match run.table(Table::Kept)? {
            Some(table) => {
                table.texts(kept_ids.iter().copied(), |_, text| shortened(text, max_bytes, None, &mut reservation))?
            }
            None => HashMap::new(),
        };
        let dropped = match run.table(Table::Dropped)? {
            Some(table) => table.texts(spans.keys().copied(), |id, text| {
                shortened(text, max_bytes, spans.get(id).copied().flatten(), &mut reservation)
            })?,
            None => HashMap::new(),
        };
        // A row that stood for others may have gone by its quality.
        let others: Vec<&str> = kept_ids.into_iter().filter(|id| !kept.contains_key(*id)).collect();
        if let (true, false, Some(table)) =
            (run.manifest().quality.is_some(), others.is_empty(), run.table(Table::Dropped)?)
        {
            kept.extend(table.texts(others, |_, text| shortened(text, max_bytes, None, &mut reservation))?);
        }
        Ok(Self { kept, dropped })
    }

    fn pair(&self, proof: &Proof) -> Pair {
        Pair {
            kept: kept_row(proof).and_then(|id| self.kept.get(id)).cloned(),
            dropped: self.dropped.get(&proof.dropped_id).cloned(),
            proof: proof.clone(),
        }
    }
}

/// The id of the row that stands for a dropped one. A held-out item is no row, though one may have its id.
fn kept_row(proof: &Proof) -> Option<&str> {
    proof.kept_id.as_deref().filter(|_| proof.rule.as_deref() != Some(decontaminate::REASON))
}

fn shortened(
    text: &str,
    max_bytes: usize,
    focus: Option<&Range<u64>>,
    reservation: &mut Reservation,
) -> Result<Arc<Text>, Error> {
    let text = Text::new(text, max_bytes, focus);
    reservation.grow(text.part.len())?;
    Ok(Arc::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "äöü".repeat(10);
        for max_bytes in [0, 1, 2, 7, 8, 60, 100] {
            for focus in [None, Some(0..4), Some(31..40), Some(60..60), Some(900..1000)] {
                let part = Text::new(&text, max_bytes, focus.as_ref());
                assert!(text[part.start as usize..].starts_with(&part.part));
                assert!(part.part.len() <= max_bytes && (part.bytes, 60) == (60, text.len()));
                assert_eq!(part.missing_bytes() == 0, max_bytes >= 60);
            }
        }
        let part = Text::new(&text, 20, Some(&(30..34)));
        assert!(part.start <= 30 && 34 <= part.start + part.part.len() as u64);
    }
}
