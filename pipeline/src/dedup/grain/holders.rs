//! Which row holds a unit: one number for each unit that occurs in several rows, in memory or in a file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::Result;
use crate::budget::Reservation;
use crate::context::Context;

/// Bytes of an entry.
const ENTRY_BYTES: usize = size_of::<u64>();
/// No more than this share of the memory limit is asked for.
const MOST_OF_BUDGET: usize = 4;

/// A row for each of a known number of units; none at first.
#[derive(Debug)]
pub(super) struct Holders {
    entries: Entries,
}

/// An entry is the row and 1, so that a new file, which reads as zeros, holds nothing.
#[derive(Debug)]
enum Entries {
    Memory(Vec<u64>, #[expect(dead_code, reason = "gives the memory back when dropped")] Reservation),
    File(File),
}

impl Holders {
    pub(super) fn new(stage: &'static str, n_units: u64, context: &Context) -> Result<Self> {
        let mut reservation = context.budget.reserve(stage);
        let n_bytes = n_units * ENTRY_BYTES as u64;
        let fits = n_bytes <= (context.budget.limit_bytes() / MOST_OF_BUDGET) as u64;
        if fits && reservation.try_grow(n_bytes as usize) {
            return Ok(Self { entries: Entries::Memory(vec![0; n_units as usize], reservation) });
        }
        let file = tempfile::tempfile_in(context.spill.path()).and_then(|file| file.set_len(n_bytes).map(|()| file));
        Ok(Self { entries: Entries::File(file.map_err(|error| context.spill.error(error))?) })
    }

    /// The row that holds a unit.
    pub(super) fn get(&self, unit: u64, context: &Context) -> Result<Option<u64>> {
        let entry = match &self.entries {
            Entries::Memory(entries, _) => entries[unit as usize],
            Entries::File(file) => {
                let mut bytes = [0; ENTRY_BYTES];
                let read = file.read_exact_at(&mut bytes, unit * ENTRY_BYTES as u64);
                read.map_err(|error| context.spill.error(error))?;
                u64::from_le_bytes(bytes)
            }
        };
        Ok(entry.checked_sub(1))
    }

    /// Lets `row` hold a unit.
    pub(super) fn set(&mut self, unit: u64, row: u64, context: &Context) -> Result<()> {
        let entry = row + 1;
        match &mut self.entries {
            Entries::Memory(entries, _) => entries[unit as usize] = entry,
            Entries::File(file) => file
                .write_all_at(&entry.to_le_bytes(), unit * ENTRY_BYTES as u64)
                .map_err(|error| context.spill.error(error))?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Cancel, Resources};

    #[test]
    fn the_same_in_memory_and_in_a_file() {
        for (memory_limit_bytes, in_memory) in [(1 << 20, true), (4 << 10, false)] {
            let resources = Resources { memory_limit_bytes, ..Resources::default() };
            let context = Context::new(&resources, Cancel::default()).unwrap();
            let mut holders = Holders::new("test", 1000, &context).unwrap();
            assert_eq!(matches!(holders.entries, Entries::Memory(..)), in_memory);
            for unit in (0..1000).step_by(3) {
                holders.set(unit, unit * 7, &context).unwrap();
            }
            for unit in 0..1000 {
                let expect = (unit % 3 == 0).then_some(unit * 7);
                assert_eq!(holders.get(unit, &context).unwrap(), expect);
            }
            drop(holders);
            assert!(context.budget.reserve("test").try_grow(memory_limit_bytes), "the reservation was not given back");
        }
    }
}
