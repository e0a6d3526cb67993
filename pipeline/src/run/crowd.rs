//! Annotators' answers beside what a model says that has not seen them.

use std::collections::{BTreeSet, HashMap};

use arrow::array::AsArray;
use arrow::datatypes::Float32Type;
use tamis_schemas::columns;

use super::fit::Fitted;
use super::ids::column;
use super::training::TrainingData;
use crate::score::Task;
use crate::select::{Answered, Crowd};
use crate::{Error, Result, RowSet};

/// Annotator of labels that name none.
const NOBODY: &str = "";

impl Fitted<'_> {
    /// The annotators and the scorer. Of few labels there is no answer out of fold, and then no row has an opinion.
    ///
    /// # Errors
    /// `Error::Config` if rows have several labels, or numbers.
    pub(super) fn crowd(&self, keeps: impl Fn(u64) -> bool, data: &dyn TrainingData) -> Result<Crowd> {
        if self.task() == Task::MultiLabel.name() {
            return Err(Error::Config {
                message: "the strategy `activelab` weighs answers that name one class, and rows have several labels"
                    .into(),
                hint: Some("use another strategy".into()),
            });
        }
        if self.classes().len() < 2 || self.left_out.is_empty() {
            return Ok(Crowd::new(&[], 0, self.classes().to_vec()));
        }
        // Labels that only rows have which annotators are split about were not learnt, and come after those that were.
        let mut names = self.classes().to_vec();
        let new: BTreeSet<&str> = self.labels.votes.iter().map(|(.., label)| label.as_str()).collect();
        names.extend(
            new.into_iter().filter(|label| !self.classes().iter().any(|name| name == label)).map(str::to_owned),
        );
        let classes: HashMap<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
        let mut annotators: HashMap<&str, usize> = HashMap::new();
        let mut votes: HashMap<u64, Vec<(usize, usize)>> = HashMap::new();
        for (row, annotator, label) in self.votes() {
            let Some(&class) = classes.get(label) else { continue };
            let number = annotators.len();
            let annotator = *annotators.entry(annotator).or_insert(number);
            votes.entry(row).or_default().push((annotator, class));
        }
        let split = self.split_rows(keeps, data)?;
        let answered = self.left_out.iter().chain(&split).filter_map(|(row, probabilities)| {
            let row = self.stand_ins.get(row).copied().unwrap_or(*row);
            let mut probabilities = probabilities.clone();
            probabilities.resize(classes.len(), 0.0);
            Some(Answered { row, votes: votes.remove(&row)?, probabilities })
        });
        let mut answered: Vec<Answered> = answered.collect();
        answered.sort_unstable_by_key(|one| one.row);
        let n_annotators = annotators.len();
        Ok(Crowd::new(&answered, n_annotators, names))
    }

    /// Row, annotator and label.
    fn votes(&self) -> Box<dyn Iterator<Item = (u64, &str, &str)> + '_> {
        if self.labels.votes.is_empty() {
            let labelled: RowSet = self.labels.labelled.iter().map(|(row, _)| *row).collect();
            return Box::new(self.labels.labelled.iter().map(move |(row, label)| {
                // A row that stands for one with a label has its own, if there is one.
                let stand_in = self.stand_ins.get(row).filter(|kept| !labelled.contains(**kept));
                (stand_in.copied().unwrap_or(*row), NOBODY, label.as_str())
            }));
        }
        Box::new(self.labels.votes.iter().map(|(row, who, label)| (*row, who.as_str(), label.as_str())))
    }

    /// What the scorer, which has not learnt from them, says of rows that annotators are split about.
    fn split_rows(&self, keeps: impl Fn(u64) -> bool, data: &dyn TrainingData) -> Result<Vec<(u64, Vec<f32>)>> {
        let rows: RowSet = self.labels.split.iter().filter(|&row| keeps(row)).collect();
        let mut found = Vec::new();
        self.score_rows(data, rows, |rows, scored| {
            let lists = column(scored, columns::PROBABILITIES)?.as_fixed_size_list();
            for (&row, list) in rows.iter().zip(lists.iter()) {
                let list = list.ok_or_else(|| Error::Invariant("a row without probabilities".into()))?;
                found.push((row, list.as_primitive::<Float32Type>().values().to_vec()));
            }
            Ok(())
        })?;
        Ok(found)
    }
}
