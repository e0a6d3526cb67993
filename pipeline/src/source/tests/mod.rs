//! Whole passes over files in a temporary folder.

mod damage;
mod equivalence;
mod formats;
mod rejects;
mod support;
mod types;
