//! The held-out items in memory: their tokens, their names, and the index that finds them.

use std::ops::Range;

use arrow::array::{Array, RecordBatch, StringArray};
use tamis_schemas::columns::{ID, TEXT};

use super::Settings;
use super::index::Index;
use super::tokens::{ITEM_END, join_tokens, token_spans};
use crate::budget::Reservation;
use crate::context::Context;
use crate::dedup::Normalizer;
use crate::{Error, Result};

const STAGE: &str = "decontamination";
/// Elements by which a vector grows, at least.
const GROW_LEAST: usize = 1 << 12;

/// Brings held-out rows into the form in which they are kept. Any thread.
#[derive(Debug)]
pub struct ItemReader {
    settings: Settings,
}

/// Some held-out items.
#[derive(Debug, Default)]
pub struct Items {
    /// Tokens of each item, joined.
    joined: Vec<u8>,
    ids: Vec<u8>,
    /// Of each item, where its tokens and its id end above, and the number of its tokens.
    ends: Vec<(usize, usize, usize)>,
    n_without_tokens: u64,
    n_too_short: u64,
}

impl ItemReader {
    /// A reader of items under `settings`.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// The items of a batch with `tamis_text` and `tamis_id`.
    pub fn read(&self, batch: &RecordBatch) -> Result<Items> {
        let (texts, ids) = (strings(batch, TEXT)?, strings(batch, ID)?);
        let mut normalizer = Normalizer::new(self.settings.normalize);
        let mut items = Items::default();
        let mut spans = Vec::new();
        for (text, id) in texts.iter().zip(ids) {
            let normalized = str::from_utf8(normalizer.normalize(text.unwrap_or_default())).unwrap_or_default();
            spans.clear();
            token_spans(normalized, &mut spans);
            if spans.is_empty() {
                items.n_without_tokens += 1;
            } else if spans.len() < self.settings.min_tokens {
                items.n_too_short += 1;
            } else {
                join_tokens(normalized, &spans, ITEM_END, &mut items.joined);
                items.ids.extend_from_slice(id.unwrap_or_default().as_bytes());
                items.ends.push((items.joined.len(), items.ids.len(), spans.len()));
            }
        }
        Ok(items)
    }
}

fn strings<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref());
    column.ok_or_else(|| Error::Invariant(format!("held-out rows have no column `{name}` of text")))
}

/// Collects held-out items.
#[derive(Debug)]
pub struct HeldOutBuilder {
    settings: Settings,
    items: ItemTable,
    names: Names,
    n_without_tokens: u64,
    n_too_short: u64,
}

impl HeldOutBuilder {
    /// No item yet.
    pub fn new(settings: Settings, context: &Context) -> Self {
        Self {
            settings,
            items: ItemTable { joined: Grown::new(context), starts: Grown::new(context), n_windows: 0 },
            names: Names { bytes: Grown::new(context), ends: Grown::new(context) },
            n_without_tokens: 0,
            n_too_short: 0,
        }
    }

    /// Adds items after those added before.
    ///
    /// # Errors
    /// `Error::OverBudget` if the memory limit does not let them in, `Error::Config` if they are larger than any index.
    pub fn add(&mut self, items: &Items) -> Result<()> {
        self.n_without_tokens += items.n_without_tokens;
        self.n_too_short += items.n_too_short;
        let base = self.items.joined.values.len();
        if u32::try_from(base + items.joined.len()).is_err() {
            return Err(Error::Config {
                message: "the held-out items have more than 4 GiB of text".into(),
                hint: Some("look for some of them in one run, for the others in a run over what it keeps".into()),
            });
        }
        let names_base = self.names.bytes.values.len() as u64;
        let mut start = base;
        for &(joined_end, id_end, n_tokens) in &items.ends {
            self.items.starts.extend(&[start as u32])?;
            self.items.n_windows += (n_tokens + 1).saturating_sub(self.settings.n_tokens).max(1);
            start = base + joined_end;
            self.names.ends.extend(&[names_base + id_end as u64])?;
        }
        self.items.joined.extend(&items.joined)?;
        self.names.bytes.extend(&items.ids)
    }

    /// Indexes the items.
    ///
    /// # Errors
    /// `Error::OverBudget` if the memory limit leaves no room for the index.
    pub fn finish(self, context: &Context) -> Result<HeldOut> {
        let index = Index::new(&self.items, self.settings.n_tokens, context.budget.reserve(STAGE))?;
        Ok(HeldOut {
            settings: self.settings,
            items: self.items,
            names: self.names,
            index,
            n_without_tokens: self.n_without_tokens,
            n_too_short: self.n_too_short,
        })
    }
}

/// Held-out items, ready to be looked for.
///
/// # Memory
/// The normalized tokens, 12 bytes for each run of `n_tokens` tokens, the ids: about three times the held-out texts.
#[derive(Debug)]
pub struct HeldOut {
    pub(super) settings: Settings,
    pub(super) items: ItemTable,
    pub(super) index: Index,
    names: Names,
    n_without_tokens: u64,
    n_too_short: u64,
}

impl HeldOut {
    /// Number of items that are looked for.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items without a token.
    pub fn n_without_tokens(&self) -> u64 {
        self.n_without_tokens
    }

    /// Items of fewer tokens than are looked for.
    pub fn n_too_short(&self) -> u64 {
        self.n_too_short
    }

    /// Gives the memory of tokens and index back, keeps the ids.
    pub(super) fn into_names(self) -> Names {
        self.names
    }
}

/// The tokens of all items, one after the other.
#[derive(Debug)]
pub(super) struct ItemTable {
    joined: Grown<u8>,
    starts: Grown<u32>,
    n_windows: usize,
}

impl ItemTable {
    pub(super) fn len(&self) -> usize {
        self.starts.values.len()
    }

    /// Runs of tokens to be indexed.
    pub(super) fn n_windows(&self) -> usize {
        self.n_windows
    }

    /// All items, joined tokens and an [`ITEM_END`] each.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.joined.values
    }

    /// Where an item lies in [`bytes`](Self::bytes), without its end.
    pub(super) fn range(&self, item: usize) -> Range<usize> {
        let next = self.starts.values.get(item + 1).map_or(self.joined.values.len(), |&next| next as usize);
        self.starts.values[item] as usize..next - 1
    }

    /// The item that a position in [`bytes`](Self::bytes) belongs to.
    pub(super) fn item_at(&self, position: usize) -> usize {
        self.starts.values.partition_point(|&start| start as usize <= position) - 1
    }
}

/// The ids of items.
#[derive(Debug)]
pub(super) struct Names {
    bytes: Grown<u8>,
    ends: Grown<u64>,
}

impl Names {
    /// The id of an item.
    pub(super) fn get(&self, item: usize) -> &str {
        let start = if item == 0 { 0 } else { self.ends.values[item - 1] as usize };
        str::from_utf8(&self.bytes.values[start..self.ends.values[item] as usize]).unwrap_or_default()
    }
}

/// A vector that asks the budget before it grows.
#[derive(Debug)]
struct Grown<T> {
    values: Vec<T>,
    reservation: Reservation,
}

impl<T: Copy> Grown<T> {
    fn new(context: &Context) -> Self {
        Self { values: Vec::new(), reservation: context.budget.reserve(STAGE) }
    }

    fn extend(&mut self, values: &[T]) -> Result<()> {
        let n_needed = self.values.len() + values.len();
        if self.values.capacity() < n_needed {
            let n_more = (n_needed - self.values.capacity()).max(self.values.capacity() / 4).max(GROW_LEAST);
            self.reservation.grow(n_more * size_of::<T>())?;
            self.values.reserve_exact(self.values.capacity() + n_more - self.values.len());
        }
        self.values.extend_from_slice(values);
        Ok(())
    }
}
