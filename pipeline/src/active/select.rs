//! The next round: learns from all answers so far, chooses, and adds what was chosen to the ledger.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write;

use serde_json::json;
use sha2::{Digest, Sha256};
use tamis_schemas::active::{LEDGER_VERSION, LoopSettings, ModelRecord, PoolRecord, RoundRecord, Stability};
use tamis_schemas::columns;
use tamis_schemas::config::{Config, DeduplicateConfig, OutputConfig, ScoreConfig, SelectConfig, Strategy};
use tamis_schemas::manifest::ScorerRecord;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::stop_set::{StopSet, stability};
use super::{Known, Ledger, Verdict, cost};
use crate::context::Context;
use crate::progress::Progress;
use crate::run::{ChosenRound, choose_round};
use crate::sink::hex;
use crate::store::Stores;
use crate::{Error, Result};

/// Column of the label in the file that the scorer learns from.
const LABEL: &str = "label";
/// Column of who gave it.
const ANNOTATOR: &str = "annotator";

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct SelectRequest {
    /// Rows to choose; that of the loop by default.
    pub budget: Option<u64>,
    /// Whether to choose although a whole round waits for answers, or the budget is used up.
    pub anyway: bool,
    /// The time, in seconds since 1970.
    pub now: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Selected {
    /// A round was added.
    Round(Box<RoundRecord>),
    /// No row is left to choose; nothing was written.
    Exhausted,
}

/// Chooses the next round of a loop.
///
/// # Errors
/// `Error::Config` if a round has no answer yet (unless `anyway`), or if another command chose meanwhile; whatever stops a run.
pub fn select(
    ledger: &mut Ledger,
    request: SelectRequest,
    stores: &Stores,
    context: &Context,
    progress: &Progress,
) -> Result<Selected> {
    let known = Known::of(ledger)?;
    let verdicts = known.verdicts();
    let open = known.open_ids(&verdicts)?;
    let left = rows_left(ledger, &known, &verdicts, &open, request)?;
    let labels = labels_of(&verdicts);
    let handed_out = known.handed_out()?;
    let settings = ledger.settings();
    let round = ledger.next_round();
    let n_classes = labels.values().copied().flatten().collect::<HashSet<_>>().len();
    // What asks a model has none to ask yet.
    let has_none = n_classes < 2 && settings.strategy.needs_classes();
    // Labels of which a row has several are not asked for again.
    let asks_again = settings.strategy == Strategy::Activelab && known.is_multi_label;
    let strategy = if has_none || asks_again { Strategy::Auto } else { settings.strategy };
    let declined = known.declined();
    let waits = |id: &str| open.iter().any(|of_round| of_round.contains(id));
    let stays = |id: &str| match verdicts.get(id) {
        Some(Verdict::Labelled(_)) => strategy != Strategy::Activelab || (!waits(id) && !declined.contains(id)),
        Some(Verdict::Disagreeing) => strategy == Strategy::Activelab && !waits(id) && !declined.contains(id),
        Some(Verdict::Skipped) | None => false,
    };
    let excluded: HashSet<String> = handed_out.iter().filter(|id| !stays(id)).map(|id| (*id).to_owned()).collect();
    let asked = request.budget.unwrap_or(settings.budget);
    let budget = if request.anyway { asked } else { asked.min(left) };
    let seed = round_seed(settings.seed, round);
    let previous = ledger.rounds().last().map(|last| ledger.table(&last.stop_set)).transpose()?;
    let mut stop_set = if let Some(previous) = &previous {
        StopSet::of(previous)?
    } else {
        let but = excluded.iter().cloned().chain(labels.keys().map(|id| (*id).to_owned()));
        StopSet::drawn(settings.stop_set_rows, settings.seed, but.collect())
    };

    let teaching = if strategy == Strategy::Activelab {
        write_labels(known.votes().into_iter(), known.is_multi_label, context)?
    } else {
        let agreed = labels.iter().map(|(id, labels)| (*id, String::new(), *labels));
        write_labels(agreed, known.is_multi_label, context)?
    };
    let round_settings = LoopSettings { strategy, ..settings.clone() };
    let cost_base = if 0.0 < settings.cost_exponent { cost::measured_base(ledger, &known.rounds)? } else { None };
    let config = config(&round_settings, budget, seed, (teaching.as_deref(), cost_base), context);
    let observe = |scored: &arrow::array::RecordBatch| stop_set.observe(scored);
    let chosen = choose_round(&config, &excluded, observe, stores, context, progress)?;
    if chosen.batch.num_rows() == 0 {
        return Ok(Selected::Exhausted);
    }
    let stop_set = stop_set.finish()?;
    let stability = stability(&stop_set, previous.as_ref())?;
    let ChosenRound { batch, selection, scorer, inputs, rows } = chosen;
    let record = RoundRecord {
        ledger_version: LEDGER_VERSION,
        tamis_version: env!("CARGO_PKG_VERSION").to_owned(),
        round,
        selected_at: request.now,
        seed,
        pool: PoolRecord { rows, inputs },
        labels: label_files(ledger)?,
        model: ModelRecord { sha256: model_hash(settings, &scorer, &labels), scorer },
        selection,
        stability: Stability { ..stability },
        batch: ledger.put_table(round, "batch", &batch)?,
        stop_set: ledger.put_table(round, "stop_set", &stop_set)?,
    };
    Ok(Selected::Round(Box::new(ledger.add_round(record)?.clone())))
}

/// Refuses what [`select`] would refuse for earlier rounds, for a command that has to wait before it begins.
///
/// # Errors
/// As [`select`].
pub fn check_select(ledger: &Ledger, request: SelectRequest) -> Result<()> {
    let known = Known::of(ledger)?;
    let verdicts = known.verdicts();
    rows_left(ledger, &known, &verdicts, &known.open_ids(&verdicts)?, request).map(drop)
}

/// Rows that may still be handed out.
fn rows_left(
    ledger: &Ledger,
    known: &Known,
    verdicts: &BTreeMap<&str, Verdict>,
    open: &[BTreeSet<&str>],
    request: SelectRequest,
) -> Result<u64> {
    if !request.anyway {
        refuse_unanswered(ledger, open)?;
    }
    let handed_out = known.handed_out()?;
    let n_outside = labels_of(verdicts).keys().filter(|id| !handed_out.contains(**id)).count() as u64;
    let n_given = n_outside + ledger.rounds().iter().map(|round| round.selection.batch_rows).sum::<u64>();
    let left = ledger.settings().max_labels.map_or(u64::MAX, |most| most.saturating_sub(n_given));
    if left == 0 && !request.anyway {
        return Err(Error::Config {
            message: format!("the budget is used up: {n_given} rows are labelled or handed out"),
            hint: Some("`tamis al status` says what they came to; --anyway hands out more".into()),
        });
    }
    Ok(left)
}

/// Refuses a round while an earlier one has no answer at all: it was hardly meant.
fn refuse_unanswered(ledger: &Ledger, open: &[BTreeSet<&str>]) -> Result<()> {
    for (record, open) in ledger.rounds().iter().zip(open) {
        if record.selection.batch_rows == open.len() as u64 {
            let number = record.round;
            return Err(Error::Config {
                message: format!(
                    "none of the {} rows of round {number} has an answer yet",
                    record.selection.batch_rows
                ),
                hint: Some(format!(
                    "label them (`tamis al export {0} --round {number}`) and import the answers (`tamis al import {0} \
                     FILE`), or choose more rows all the same with --anyway",
                    ledger.location()
                )),
            });
        }
    }
    Ok(())
}

/// Label of each row that has one.
fn labels_of<'a>(verdicts: &'a BTreeMap<&'a str, Verdict>) -> BTreeMap<&'a str, &'a [String]> {
    let labels = verdicts.iter().filter_map(|(id, verdict)| match verdict {
        Verdict::Labelled(labels) => Some((*id, labels.as_slice())),
        Verdict::Disagreeing | Verdict::Skipped => None,
    });
    labels.collect()
}

/// Writes labels, each with id and annotator, where the scorer reads them from; `None` if there is none.
fn write_labels<'a>(
    labels: impl Iterator<Item = (&'a str, String, &'a [String])>,
    is_multi_label: bool,
    context: &Context,
) -> Result<Option<String>> {
    let path = context.spill.new_path().with_extension("jsonl");
    let mut lines = Vec::new();
    for (id, annotator, labels) in labels {
        let label = match labels {
            [label] if !is_multi_label => json!(label),
            labels => json!(labels),
        };
        writeln!(lines, "{}", json!({ columns::ID: id, ANNOTATOR: annotator, LABEL: label }))
            .map_err(|error| context.spill.error(error))?;
    }
    if lines.is_empty() {
        return Ok(None);
    }
    std::fs::write(&path, lines).map_err(|error| context.spill.error(error))?;
    Ok(Some(path.to_string_lossy().into_owned()))
}

/// What `tamis select` would do. Rounds differ in the seed of the random slice only: a scorer whose training is seeded anew would change its
/// mind from round to round for no reason that labels give.
fn config(
    settings: &LoopSettings,
    budget: u64,
    seed: u64,
    (labels, cost_base): (Option<&str>, Option<f64>),
    context: &Context,
) -> Config {
    let nowhere = context.spill.new_path().to_string_lossy().into_owned();
    let output = OutputConfig { tables: Some(Vec::new()), ..OutputConfig::new(nowhere) };
    let select = SelectConfig {
        strategy: settings.strategy,
        random_ratio: settings.random_ratio,
        labels: labels.map(str::to_owned).into_iter().collect(),
        label_column: LABEL.into(),
        label_id_column: Some(columns::ID.into()),
        annotator_column: Some(ANNOTATOR.into()),
        stratum_column: settings.stratum_column.clone(),
        stratum_max_ratio: settings.stratum_max_ratio.unwrap_or(1.0),
        max_similarity: settings.max_similarity,
        cost_exponent: settings.cost_exponent,
        cost_base: cost_base.unwrap_or(0.0),
        seed,
        ..SelectConfig::new(budget)
    };
    Config {
        deduplicate: Some(DeduplicateConfig { threshold: Some(settings.threshold), ..DeduplicateConfig::default() }),
        score: Some(ScoreConfig {
            scorer: settings.scorer.clone(),
            head: settings.head,
            cache: settings.cache.clone(),
            seed: settings.seed,
            ..ScoreConfig::default()
        }),
        select: Some(select),
        ..Config::new(settings.pool.clone(), output)
    }
}

/// Checks the settings of a loop without reading anything.
///
/// # Errors
/// `Error::Config` for the first one that cannot work.
pub(super) fn check(settings: &LoopSettings, context: &Context) -> Result<()> {
    crate::run::check(&config(settings, settings.budget, settings.seed, (None, None), context))
}

/// Seed of a round. Below 2^32, so that no tool rounds it.
fn round_seed(seed: u64, round: u32) -> u64 {
    xxh3_64_with_seed(&round.to_le_bytes(), seed) >> 32
}

fn label_files(ledger: &Ledger) -> Result<Vec<String>> {
    let mut names = ledger.label_files(None)?;
    for record in ledger.rounds() {
        names.extend(ledger.label_files(Some(record.round))?);
    }
    Ok(names)
}

/// Hash of all that a model follows from. Texts are those of the pool, which the round's record names.
fn model_hash(settings: &LoopSettings, scorer: &ScorerRecord, labels: &BTreeMap<&str, &[String]>) -> String {
    let of = json!({
        "tamis_version": env!("CARGO_PKG_VERSION"),
        "scorer": scorer.name,
        "task": scorer.task,
        "head": settings.head,
        "seed": settings.seed,
        "text": settings.pool.text,
        "labels": labels,
    });
    hex(&Sha256::digest(of.to_string().as_bytes()))
}
