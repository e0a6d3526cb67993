//! What we will do: flags, environment, config file and defaults, checked.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tamis_pipeline::Error;
use tamis_pipeline::context::{Cancel, Context, Resources};
use tamis_pipeline::dedup::index::Stamp;
use tamis_pipeline::run::{IfLocked, Sharing};
use tamis_pipeline::sink::Existing;
use tamis_pipeline::store::Stores;
use tamis_schemas::active::{LEDGER_VERSION, LoopSettings};
use tamis_schemas::config::{
    Config, DecontaminateConfig, DeduplicateConfig, EmbedConfig, GrainConfig, GuardsConfig, IndexConfig, InputConfig,
    OutputConfig, RepetitionConfig, ScoreConfig, SelectConfig, SemanticConfig, Table,
};
use tamis_schemas::size::ByteSize;

use crate::args::{
    ActiveInit, Convert, Data, Dedup, Distill, Embed, Global, Guards, HeldOut, Ignoring, Learning, Overwrite, Reach,
    Reading, Score, Select, Tune,
};
use crate::schedule::Schedule;
use crate::{log, machine, signals};

/// The config of `tamis dedup`.
pub(crate) fn dedup(args: &Dedup) -> Config {
    let deduplicate = DeduplicateConfig {
        measure: args.measure,
        preset: args.preset,
        threshold: args.threshold,
        recall: args.recall,
        ngram: args.ngram,
        keep: args.keep.clone(),
        linkage: args.linkage,
        scope: args.scope,
        by: args.by.clone(),
        cap_cluster: args.cap_cluster,
        seed: args.seed,
        ..ignoring(args.ignoring)
    };
    let grain = args.grain.map(|unit| GrainConfig { unit, action: args.grain_action, ..GrainConfig::default() });
    let repetition = args.repetition.map(|action| RepetitionConfig {
        action,
        unit: args.grain.unwrap_or_default(),
        ..RepetitionConfig::default()
    });
    let semantic = args.semantic.clone().map(|model| {
        let defaults = SemanticConfig::new(model);
        SemanticConfig { threshold: args.semantic_threshold.unwrap_or(defaults.threshold), ..defaults }
    });
    let mut config = Config {
        decontaminate: decontaminate(&args.against),
        deduplicate: Some(deduplicate),
        guards: guards(&args.guards),
        index: args.index.clone().map(|url| IndexConfig { url }),
        grain,
        repetition,
        semantic,
        ..base(&args.data, None)
    };
    config.input.source.clone_from(&args.guards.source_column);
    config
}

/// The defaults, but for what texts are compared without.
fn ignoring(args: Ignoring) -> DeduplicateConfig {
    DeduplicateConfig {
        ignore_diacritics: args.ignore_diacritics,
        ignore_digits: args.ignore_digits,
        ignore_punctuation: args.ignore_punctuation,
        ..DeduplicateConfig::default()
    }
}

/// `None` unless a guard is asked for.
fn guards(args: &Guards) -> Option<GuardsConfig> {
    let given = GuardsConfig {
        max_dropped_ratio: args.max_dropped_ratio,
        max_cluster_rows: args.max_cluster_rows,
        allow_loss: args.allow_loss,
    };
    (given != GuardsConfig::default()).then_some(given)
}

fn decontaminate(args: &HeldOut) -> Option<DecontaminateConfig> {
    (!args.against.is_empty()).then(|| DecontaminateConfig {
        text: args.against_text_column.clone(),
        id: args.against_id_column.clone(),
        ngram: args.against_ngram,
        min_tokens: args.against_min_tokens,
        ..DecontaminateConfig::new(args.against.clone())
    })
}

/// The input and the settings of `tamis tune`; thresholds are what it looks at.
pub(crate) fn tune(args: &Tune) -> (InputConfig, DeduplicateConfig) {
    let deduplicate = DeduplicateConfig {
        recall: Some(args.recall),
        ngram: Some(args.ngram),
        seed: args.seed,
        ..ignoring(args.ignoring)
    };
    (input(args.inputs.clone(), &args.reading), deduplicate)
}

/// The config of `tamis select`: near-duplicates are found so that only one of each cluster is chosen.
pub(crate) fn select(args: &Select) -> Config {
    let select = SelectConfig {
        strategy: args.strategy,
        random_ratio: args.random_ratio,
        labels: args.labels.clone(),
        label_column: args.label_column.clone(),
        annotator_column: args.annotator_column.clone(),
        stratum_column: args.stratum_column.clone(),
        stratum_max_ratio: args.stratum_max_ratio.unwrap_or(1.0),
        candidates: args.candidates,
        max_similarity: args.max_similarity,
        cost_exponent: args.cost_exponent,
        cost_base: args.cost_base,
        seed: args.seed,
        ..SelectConfig::new(args.budget)
    };
    Config {
        deduplicate: Some(DeduplicateConfig { threshold: Some(args.threshold), ..DeduplicateConfig::default() }),
        score: Some(ScoreConfig {
            scorer: args.scorer.clone(),
            device: args.device.clone(),
            cache: args.cache.clone(),
            larger: args.right_size.larger.clone(),
            min_agreement: args.right_size.min_agreement,
            seed: args.seed,
            ..ScoreConfig::default()
        }),
        select: Some(select),
        ..base(&args.data, Some(vec![Table::Batch, Table::Rejected]))
    }
}

/// The config of `tamis score`: scores of all rows that can be read.
pub(crate) fn score(args: &Score) -> Config {
    let score = ScoreConfig {
        scorer: args.scorer.clone(),
        reference: args.reference.clone(),
        labels: args.labels.clone(),
        label_column: args.label_column.clone(),
        cache: args.cache.clone(),
        larger: args.right_size.larger.clone(),
        min_agreement: args.right_size.min_agreement,
        ..learning(&args.learning)
    };
    Config { score: Some(score), ..base(&args.data, Some(vec![Table::Scores, Table::Rejected])) }
}

/// The config of `tamis distill`: it writes no table.
pub(crate) fn distill(args: &Distill) -> anyhow::Result<Config> {
    let labels = if args.labels.is_empty() { args.inputs.clone() } else { args.labels.clone() };
    anyhow::ensure!(
        !labels.iter().any(|path| path == "-"),
        "judgements are read on their own, which standard input is not: name a file"
    );
    let score = ScoreConfig {
        scorer: args.scorer.clone(),
        labels,
        label_column: args.label_column.clone(),
        ..learning(&args.learning)
    };
    let output = OutputConfig { tables: Some(Vec::new()), ..OutputConfig::new(args.output.clone()) };
    Ok(Config { score: Some(score), ..Config::new(input(args.inputs.clone(), &args.reading), output) })
}

/// The settings of a labelling loop.
pub(crate) fn labelling_loop(args: &ActiveInit) -> LoopSettings {
    LoopSettings {
        ledger_version: LEDGER_VERSION,
        pool: input(args.inputs.clone(), &args.reading),
        scorer: args.scorer.clone(),
        head: args.head,
        cache: args.cache.clone(),
        strategy: args.strategy,
        budget: args.budget,
        random_ratio: args.random_ratio,
        threshold: args.threshold,
        stratum_column: args.stratum_column.clone(),
        stratum_max_ratio: args.stratum_max_ratio,
        max_similarity: args.max_similarity,
        cost_exponent: args.cost_exponent,
        classes: args.classes.iter().map(|class| class.trim().to_owned()).collect(),
        max_labels: args.max_labels,
        stop_set_rows: args.stop_set_rows,
        seed: args.seed,
    }
}

fn learning(args: &Learning) -> ScoreConfig {
    ScoreConfig {
        head: args.head,
        task: args.task,
        device: args.device.clone(),
        seed: args.seed,
        ..ScoreConfig::default()
    }
}

/// The config of `tamis embed`.
pub(crate) fn embed(args: &Embed) -> Config {
    let embed = EmbedConfig {
        device: args.device.clone(),
        embedding_type: args.embedding_type,
        precision: args.precision,
        max_tokens: args.max_tokens,
        cache: args.cache.clone(),
        ..EmbedConfig::new(args.model.clone())
    };
    Config { embed: Some(embed), ..base(&args.data, Some(vec![Table::Embeddings, Table::Rejected])) }
}

/// The config of `tamis convert`.
pub(crate) fn convert(args: &Convert) -> Config {
    base(&args.data, None)
}

fn base(data: &Data, tables: Option<Vec<Table>>) -> Config {
    Config::new(
        input(data.inputs.clone(), &data.reading),
        OutputConfig { tables, ..OutputConfig::new(data.output.clone()) },
    )
}

pub(crate) fn input(paths: Vec<String>, reading: &Reading) -> InputConfig {
    InputConfig {
        text: reading.text_column.clone(),
        id: reading.id_column.clone(),
        format: reading.input_format,
        text_documents: reading.text_documents,
        ..InputConfig::new(paths)
    }
}

/// Reads a config file. What the stages make of it is checked by `tamis_pipeline::run::check`.
pub(crate) fn load(path: &Path) -> anyhow::Result<(Config, String)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()))?;
    let config: Config = toml::from_str(&text)
        .map_err(|error| anyhow::anyhow!(describe(&error, &text)))
        .with_context(|| format!("`{}` is not a config file", path.display()))?;
    config.schedule.as_ref().map(Schedule::new).transpose()?;
    Ok((config, text))
}

/// What is wrong where. The line is not shown as the parser would: somebody may have written a secret into it.
fn describe(error: &toml::de::Error, text: &str) -> String {
    let Some((before, after)) = error.span().and_then(|span| text.split_at_checked(span.start)) else {
        return error.message().to_owned();
    };
    let number = before.matches('\n').count() + 1;
    let begun = before.rsplit('\n').next().unwrap_or_default();
    let key = if begun.contains('=') { begun } else { after.split('\n').next().unwrap_or_default() };
    match key.split_once('=') {
        Some((key, _)) => format!("line {number}, {}: {}", key.trim(), error.message()),
        None => format!("line {number}: {}", error.message()),
    }
}

/// Whether an earlier run may be replaced.
pub(crate) fn existing(args: Overwrite) -> Existing {
    if args.overwrite { Existing::Overwrite } else { Existing::Refuse }
}

/// The moment, and a name that no other process gives to a file.
pub(crate) fn stamp() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let own = log::run_id().filter(|_| log::given_run_id().is_none());
    Stamp { now: since.as_secs(), nonce: own.map_or_else(log::new_run_id, str::to_owned) }
}

/// Who this process is to others that add to the same output, and what it does while one of them is at work.
pub(crate) fn sharing(if_locked: Option<IfLocked>, stamp: &Stamp) -> Sharing {
    Sharing {
        owner: machine::process(stamp.now),
        run_id: log::given_run_id().map(str::to_owned),
        if_locked: if_locked.unwrap_or_default(),
    }
}

/// Object stores with the credentials of the environment. Variables that are no Unicode are nobody's.
pub(crate) fn stores() -> Stores {
    Stores::new(
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    )
}

/// The same, with what the tiers of a config say of their places.
pub(crate) fn stores_by(reach: &Reach) -> anyhow::Result<Stores> {
    let Some(path) = &reach.tiers else { return Ok(stores()) };
    let (config, _) = load(path)?;
    tamis_pipeline::run::check(&config)?;
    Ok(stores().with_tiers(&config)?)
}

/// The smallest memory limit that is taken. Blocks being read, Parquet being written and the program itself need as much
/// whatever spills; a smaller limit would only be broken by more.
const LEAST_MEMORY: ByteSize = ByteSize(64 << 20);
/// What is held that no stage asks for: by the program, and for the blocks of each thread.
const PROGRAM_BYTES: u64 = 64 << 20;
const THREAD_BYTES: u64 = 16 << 20;
/// Of the limit, what the allocator holds beside what was asked for: 1 in so many bytes.
const SLACK: u64 = 16;

/// Threads, memory and temporary files, stopped by Ctrl-C and SIGTERM.
///
/// # Errors
/// If the memory limit is too small to work with.
pub(crate) fn context(global: &Global) -> anyhow::Result<Context> {
    let memory_limit = global.memory_limit.unwrap_or(ByteSize(machine::memory_bytes() / 2).max(LEAST_MEMORY));
    if memory_limit < LEAST_MEMORY {
        return Err(Error::Config {
            message: format!("a memory limit of {memory_limit} is too small to work with"),
            hint: Some(format!("the smallest that works is --memory-limit {LEAST_MEMORY}")),
        }
        .into());
    }
    let cancel = Cancel::default();
    let on_signal = cancel.clone();
    signals::listen(&signals::STOPPING, move |_| on_signal.cancel())?;
    let n_threads = n_threads(global);
    let held_bytes = PROGRAM_BYTES + n_threads as u64 * THREAD_BYTES + memory_limit.0 / SLACK;
    let resources = Resources {
        n_threads,
        memory_limit_bytes: (memory_limit.0 - held_bytes.min(memory_limit.0 / 2)) as usize,
        batch_rows: global.batch_rows.get(),
        // A kernel goes to the folder of its run.
        temp_dir: global.temp_dir.as_deref().map(std::path::absolute).transpose()?,
        hub_cache: machine::hub_cache(),
    };
    Ok(Context::new(&resources, cancel)?)
}

/// Worker threads to use.
pub(crate) fn n_threads(global: &Global) -> usize {
    global.threads.map_or_else(machine::n_threads, std::num::NonZero::get)
}
