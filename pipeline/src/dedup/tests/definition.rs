//! The rules by which rows are dropped, over all pairs, as they are defined.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::oracle::Oracle;
use super::*;

/// What is kept and what is dropped for whom, from the similarities of all pairs.
pub(super) struct Definition<'a> {
    documents: &'a [Document],
    settings: &'a Settings,
    oracle: &'a Oracle<'a>,
    /// Documents in keep order.
    order: Vec<usize>,
}

impl<'a> Definition<'a> {
    pub(super) fn new(documents: &'a [Document], settings: &'a Settings, oracle: &'a Oracle) -> Self {
        let mut order: Vec<usize> = (0..documents.len()).collect();
        match &settings.keep {
            KeepOrder::First => {}
            KeepOrder::Longest => order.sort_by_key(|&row| Reverse(documents[row].text.len())),
            KeepOrder::Columns(_) => order.sort_by_key(|&row| Reverse(documents[row].score)),
        }
        if settings.measure == Measure::Containment {
            order.sort_by_key(|&row| Reverse(oracle.size(row)));
        }
        Self { documents, settings, oracle, order }
    }

    pub(super) fn may_meet(&self, left: usize, right: usize) -> bool {
        let (left, right) = (&self.documents[left], &self.documents[right]);
        let in_one_group = self.settings.scope.by.is_none() || left.group == right.group;
        in_one_group
            && match self.settings.scope.sources {
                Sources::All => true,
                Sources::Within => left.file == right.file,
                Sources::Index => false,
                Sources::Across => left.file != right.file,
            }
    }

    pub(super) fn is_edge(&self, left: usize, right: usize) -> bool {
        self.oracle.similarity(left, right) >= self.settings.threshold && self.may_meet(left, right)
    }

    /// In keep order, a row is dropped if and only if it has an edge to a kept row before it.
    pub(super) fn star(&self) -> Vec<bool> {
        let mut is_dropped = vec![false; self.documents.len()];
        for (place, &row) in self.order.iter().enumerate() {
            is_dropped[row] = self.order[..place].iter().any(|&other| !is_dropped[other] && self.is_edge(row, other));
        }
        is_dropped
    }

    /// For whom each row is dropped: for the most similar of the kept rows, the first of them, save that rows of equal text
    /// that meet the same rows go where the first of them goes.
    pub(super) fn star_kept(&self) -> Vec<Option<usize>> {
        let mut kept_for: Vec<Option<usize>> = vec![None; self.documents.len()];
        for (place, &row) in self.order.iter().enumerate() {
            let before = &self.order[..place];
            let is_across = self.settings.scope.sources == Sources::Across;
            let is_same = |&&other: &&usize| {
                let (left, right) = (&self.documents[row], &self.documents[other]);
                let in_one_group = self.settings.scope.by.is_none() || left.group == right.group;
                let is_one =
                    if is_across { in_one_group && left.file == right.file } else { self.may_meet(row, other) };
                is_one && left.text == right.text
            };
            kept_for[row] = match before.iter().find(is_same) {
                Some(&first) if kept_for[first].is_some() || is_across => kept_for[first],
                Some(&first) => Some(first),
                None => {
                    let kept = before.iter().filter(|&&other| kept_for[other].is_none() && self.is_edge(row, other));
                    let similarity = |other: usize| self.oracle.similarity(row, other);
                    let best = kept.rev().max_by(|&&left, &&right| similarity(left).total_cmp(&similarity(right)));
                    best.copied()
                }
            };
        }
        kept_for
    }

    /// The first row in keep order of everything that edges connect.
    pub(super) fn connected_kept(&self) -> Vec<Option<usize>> {
        let mut kept_for: Vec<Option<usize>> = vec![None; self.documents.len()];
        let mut is_seen = vec![false; self.documents.len()];
        for &first in &self.order {
            let mut queue = if is_seen[first] { Vec::new() } else { vec![first] };
            is_seen[first] = true;
            while let Some(row) = queue.pop() {
                for other in 0..self.documents.len() {
                    if !is_seen[other] && self.is_edge(row, other) {
                        is_seen[other] = true;
                        kept_for[other] = Some(first);
                        queue.push(other);
                    }
                }
            }
        }
        kept_for
    }

    /// Lets the first of each cluster stay.
    pub(super) fn cap(&self, mut kept_for: Vec<Option<usize>>) -> Vec<Option<usize>> {
        let mut n_stay: BTreeMap<usize, u64> = BTreeMap::new();
        for &row in &self.order {
            let Some(kept) = kept_for[row] else { continue };
            let n_stay = n_stay.entry(kept).or_insert(1);
            if *n_stay < self.settings.cap_cluster {
                *n_stay += 1;
                kept_for[row] = None;
            }
        }
        kept_for
    }
}
