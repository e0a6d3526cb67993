//! The binary as its users see it: flags, exit codes, files, messages.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::format_collect,
    clippy::print_stdout,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod active;
mod append;
mod archive;
mod azure;
mod bad_input;
mod causal;
mod config;
mod containment;
mod contract;
mod credentials;
mod decontaminate;
mod determinism;
mod distill;
mod documents;
mod embed;
mod exit_codes;
mod faults;
mod footprint;
mod grain;
mod guards;
mod index;
mod inspect;
mod interrupt;
mod kernel;
mod kill;
mod log;
mod metrics;
mod oracle;
mod order;
#[cfg(feature = "otel")]
mod otel;
mod quality;
mod readme;
mod restore;
mod s3;
mod schedule;
mod scope;
mod score;
mod select;
mod semantic;
mod simulate;
mod tiers;
mod tune;
