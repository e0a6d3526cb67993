//! What the tests of the index share.

use std::sync::Arc;

use object_store::memory::InMemory;

use crate::place::Place;

/// A place in memory, and the runtime that it needs.
pub(super) fn memory_place() -> (tokio::runtime::Runtime, Place) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let place = Place::in_store(Arc::new(InMemory::new()), runtime.handle().clone());
    (runtime, place)
}
