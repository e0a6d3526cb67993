//! What a scan says of a unit as a whole.

use serde::{Deserialize, Serialize};

use crate::decontaminate::Hit;
use crate::source::TypesOnWire;
use crate::{Error, Result};

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) types: TypesOnWire,
    pub(super) rejected: u64,
    pub(super) text_bytes: u64,
    /// Rows with a fingerprint, and of these those without a token.
    pub(super) compared: u64,
    pub(super) without_tokens: u64,
    /// Rows that contain a held-out item, by their ordinals in the unit.
    pub(super) hits: Vec<Hit>,
    /// Rows that repeat themselves, and how much, likewise.
    pub(super) repeated: Vec<(u64, f64)>,
}

impl Summary {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Invariant(format!("a summary cannot be written: {error}")))
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| Error::Config {
            message: format!("the summary of a unit cannot be read: {error}"),
            hint: Some("hand on what the kernels have said".into()),
        })
    }
}
