//! The memory budget: whatever grows with the number of rows asks here first, and spills when refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Error, Result};

/// Shared count of the bytes that stages hold, under one limit.
///
/// Batches in flight are not counted: their number is bounded by the executor. The answer to a request never changes
/// the result of a run, only whether something is held in memory or in a temporary file.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
}

impl Budget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        Self { shared: Arc::new(Shared { limit_bytes, used_bytes: AtomicUsize::new(0) }) }
    }

    /// The limit in bytes.
    pub fn limit_bytes(&self) -> usize {
        self.shared.limit_bytes
    }

    /// An empty reservation that can grow.
    pub fn reserve(&self, stage: &'static str) -> Reservation {
        Reservation { budget: self.clone(), stage, bytes: 0 }
    }
}

/// Bytes held by one stage; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    stage: &'static str,
    bytes: usize,
}

impl Reservation {
    /// Asks for `additional_bytes` more. `false`: not granted, spill instead.
    #[must_use]
    pub fn try_grow(&mut self, additional_bytes: usize) -> bool {
        let limit = self.budget.shared.limit_bytes;
        let granted = self.budget.shared.used_bytes.try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(additional_bytes).filter(|&total| total <= limit)
        });
        if granted.is_ok() {
            self.bytes += additional_bytes;
        }
        granted.is_ok()
    }

    /// Asks for `additional_bytes` that cannot spill.
    pub fn grow(&mut self, additional_bytes: usize) -> Result<()> {
        if self.try_grow(additional_bytes) {
            return Ok(());
        }
        Err(Error::OverBudget {
            stage: self.stage,
            requested_bytes: additional_bytes,
            limit_bytes: self.budget.shared.limit_bytes,
        })
    }

    /// Gives everything back.
    pub fn free(&mut self) {
        self.budget.shared.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.free();
    }
}
