//! Object stores by URL.
use std::sync::Arc;
use object_store::{ObjectStore, path::Path};
/// x
#[derive(Debug)]
pub struct Stores;
impl Stores {
    /// x
    pub fn resolve(&self, _u: &str) -> crate::Result<(Arc<dyn ObjectStore>, Path)> { Err(crate::Error::config("x")) }
}
