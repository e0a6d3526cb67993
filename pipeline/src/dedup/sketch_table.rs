//! What of each row's sketch is needed to look at a pair: a quarter of its bits, and its band keys cut short.

use std::borrow::Cow;
use std::ops::Range;

use super::band::Bands;
use super::sketch::{N_SLOTS, Sketch, is_of_few};
use super::tape::{RowTable, RowTableWriter};
use super::widest::widest;
use crate::context::Context;
use crate::{Error, Result};

/// Bits that are kept of each slot.
///
/// Two slots with different values agree in them with a probability of 1/256, so that the share of slots that agree is
/// `C = J + (1 - J) / 256`; its standard error is that of 256 whole slots (b-bit minwise hashing, Li and König 2010).
const SLOT_BITS: u32 = 8;
/// Numbers that the slots of a row take.
const SLOT_NUMBERS: usize = N_SLOTS * SLOT_BITS as usize / u32::BITS as usize;

/// Share of slots that agree by chance, in two sets of Jaccard similarity `similarity`, or for a reason.
pub(super) fn agreement(similarity: f64) -> f64 {
    similarity + (1.0 - similarity) / f64::from(1 << SLOT_BITS)
}

/// The Jaccard similarity estimated from the number of slots that agree, in `0..=1`.
pub(super) fn similarity(n_agreeing: u32) -> f64 {
    let chance = 1.0 / f64::from(1 << SLOT_BITS);
    ((f64::from(n_agreeing) / N_SLOTS as f64 - chance) / (1.0 - chance)).max(0.0)
}

/// Glances of rows, in the making.
#[derive(Debug)]
pub(super) struct SketchTableWriter {
    records: RowTableWriter<u32>,
    record: Vec<u32>,
}

impl SketchTableWriter {
    /// An empty table of sketches that are cut into `bands`.
    pub(super) fn new(bands: Bands, stage: &'static str, context: &Context) -> Self {
        let width = SLOT_NUMBERS + 1 + bands.n_bands;
        Self { records: RowTableWriter::of_width(width, stage, context), record: vec![0; width] }
    }

    /// Sets the sketch and the band keys of `row`, which must be above all earlier rows.
    pub(super) fn push(&mut self, row: u64, sketch: &Sketch, band_keys: &[u64], context: &Context) -> Result<()> {
        record(sketch, band_keys, &mut self.record);
        self.records.push_record(row, &self.record, context)
    }

    /// Sets the glance of `row`, which must be above all earlier rows.
    ///
    /// # Errors
    /// `Error::Invariant` if it is one of other bands.
    pub(super) fn push_glance(&mut self, row: u64, glance: &[u32], context: &Context) -> Result<()> {
        if glance.len() != self.record.len() {
            return Err(Error::Invariant(format!("the sketch of row {row} is cut into other bands")));
        }
        self.records.push_record(row, glance, context)
    }

    /// Ends writing.
    pub(super) fn finish(self, context: &Context) -> Result<SketchTable> {
        Ok(SketchTable { records: self.records.finish(context)? })
    }
}

/// What is kept of a sketch.
fn record(sketch: &Sketch, band_keys: &[u64], record: &mut [u32]) {
    let (slots, others) = record.split_at_mut(SLOT_NUMBERS);
    for (number, slots) in slots.iter_mut().zip(sketch.as_chunks().0) {
        *number = u32::from_le_bytes(slots.map(|slot: u32| slot as u8));
    }
    others[0] = u32::from(is_of_few(sketch));
    for (tag, &key) in others[1..].iter_mut().zip(band_keys) {
        *tag = key as u32;
    }
}

/// A glance of each row.
#[derive(Debug)]
pub(super) struct SketchTable {
    records: RowTable<u32>,
}

impl SketchTable {
    /// What is kept of the sketch of `row`.
    pub(super) fn get(&self, row: u64) -> Result<Glance<'_>> {
        self.records.view(row).map(Glance)
    }
}

/// What is kept of a sketch: 8 bits of each slot, 32 of each band key.
#[derive(Debug, Clone)]
pub(super) struct Glance<'a>(Cow<'a, [u32]>);

impl Glance<'static> {
    /// Of a sketch of bands with these keys; of a row without a token there are none.
    pub(super) fn new(sketch: &Sketch, band_keys: &[u64], bands: Bands) -> Self {
        let mut numbers = vec![0; SLOT_NUMBERS + 1 + bands.n_bands];
        record(sketch, band_keys, &mut numbers);
        Self(Cow::Owned(numbers))
    }

    /// Of what [`numbers`](Glance::numbers) gave.
    pub(super) fn of_numbers(numbers: Vec<u32>) -> Option<Self> {
        (numbers.len() > SLOT_NUMBERS + 1).then_some(Self(Cow::Owned(numbers)))
    }
}

impl Glance<'_> {
    /// All that is kept.
    pub(super) fn numbers(&self) -> &[u32] {
        &self.0
    }

    /// The same, borrowed.
    pub(super) fn view(&self) -> Glance<'_> {
        Glance(Cow::Borrowed(&self.0))
    }

    /// A glance that depends on no table.
    pub(super) fn into_owned(self) -> Glance<'static> {
        Glance(Cow::Owned(self.0.into_owned()))
    }

    /// Whether it is of a set of so few shingles that slots that agree prove nothing.
    pub(super) fn is_of_few(&self) -> bool {
        self.0[SLOT_NUMBERS] != 0
    }

    /// Number of slots that agree.
    pub(super) fn n_agreeing(&self, other: &Self) -> u32 {
        match (self.0.first_chunk(), other.0.first_chunk()) {
            (Some(left), Some(right)) => count_agreeing(left, right),
            _ => 0,
        }
    }

    /// Number of bands that the two share.
    pub(super) fn n_shared_bands(&self, other: &Self) -> u16 {
        self.tags().iter().zip(other.tags()).map(|(left, right)| u16::from(left == right)).sum()
    }

    /// Which bands are not `hot`.
    pub(super) fn cool_bands(&self, is_hot: impl Fn(u32) -> bool) -> Vec<bool> {
        self.tags().iter().map(|&tag| !is_hot(tag)).collect()
    }

    /// Whether the two share one of these bands.
    pub(super) fn shares_one_of(&self, bands: &[bool], other: &Self) -> bool {
        let equal = self.tags().iter().zip(other.tags()).map(|(left, right)| left == right);
        equal.zip(bands).any(|(is_equal, &is_of_bands)| is_equal && is_of_bands)
    }

    fn tags(&self) -> &[u32] {
        &self.0[SLOT_NUMBERS + 1..]
    }
}

/// Glances of the rows of a bucket.
#[derive(Debug, Default)]
pub(super) struct BucketGlances<'a> {
    glances: Vec<Glance<'a>>,
    /// Of each band up to that of the bucket, the tag of each row: so one tag is compared with many at once.
    tags: Vec<u32>,
    /// Of each of some rows, 0 if it is met here.
    is_elsewhere: Vec<u32>,
}

impl<'a> BucketGlances<'a> {
    /// Replaces the rows by those of the bucket of `key`.
    pub(super) fn fill(&mut self, key: u64, glances: impl Iterator<Item = Result<Glance<'a>>>) -> Result<()> {
        self.glances.clear();
        for glance in glances {
            self.glances.push(glance?);
        }
        self.tags.clear();
        let tags = self.glances.first().map_or(&[][..], Glance::tags);
        if let Some(last) = tags.iter().position(|&tag| tag == key as u32) {
            for band in 0..=last {
                self.tags.extend(self.glances.iter().map(|glance| glance.tags()[band]));
            }
        }
        Ok(())
    }

    /// The glance of a row.
    pub(super) fn get(&self, row: usize) -> &Glance<'a> {
        &self.glances[row]
    }

    /// Picks out of the `others` those with which the band of this bucket is the first that `row` shares, of the bands that are
    /// not `hot`.
    pub(super) fn meeting(
        &mut self,
        row: usize,
        others: Range<usize>,
        is_hot: impl Fn(u32) -> bool,
        at: &mut Vec<usize>,
    ) {
        at.clear();
        let mut bands = self.tags.chunks_exact(self.glances.len().max(1)).rev();
        let Some(own) = bands.next() else { return };
        self.is_elsewhere.clear();
        self.is_elsewhere.extend(own[others.clone()].iter().map(|&tag| u32::from(tag != own[row])));
        for tags in bands {
            let own = tags[row];
            if is_hot(own) {
                continue;
            }
            for (is_elsewhere, &tag) in self.is_elsewhere.iter_mut().zip(&tags[others.clone()]) {
                *is_elsewhere |= u32::from(tag == own);
            }
        }
        at.resize(others.len(), 0);
        let mut n_met = 0;
        for (other, &is_elsewhere) in others.zip(&self.is_elsewhere) {
            at[n_met] = other;
            n_met += usize::from(is_elsewhere == 0);
        }
        at.truncate(n_met);
    }
}

widest! {
    /// Number of slots whose bits agree.
    fn count_agreeing(left: &[u32; SLOT_NUMBERS], right: &[u32; SLOT_NUMBERS]) -> u32 = count_agreeing_body
}

#[expect(clippy::inline_always, reason = "compiled again inside of each caller, for its instruction set")]
#[inline(always)]
fn count_agreeing_body(left: &[u32; SLOT_NUMBERS], right: &[u32; SLOT_NUMBERS]) -> u32 {
    let (left, right): (&[[u8; 128]; 2], &[[u8; 128]; 2]) = (bytemuck::cast_ref(left), bytemuck::cast_ref(right));
    let mut n_agreeing = 0;
    for half in 0..2 {
        // Sums of up to 128 ones fit into a byte.
        let mut n_of_half = 0;
        for index in 0..128 {
            n_of_half += u8::from(left[half][index] == right[half][index]);
        }
        n_agreeing += u32::from(n_of_half);
    }
    n_agreeing
}

#[cfg(test)]
mod tests {
    use super::super::settings::Gate;
    use super::*;
    use crate::context::{Cancel, Resources};

    #[test]
    fn glances_say_what_sketches_say() {
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        let bands = Bands { n_bands: 26, rows_per_band: 8 };
        let base: Sketch = std::array::from_fn(|slot| slot as u32 * 0x0102_0304);
        for n_equal in [0usize, 1, 7, 8, 100, 180, 255, 256] {
            let mut other = base;
            other[n_equal..].iter_mut().for_each(|slot| *slot ^= 1);
            let mut table = SketchTableWriter::new(bands, "test", &context);
            let mut keys = [Vec::new(), Vec::new()];
            for (row, sketch) in [base, other].iter().enumerate() {
                bands.push_keys(sketch, &mut keys[row]);
                table.push(row as u64, sketch, &keys[row], &context).unwrap();
            }
            let table = table.finish(&context).unwrap();
            let (left, right) = (table.get(0).unwrap(), table.get(1).unwrap());
            assert_eq!(left.n_agreeing(&right) as usize, n_equal);
            assert_eq!(usize::from(left.n_shared_bands(&right)), (n_equal / 8).min(26));
            let mut bucket = BucketGlances::default();
            let mut n_met = |key: u64, hot: Option<u64>| {
                let mut at = vec![7];
                bucket.fill(key, [&left, &right, &right, &right].map(|glance| Ok(glance.clone())).into_iter()).unwrap();
                bucket.meeting(0, 1..4, |tag| hot.is_some_and(|hot| tag == hot as u32), &mut at);
                assert!(at.is_empty() || at == [1, 2, 3]);
                at.len()
            };
            for (band, &key) in keys[0].iter().enumerate() {
                assert_eq!(n_met(key, None) == 3, band == 0 && n_equal >= 8);
                // A hot bucket decides about its own pairs; elsewhere it is passed over.
                assert_eq!(n_met(key, Some(keys[0][0])) == 3, n_equal >= 8 * (band + 1) && band < 2);
            }
        }
    }

    #[test]
    fn agreement_and_similarity_are_inverse() {
        for step in 0..=256 {
            let expect = f64::from(step) / 256.0;
            let n_agreeing = agreement(expect) * N_SLOTS as f64;
            assert!((similarity(n_agreeing.round() as u32) - expect).abs() <= 0.5 / 255.0 + 1e-9);
        }
        assert!((similarity(256) - 1.0).abs() < 1e-12 && similarity(0) < 1e-12);
        assert!(Gate::new(0.8).accept_from > (agreement(0.8) * 256.0) as u32);
    }
}
