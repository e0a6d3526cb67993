//! The labelling loop: rounds of select, export, label, import, over a ledger that only grows.
//!
//! ```text
//! init    -> Ledger: loop.json
//! select  -> answers of all rounds -> scorer -> batch, predictions for the stop set -> round.json, last
//! export  -> a round's batch as files of a label tool
//! import  -> a tool's files -> answers by round
//! status  -> verdicts, accuracy on random rows, stop rules, advice
//! ```
//!
//! Read in this order: [`Ledger`] (what is kept), [`Answers`] (what annotators said), [`select`], [`import`] and [`export`], [`stop`] (when
//! more labels stop paying), [`status`]. A command that is killed leaves a ledger as it was before it: run it again.

mod answers;
mod cost;
mod export;
mod import;
mod init;
mod ledger;
mod select;
mod status;
pub mod stop;
mod stop_set;
mod table;
#[cfg(test)]
mod tests;

pub use answers::{Answers, Verdict};
pub use export::{Exported, export};
pub use import::{Import, ImportedFiles, import};
pub use init::init;
pub use ledger::Ledger;
pub use select::{SelectRequest, Selected, check_select, select};
pub use status::{ClassCount, RoundStatus, Status, status};

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::DataType;
use tamis_schemas::columns;

use crate::score::append::required_column;
use crate::{Error, Result};

/// What is known of the rows that a round handed out.
#[derive(Debug)]
struct Round {
    batch: RecordBatch,
    answers: Answers,
}

impl Round {
    fn ids(&self) -> Result<impl Iterator<Item = &str>> {
        Ok(required_column(&self.batch, columns::ID, &DataType::Utf8)?.as_string::<i32>().iter().flatten())
    }
}

/// Everything that was handed out and answered.
#[derive(Debug)]
struct Known {
    rounds: Vec<Round>,
    /// Answers to rows that no round handed out.
    outside: Answers,
    /// Those of all rounds.
    of_rounds: Answers,
    is_multi_label: bool,
}

impl Known {
    fn of(ledger: &Ledger) -> Result<Self> {
        let rounds = ledger.rounds().iter().map(|record| {
            let (batch, answers) = (ledger.table(&record.batch)?, Answers::of_round(ledger, Some(record.round))?);
            Ok(Round { batch, answers })
        });
        let rounds = rounds.collect::<Result<Vec<_>>>()?;
        let outside = Answers::of_round(ledger, None)?;
        let is_multi_label = outside.is_multi_label() || rounds.iter().any(|round| round.answers.is_multi_label());
        let mut of_rounds = Answers::default();
        for (number, round) in (1..).zip(&rounds) {
            of_rounds.absorb(number, &round.answers);
        }
        Ok(Self { rounds, outside, of_rounds, is_multi_label })
    }

    /// The answers to the rows of a round, or of none.
    fn answers(&self, round: Option<u32>) -> &Answers {
        let of_round = round.and_then(|round| self.rounds.get(round as usize - 1));
        of_round.map_or(&self.outside, |round| &round.answers)
    }

    /// What the answers to each row come to, by id. What a round's annotators said goes before what was said outside of the loop.
    fn verdicts(&self) -> BTreeMap<&str, Verdict> {
        let mut verdicts = self.outside.verdicts(self.is_multi_label);
        verdicts.extend(self.of_rounds.verdicts(self.is_multi_label));
        verdicts
    }

    /// Id, annotator and labels of each answer that counts.
    fn votes(&self) -> Vec<(&str, String, &[String])> {
        let of_rounds: Vec<_> = self.of_rounds.votes().collect();
        let known: BTreeSet<&str> = of_rounds.iter().map(|(id, ..)| *id).collect();
        let outside = self.outside.votes().filter(|(id, ..)| !known.contains(id));
        outside.chain(of_rounds.iter().cloned()).collect()
    }

    /// Rows that some round's annotators skipped or discarded, and nobody labelled in it.
    fn declined(&self) -> BTreeSet<&str> {
        let of_rounds = self.rounds.iter().flat_map(|round| round.answers.verdicts(self.is_multi_label));
        of_rounds.filter(|(_, verdict)| *verdict == Verdict::Skipped).map(|(id, _)| id).collect()
    }

    /// Rows of each round that wait for an answer. One that was handed out for the first time may have it from elsewhere; one that was handed
    /// out again has it from that round alone.
    fn open_ids(&self, verdicts: &BTreeMap<&str, Verdict>) -> Result<Vec<BTreeSet<&str>>> {
        let mut before: BTreeSet<&str> = BTreeSet::new();
        let mut open = Vec::new();
        for round in &self.rounds {
            let answered: BTreeSet<&str> = round.answers.answered();
            let is_open = |id: &&str| !answered.contains(id) && (before.contains(id) || !verdicts.contains_key(id));
            open.push(round.ids()?.filter(is_open).collect());
            before.extend(round.ids()?);
        }
        Ok(open)
    }

    /// Ids of all rows that were handed out.
    fn handed_out(&self) -> Result<BTreeSet<&str>> {
        let mut ids = BTreeSet::new();
        for round in &self.rounds {
            ids.extend(round.ids()?);
        }
        Ok(ids)
    }
}

/// The record of a round by its number; of the last one if there is none.
fn round_of(ledger: &Ledger, number: Option<u32>) -> Result<&tamis_schemas::active::RoundRecord> {
    let found = match number {
        Some(number) => ledger.rounds().iter().find(|round| round.round == number),
        None => ledger.rounds().last(),
    };
    found.ok_or_else(|| Error::Config {
        message: match number {
            Some(number) => format!("there is no round {number}: there are {}", ledger.rounds().len()),
            None => "there is no round yet".into(),
        },
        hint: Some(format!("`tamis al select {}` chooses the next one", ledger.location())),
    })
}
