//! Held-out items and near-duplicates.

use tamis_schemas::config::{Config, DecontaminateConfig, DeduplicateConfig, InputConfig};
use tamis_schemas::preset::Candidates;

use super::{id_source, parse_text, source_options};
use crate::decontaminate;
use crate::dedup::{Bands, Direction, KeepOrder, Linkage, Measure, Normalize, Scope, Settings, Sources};
use crate::source::{IdSource, SourceOptions, TextExpression};
use crate::{Error, Result};

/// Longest run of tokens that may be asked for: items with fewer tokens are looked for length by length.
const MAX_HELD_OUT_NGRAM: usize = 256;

/// Which held-out items are looked for, and how they are read.
#[derive(Debug)]
pub(in crate::run) struct HeldOutPlan {
    pub(in crate::run) paths: Vec<String>,
    pub(in crate::run) source: SourceOptions,
    pub(in crate::run) text: TextExpression,
    pub(in crate::run) id: IdSource,
    pub(in crate::run) settings: decontaminate::Settings,
}

pub(super) fn held_out_plan(held_out: &DecontaminateConfig, config: &Config) -> Result<HeldOutPlan> {
    if held_out.paths.is_empty() {
        return Err(Error::config("decontaminate.paths names no file"));
    }
    if !(1..=MAX_HELD_OUT_NGRAM).contains(&held_out.ngram) {
        let message = format!("decontaminate.ngram is {}, not between 1 and {MAX_HELD_OUT_NGRAM}", held_out.ngram);
        return Err(Error::config(message));
    }
    if held_out.min_tokens == 0 {
        return Err(Error::config("decontaminate.min_tokens is 0: an item without a token cannot be looked for"));
    }
    let input = InputConfig {
        text_documents: config.input.text_documents,
        max_row: config.input.max_row,
        ..InputConfig::new(held_out.paths.clone())
    };
    Ok(HeldOutPlan {
        paths: held_out.paths.clone(),
        source: source_options(&input)?,
        text: parse_text(held_out.text.as_ref().unwrap_or(&config.input.text))?,
        id: id_source(held_out.id.as_deref()),
        settings: decontaminate::Settings {
            n_tokens: held_out.ngram,
            min_tokens: held_out.min_tokens,
            normalize: config.deduplicate.as_ref().map_or_else(Normalize::default, normalize),
        },
    })
}

pub(super) fn normalize(config: &DeduplicateConfig) -> Normalize {
    Normalize {
        diacritics: config.ignore_diacritics,
        digits: config.ignore_digits,
        punctuation: config.ignore_punctuation,
    }
}

/// The settings of near-duplicate removal, with what other sections say about them.
pub(super) fn settings(config: &Config) -> Result<Option<Settings>> {
    let Some(stage) = &config.deduplicate else { return Ok(None) };
    let mut settings = near_duplicate_settings(stage)?;
    settings.scope.source_column.clone_from(&config.input.source);
    settings.max_cluster_rows = max_cluster_rows(config);
    Ok(Some(settings))
}

/// The largest cluster of which rows may be dropped.
pub(in crate::run) fn max_cluster_rows(config: &Config) -> Option<u64> {
    config.guards.as_ref().and_then(|guards| guards.max_cluster_rows)
}

pub(in crate::run) fn near_duplicate_settings(config: &DeduplicateConfig) -> Result<Settings> {
    let (recall, bands) = match config.candidates_in_effect() {
        Candidates::Recall(recall) => (recall, None),
        Candidates::Bands(bands) => {
            let bands = Bands { n_bands: bands.n_bands, rows_per_band: bands.rows_per_band };
            (Settings::default().recall, Some(bands))
        }
    };
    let settings = Settings {
        measure: match config.measure {
            tamis_schemas::config::Measure::Jaccard => Measure::Jaccard,
            tamis_schemas::config::Measure::Containment => Measure::Containment,
        },
        threshold: config.threshold_in_effect(),
        recall,
        bands,
        n_tokens: config.ngram_in_effect(),
        seed: config.seed,
        normalize: normalize(config),
        keep: parse_keep(&config.keep)?,
        linkage: match config.linkage {
            tamis_schemas::config::Linkage::Star => Linkage::Star,
            tamis_schemas::config::Linkage::Connected => Linkage::Connected,
        },
        scope: Scope {
            sources: match config.scope {
                tamis_schemas::config::Scope::All => Sources::All,
                tamis_schemas::config::Scope::WithinSource => Sources::Within,
                tamis_schemas::config::Scope::AcrossSources => Sources::Across,
                tamis_schemas::config::Scope::Index => Sources::Index,
            },
            source_column: None,
            by: config.by.clone(),
        },
        cap_cluster: config.cap_cluster,
        max_cluster_rows: None,
    };
    if settings.n_tokens == 0 {
        return Err(Error::config("ngram is 0: a shingle has at least 1 token"));
    }
    settings.search()?;
    Ok(settings)
}

/// `first`, `longest`, or `column:asc,other:desc`.
pub(in crate::run) fn parse_keep(keep: &str) -> Result<KeepOrder> {
    match keep {
        "first" => return Ok(KeepOrder::First),
        "longest" => return Ok(KeepOrder::Longest),
        _ => {}
    }
    let columns = keep.split(',').map(|part| {
        let (name, direction) = part.trim().rsplit_once(':')?;
        let direction = match direction {
            "asc" => Direction::Ascending,
            "desc" => Direction::Descending,
            _ => return None,
        };
        (!name.is_empty()).then(|| (name.to_owned(), direction))
    });
    columns.collect::<Option<Vec<_>>>().map(KeepOrder::Columns).ok_or_else(|| Error::Config {
        message: format!("keep is `{keep}`, which is no order"),
        hint: Some("write first, longest, or columns with a direction: score:desc,date:asc".into()),
    })
}

/// `Error::Config` if the index, or the scope that needs one, cannot work with the other settings.
pub(super) fn check_index(config: &Config) -> Result<()> {
    let refuse = |message: &str, hint: &str| Err(Error::Config { message: message.into(), hint: Some(hint.into()) });
    match (&config.deduplicate, &config.index) {
        (None, Some(_)) => refuse("an index needs near-duplicate removal", "add a section [deduplicate]"),
        (Some(deduplicate), None) if deduplicate.scope == tamis_schemas::config::Scope::Index => {
            refuse("scope index compares with an index, and none is named", "name one with --index or [index] url")
        }
        (Some(deduplicate), Some(_)) => near_duplicate_settings(deduplicate)?.check_for_index(),
        _ => Ok(()),
    }
}
