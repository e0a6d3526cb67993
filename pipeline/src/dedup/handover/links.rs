//! Which rows have to be decided together.

use super::{Handed, STAGE};
use crate::context::Context;
use crate::dedup::forest::Forest;
use crate::{Error, Result};

/// The rows that some pairs connect, with a link for each of them: however many pairs there are, and in bounded memory.
///
/// Rows without a chain of pairs between them never meet: what becomes of them can be decided apart.
#[derive(Debug)]
pub(crate) struct Links(Forest);

impl Links {
    pub(crate) fn new(context: &Context) -> Self {
        Self(Forest::new(STAGE, context))
    }

    /// Takes the pairs of a row; gives links if it can hold no more.
    pub(crate) fn push(&mut self, handed: &Handed) -> Result<Vec<(u64, u64)>> {
        let (Handed::Edges { later, .. } | Handed::Open { later, .. }) = handed else { return Ok(Vec::new()) };
        let mut links = Vec::new();
        for earlier in handed.earlier_ranks() {
            match self.0.join(*later, earlier) {
                Err(Error::OverBudget { .. }) => {
                    links.extend(self.0.take());
                    self.0.join(*later, earlier)?;
                }
                other => other?,
            }
        }
        Ok(links)
    }

    /// The other links.
    pub(crate) fn finish(mut self) -> Vec<(u64, u64)> {
        self.0.take()
    }
}
