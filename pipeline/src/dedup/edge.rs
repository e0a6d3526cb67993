//! Pairs of rows on their way through sorters. Rows are named by their rank in the keep order.

use std::io::{self, Read, Write};

use crate::Result;
use crate::spill::{Record, Sorted};

/// How a similarity was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// The normalized texts are equal.
    Identical,
    /// From the two sets of shingles.
    Exact,
    /// From the two sketches, clear beyond four standard errors.
    Estimated,
}

impl Method {
    const ALL: [Self; 3] = [Self::Identical, Self::Exact, Self::Estimated];

    /// A number for it.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The method of a number.
    pub(crate) fn of_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The name in evidence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::Exact => "exact",
            Self::Estimated => "estimated",
        }
    }
}

/// A pair whose similarity is proven to reach the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    /// The row that comes later in the keep order.
    pub(super) later: u64,
    /// The row that comes earlier.
    pub(super) earlier: u64,
    pub(super) similarity: Similarity,
    pub(super) method: Method,
    /// Bands that the two sketches share.
    pub(super) n_shared_bands: u16,
}

/// A pair whose similarity only its sets of shingles can tell. Pairs can be many, so that they are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GreyPair {
    /// The row that comes later in the keep order.
    pub(super) later: u64,
    /// The row that comes earlier, then [`BANDS_BITS`] of the number of bands that the two sketches share, or of sampled
    /// shingles that both rows have: the more, the likelier an edge.
    earlier_and_bands: u64,
}

/// Bits of a number of bands: there are up to 256.
const BANDS_BITS: u32 = 16;

impl GreyPair {
    pub(super) fn new(later: u64, earlier: u64, n_shared_bands: u16) -> Self {
        Self { later, earlier_and_bands: earlier << BANDS_BITS | u64::from(n_shared_bands) }
    }

    /// The row that comes earlier.
    pub(super) fn earlier(self) -> u64 {
        self.earlier_and_bands >> BANDS_BITS
    }

    /// Bands that the two sketches share, or sampled shingles.
    pub(super) fn n_shared_bands(self) -> u16 {
        self.earlier_and_bands as u16
    }
}

/// A similarity in `0..=1`, by its bits: of numbers that are not negative, they sort like the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Similarity(u64);

impl Similarity {
    pub(super) const ONE: Self = Self::new(1.0);

    pub(super) const fn new(value: f64) -> Self {
        Self(value.to_bits())
    }

    pub(super) const fn value(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl Record for Similarity {
    fn encode(&self, out: &mut impl Write) -> io::Result<()> {
        self.0.encode(out)
    }

    fn decode(input: &mut impl Read) -> io::Result<Self> {
        u64::decode(input).map(Self)
    }
}

impl Record for Method {
    fn encode(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&[self.code()])
    }

    fn decode(input: &mut impl Read) -> io::Result<Self> {
        let mut code = [0];
        input.read_exact(&mut code)?;
        Self::of_code(code[0]).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }
}

/// Encodes a record field by field.
macro_rules! record_of_fields {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::spill::Record for $name {
            fn encode(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
                $($crate::spill::Record::encode(&self.$field, out)?;)*
                Ok(())
            }

            fn decode(input: &mut impl std::io::Read) -> std::io::Result<Self> {
                Ok(Self { $($field: $crate::spill::Record::decode(input)?),* })
            }

            fn heap_bytes(&self) -> usize {
                0 $(+ $crate::spill::Record::heap_bytes(&self.$field))*
            }
        }
    };
}
pub(super) use record_of_fields;

record_of_fields!(Edge { later, earlier, similarity, method, n_shared_bands });
record_of_fields!(GreyPair { later, earlier_and_bands });

/// Sorted records that are taken in groups of one key.
#[derive(Debug)]
pub(crate) struct Grouped<R: Record> {
    records: Sorted<R>,
    next: Option<R>,
}

impl<R: Record> Grouped<R> {
    pub(crate) fn new(mut records: Sorted<R>) -> Result<Self> {
        let next = records.next().transpose()?;
        Ok(Self { records, next })
    }

    /// The next record, which stays.
    pub(crate) fn peek(&self) -> Option<&R> {
        self.next.as_ref()
    }

    /// Takes the next record if it `belongs`.
    pub(crate) fn next_if(&mut self, belongs: impl FnOnce(&R) -> bool) -> Result<Option<R>> {
        if !self.next.as_ref().is_some_and(belongs) {
            return Ok(None);
        }
        let after = self.records.next().transpose()?;
        Ok(std::mem::replace(&mut self.next, after))
    }

    /// Takes the next record.
    pub(crate) fn next(&mut self) -> Result<Option<R>> {
        self.next_if(|_| true)
    }
}
