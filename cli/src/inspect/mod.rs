//! What `tamis inspect` shows, for a terminal, a machine or a browser.
//!
//! `compare` says which words of two texts are shown; `terminal`, `json` and `html` say how.

pub(crate) mod compare;
pub(crate) mod html;
pub(crate) mod json;
mod layout;
mod paint;
mod side_by_side;
pub(crate) mod terminal;
mod visible;

use tamis_pipeline::finished::FinishedRun;
use tamis_pipeline::inspect::{Cluster, Overview, Pair};

pub(crate) use paint::Paint;

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Found {
    /// The run in numbers, and where the format has room for them, some clusters in full.
    Overview(Overview, Vec<Cluster>),
    /// One cluster.
    Cluster(Cluster),
    /// One dropped row.
    Dropped(Vec<Pair>),
}

/// What a page or a print-out is made of.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) run: &'a FinishedRun<'a>,
    pub(crate) found: Found,
    /// Show whole texts.
    pub(crate) is_full: bool,
}

impl View<'_> {
    /// The command that removed the rows, as far as the config tells: similarity and shingles in words.
    fn similarity_in_words(&self) -> Option<String> {
        let settings = &self.run.manifest().config["deduplicate"];
        let threshold = settings["threshold"].as_f64()?;
        let ngram = settings["ngram"].as_u64()?;
        let measure = match settings["measure"].as_str() {
            Some("containment") => "containment",
            _ => "Jaccard",
        };
        Some(format!("{measure} >= {threshold} of {ngram}-token shingles"))
    }
}
