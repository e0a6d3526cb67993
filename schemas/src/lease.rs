//! The lease of an output that runs are added to: who works on it now.
//!
//! One file per owner, `_tamis/lease/<epoch, 20 digits>.json`, created only if it is not there. The newest counts; its owner
//! alone rewrites it, until it is released or another has created the next one.

use serde::{Deserialize, Serialize};

/// The word of an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Ordinal of the owner, from 1. Its file is named so.
    pub epoch: u64,
    /// Who it is, for people.
    pub owner: String,
    /// Name of its run, its own.
    pub nonce: String,
    /// How often it has shown that it is alive. Whoever waits watches this change.
    pub beat: u64,
    /// An owner that has shown nothing for so many seconds may be taken for dead.
    pub ttl_seconds: u64,
    /// Whether it has ended, and somebody else may begin.
    pub released: bool,
}
