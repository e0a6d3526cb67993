//! What tamis's data looks like: the columns it adds, the tables it writes, the config it reads, the manifest it leaves.
//!
//! This crate opens no file, starts no thread and hashes no text.

pub mod active;
pub mod age;
pub mod columns;
pub mod commit;
pub mod config;
pub mod footprint;
pub mod index;
pub mod lease;
pub mod manifest;
pub mod preset;
pub mod size;
pub mod tables;
pub mod tier;
pub mod time_span;
