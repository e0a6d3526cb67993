//! From proven pairs to verdicts: who is dropped, and for whom.

use super::edge::{Edge, Grouped, Method, Similarity, record_of_fields};
use super::forest::Forest;
use super::grain::Unit;
use super::keep::Ranks;
use super::settings::{Linkage, Settings};
use super::verdict::DropReason;
use crate::context::Context;
use crate::spill::{ExternalSorter, Record, Sorted};
use crate::{Result, RowSet};

const STAGE: &str = "near-duplicates: verdicts";

/// By which rule a row is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Its normalized text is that of the kept row.
    IdenticalText,
    /// Its similarity to the kept row is proven to reach the threshold.
    NearDuplicate,
    /// A chain of proven pairs leads to the kept row.
    Connected,
    /// Too much of it is in paragraphs of rows that stay.
    DuplicateParagraphs,
    /// Too much of it is in lines of rows that stay.
    DuplicateLines,
    /// It repeats itself too much.
    Repetition,
    /// Its embedding is close to that of the kept row.
    Semantic,
}

impl Rule {
    const ALL: [Self; 7] = [
        Self::IdenticalText,
        Self::NearDuplicate,
        Self::Connected,
        Self::DuplicateParagraphs,
        Self::DuplicateLines,
        Self::Repetition,
        Self::Semantic,
    ];

    /// A number for it.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The rule of a number.
    pub(crate) fn of_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The rule by which rows are dropped for units that other rows hold.
    pub(crate) fn of_units(unit: Unit) -> Self {
        match unit {
            Unit::Paragraph => Self::DuplicateParagraphs,
            Unit::Line => Self::DuplicateLines,
        }
    }

    /// Whether it belongs to the search for near-duplicates, and not to those after it.
    pub(crate) fn is_of_search(self) -> bool {
        matches!(self, Self::IdenticalText | Self::NearDuplicate | Self::Connected)
    }

    /// The name in evidence.
    pub fn name(self) -> &'static str {
        match self {
            Self::IdenticalText => "identical_text",
            Self::NearDuplicate => "near_duplicate",
            Self::Connected => "connected",
            Self::DuplicateParagraphs => DropReason::DuplicateParagraphs.name(),
            Self::DuplicateLines => DropReason::DuplicateLines.name(),
            Self::Repetition => DropReason::Repetition.name(),
            Self::Semantic => DropReason::Semantic.name(),
        }
    }

    /// What it says of the rows that it drops.
    pub fn reason(self) -> DropReason {
        match self {
            Self::IdenticalText => DropReason::Identical,
            Self::NearDuplicate | Self::Connected => DropReason::NearDuplicate,
            Self::DuplicateParagraphs => DropReason::DuplicateParagraphs,
            Self::DuplicateLines => DropReason::DuplicateLines,
            Self::Repetition => DropReason::Repetition,
            Self::Semantic => DropReason::Semantic,
        }
    }
}

impl Record for Rule {
    fn encode(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        out.write_all(&[self.code()])
    }

    fn decode(input: &mut impl std::io::Read) -> std::io::Result<Self> {
        let mut code = [0];
        input.read_exact(&mut code)?;
        Self::of_code(code[0]).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidData))
    }
}

/// A dropped row and the row that stays for it, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Drop {
    pub(super) kept: u64,
    /// Place of the dropped row in the keep order.
    pub(super) rank: u64,
    pub(super) dropped: u64,
    pub(super) similarity: Similarity,
    pub(super) method: Method,
    pub(super) rule: Rule,
    pub(super) n_shared_bands: u16,
}

record_of_fields!(Drop { kept, rank, dropped, similarity, method, rule, n_shared_bands });

/// Why a row is dropped: what a member of its group of identical texts inherits.
#[derive(Debug, Clone, Copy)]
struct Fate {
    /// Rank of the row that stays.
    kept: u64,
    similarity: Similarity,
    method: Method,
    rule: Rule,
    n_shared_bands: u16,
}

/// All verdicts.
#[derive(Debug)]
pub(super) struct Verdicts {
    /// One for each dropped row.
    pub(super) drops: ExternalSorter<Drop>,
    /// Edges that led to them.
    pub(super) n_proven_pairs: u64,
}

/// Decides about every row that has an edge or an identical one. `members`: first row of a group of rows that share their
/// fate, another row of it.
pub(super) fn assign(
    edges: ExternalSorter<Edge>,
    members: Sorted<(u64, u64)>,
    settings: &Settings,
    ranks: &Ranks,
    context: &Context,
) -> Result<Verdicts> {
    let mut walk = Walk {
        members: Grouped::new(members)?,
        members_meet: !settings.scope.has_sources(),
        ranks,
        context,
        verdicts: Verdicts { drops: ExternalSorter::new(STAGE, &context.budget), n_proven_pairs: edges.len() },
    };
    match settings.linkage {
        Linkage::Star => walk.star(edges)?,
        Linkage::Connected => walk.connected(edges)?,
    }
    walk.decide_members_below(u64::MAX)?;
    Ok(walk.verdicts)
}

struct Walk<'a> {
    /// Rank of the first row of a group of identical texts, rank of another row of it.
    members: Grouped<(u64, u64)>,
    /// Whether a row can be dropped for one of its group. If not, all of a group stay if the first one does.
    members_meet: bool,
    ranks: &'a Ranks,
    context: &'a Context,
    verdicts: Verdicts,
}

impl Walk<'_> {
    /// In keep order: a row is dropped if and only if a kept row is among those that it has an edge to. It is dropped for
    /// the most similar of them, the first one in keep order if several are.
    fn star(&mut self, edges: ExternalSorter<Edge>) -> Result<()> {
        let mut edges = Grouped::new(edges.finish(self.context)?)?;
        let mut dropped = RowSet::new();
        while let Some(row) = edges.peek().map(|edge| edge.later) {
            self.context.cancel.check()?;
            let mut best: Option<Edge> = None;
            while let Some(edge) = edges.next_if(|edge| edge.later == row)? {
                let is_better = best.is_none_or(|best| edge.similarity > best.similarity);
                if is_better && !dropped.contains(edge.earlier) {
                    best = Some(edge);
                }
            }
            if let Some(edge) = best {
                dropped.insert(row);
                self.drop_group(row, edge.fate(edge.earlier, Rule::NearDuplicate))?;
            }
        }
        Ok(())
    }

    /// Of all rows that edges connect, the first in keep order stays.
    fn connected(&mut self, edges: ExternalSorter<Edge>) -> Result<()> {
        let mut forest = Forest::new(STAGE, self.context);
        let mut both_ways = ExternalSorter::new(STAGE, &self.context.budget);
        for edge in edges.finish(self.context)? {
            let edge = edge?;
            self.context.cancel.check()?;
            forest.join(edge.later, edge.earlier)?;
            both_ways.push(edge, self.context)?;
            both_ways.push(Edge { later: edge.earlier, earlier: edge.later, ..edge }, self.context)?;
        }
        let mut edges = Grouped::new(both_ways.finish(self.context)?)?;
        while let Some(row) = edges.peek().map(|edge| edge.later) {
            self.context.cancel.check()?;
            let kept = forest.root(row);
            let mut best: Option<Edge> = None;
            let mut direct: Option<Edge> = None;
            while let Some(edge) = edges.next_if(|edge| edge.later == row)? {
                if best.is_none_or(|best| edge.similarity > best.similarity) {
                    best = Some(edge);
                }
                if edge.earlier == kept {
                    direct = Some(edge);
                }
            }
            let fate = direct
                .map(|edge| edge.fate(kept, Rule::NearDuplicate))
                .or(best.map(|edge| edge.fate(kept, Rule::Connected)));
            match fate {
                Some(fate) if kept != row => self.drop_group(row, fate)?,
                Some(fate) if !self.members_meet => {
                    self.decide_members_below(row)?;
                    self.drop_members(row, Fate { rule: Rule::Connected, ..fate })?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Drops a row and all whose text is identical.
    fn drop_group(&mut self, row: u64, fate: Fate) -> Result<()> {
        self.decide_members_below(row)?;
        self.push(row, fate)?;
        self.drop_members(row, fate)
    }

    /// Drops the rows whose text is identical to that of `row`.
    fn drop_members(&mut self, row: u64, fate: Fate) -> Result<()> {
        while let Some((_, member)) = self.members.next_if(|(first, _)| *first == row)? {
            self.push(member, fate)?;
        }
        Ok(())
    }

    /// Drops the rows identical to a kept row that comes before `row`.
    fn decide_members_below(&mut self, row: u64) -> Result<()> {
        while let Some((first, member)) = self.members.next_if(|(first, _)| *first < row)? {
            if !self.members_meet {
                continue;
            }
            let fate = Fate {
                kept: first,
                similarity: Similarity::ONE,
                method: Method::Identical,
                rule: Rule::IdenticalText,
                n_shared_bands: 0,
            };
            self.push(member, fate)?;
        }
        Ok(())
    }

    fn push(&mut self, dropped: u64, fate: Fate) -> Result<()> {
        let Fate { kept, similarity, method, rule, n_shared_bands } = fate;
        let (kept, rank, dropped) = (self.ranks.row(kept)?, dropped, self.ranks.row(dropped)?);
        self.verdicts.drops.push(Drop { kept, rank, dropped, similarity, method, rule, n_shared_bands }, self.context)
    }
}

impl Edge {
    fn fate(self, kept: u64, rule: Rule) -> Fate {
        let Self { similarity, method, n_shared_bands, .. } = self;
        let is_same_text = method == Method::Identical && rule == Rule::NearDuplicate;
        let rule = if is_same_text { Rule::IdenticalText } else { rule };
        Fate { kept, similarity, method, rule, n_shared_bands }
    }
}
