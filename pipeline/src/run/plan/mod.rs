//! A config, understood: every setting parsed and checked before anything is read.

mod duplicates;
mod grain;
mod input;

use tamis_schemas::config::{
    Changed, Config, EmbedConfig, EmbeddingPrecision, EmbeddingType, OutputMode, ScoreConfig, Table,
};

pub(super) use duplicates::{HeldOutPlan, max_cluster_rows, near_duplicate_settings, parse_keep};
pub(super) use grain::GrainPlan;
pub(crate) use input::parse_text;
pub(super) use input::{id_source, source_options};

use super::quality::QualityPlan;
use super::semantic::SemanticPlan;
use super::unlabelled;
use crate::dedup::Settings;
use crate::score::ScorerChoice;
use crate::score::device::DeviceChoice;
use crate::score::encoder::{EncoderOptions, Precision};
use crate::source::{IdSource, SourceOptions, TextExpression, TextPart};
use crate::{Error, Result};
use duplicates::{check_index, held_out_plan, settings};
use grain::cuts_units;

/// What a run will do.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) text: TextExpression,
    pub(super) id: IdSource,
    pub(super) source: SourceOptions,
    pub(super) decontaminate: Option<HeldOutPlan>,
    pub(super) deduplicate: Option<Settings>,
    pub(super) grain: Option<GrainPlan>,
    pub(super) semantic: Option<SemanticPlan>,
    pub(super) quality: Option<QualityPlan>,
    pub(super) scorer: ScorerChoice,
    /// What scores if the scorer does not agree with it.
    pub(super) larger: Option<ScorerChoice>,
    pub(super) embed: Option<EmbedPlan>,
    pub(super) device: DeviceChoice,
    pub(super) tables: Vec<Table>,
}

/// With which encoder, where, and where earlier results are.
#[derive(Debug, PartialEq)]
pub(super) struct EmbedPlan {
    pub(super) model: String,
    pub(super) options: EncoderOptions,
    pub(super) device: DeviceChoice,
    pub(super) embedding_type: EmbeddingType,
    pub(super) cache: Option<String>,
}

impl EmbedPlan {
    pub(super) fn new(config: &EmbedConfig) -> Result<Self> {
        let precision = match config.precision {
            EmbeddingPrecision::F32 => Precision::F32,
            EmbeddingPrecision::Bf16 => Precision::Bf16,
        };
        Ok(Self {
            model: config.model.clone(),
            options: EncoderOptions { max_tokens: config.max_tokens, precision },
            device: config.device.parse()?,
            embedding_type: config.embedding_type,
            cache: config.cache.clone(),
        })
    }
}

impl Plan {
    /// # Errors
    /// `Error::Config` for the first setting that cannot work.
    pub(super) fn new(config: &Config) -> Result<Self> {
        check_ratio("input.max_reject_ratio", config.input.max_reject_ratio)?;
        for (name, tier) in &config.tiers {
            if !(1..=22).contains(&tier.zstd) {
                return Err(Error::config(format!("tiers.{name}.zstd is {}, not between 1 and 22", tier.zstd)));
            }
        }
        if let Some(select) = &config.select {
            check_ratio("select.random_ratio", select.random_ratio)?;
            check_ratio("select.stratum_max_ratio", select.stratum_max_ratio)?;
            if select.budget == 0 {
                return Err(Error::config("select.budget is 0: there is nothing to choose"));
            }
        }
        check_guards(config)?;
        check_changed(config)?;
        super::parts::check(config)?;
        check_index(config)?;
        check_score(config)?;
        let text = parse_text(&config.input.text)?;
        let deduplicate = settings(config)?;
        let normalize = deduplicate.as_ref().map(|settings| settings.normalize).unwrap_or_default();
        let (scorer, larger) = config.score.as_ref().map_or_else(|| Ok((ScorerChoice::default(), None)), scorers)?;
        let device = config.score.as_ref().map_or(Ok(DeviceChoice::Auto), |score| score.device.parse())?;
        Ok(Self {
            grain: GrainPlan::new(config, &text, normalize)?,
            text,
            id: id_source(config.input.id.as_deref()),
            source: source_options(&config.input)?,
            decontaminate: config.decontaminate.as_ref().map(|of| held_out_plan(of, config)).transpose()?,
            deduplicate,
            semantic: SemanticPlan::new(config)?,
            quality: config.quality.as_ref().map(QualityPlan::new).transpose()?,
            scorer,
            larger,
            embed: config.embed.as_ref().map(EmbedPlan::new).transpose()?,
            device,
            tables: tables(config)?,
        })
    }

    /// The columns of embeddings that scorers learn from.
    pub(super) fn embedding_columns(&self) -> Vec<String> {
        let columns = std::iter::once(&self.scorer).chain(&self.larger).filter_map(|choice| match choice {
            ScorerChoice::Column(name) => Some(name.clone()),
            ScorerChoice::Builtin | ScorerChoice::Encoder(_) | ScorerChoice::Unlabelled(_) => None,
        });
        columns.collect()
    }

    /// Whether any stage looks at the text.
    pub(super) fn needs_text(&self, config: &Config) -> bool {
        self.decides_rows() || config.embed.is_some() || config.score.is_some() || config.select.is_some()
    }

    /// Whether a stage may drop rows.
    fn decides_rows(&self) -> bool {
        self.decontaminate.is_some()
            || self.deduplicate.is_some()
            || self.grain.is_some()
            || self.semantic.is_some()
            || self.quality.is_some()
    }

    pub(super) fn writes(&self, table: Table) -> bool {
        self.tables.contains(&table)
    }

    /// Columns of long texts that hardly ever repeat.
    pub(super) fn unique_columns(&self) -> Vec<String> {
        let columns = self.text.parts.iter().filter_map(|part| match part {
            TextPart::Column(name) => Some(name.clone()),
            TextPart::Literal(_) => None,
        });
        let id = match &self.id {
            IdSource::Column(name) => vec![name.clone()],
            IdSource::FirstPresent(names) => names.clone(),
            IdSource::Row => Vec::new(),
        };
        columns.chain(id).collect()
    }
}

/// The scorer, and the larger one that it is held against.
fn scorers(score: &ScoreConfig) -> Result<(ScorerChoice, Option<ScorerChoice>)> {
    let scorer: ScorerChoice = score.scorer.parse()?;
    let larger: Option<ScorerChoice> = score.larger.as_deref().map(str::parse).transpose()?;
    let any = |is: fn(&ScorerChoice) -> bool| is(&scorer) || larger.as_ref().is_some_and(is);
    if score.head.is_some() && !any(|scorer| matches!(scorer, ScorerChoice::Encoder(_) | ScorerChoice::Column(_))) {
        return Err(Error::Config {
            message: format!("score.head is set, but the scorer `{}` has no embeddings to learn from", score.scorer),
            hint: Some("leave it out, or name an encoder as score.scorer".into()),
        });
    }
    if score.cache.is_some() && !any(|scorer| matches!(scorer, ScorerChoice::Encoder(_))) {
        return Err(Error::Config {
            message: format!(
                "score.cache (--cache) is set, but the scorer `{}` is no encoder: it embeds nothing",
                score.scorer
            ),
            hint: Some("leave it out, or name an encoder as score.scorer (--scorer)".into()),
        });
    }
    let learns_nothing = |scorer: &ScorerChoice| matches!(scorer, ScorerChoice::Unlabelled(_));
    if let (Some(name), true) = (&score.larger, any(learns_nothing)) {
        return Err(Error::Config {
            message: format!(
                "score.larger (--larger) is `{name}`, and the scorer `{}`: one of them says no label that the other could agree with",
                score.scorer
            ),
            hint: Some("compare scorers that learn from labels".into()),
        });
    }
    if !(0.0 <= score.min_agreement && score.min_agreement <= 1.0) {
        return Err(Error::config(format!(
            "score.min_agreement (--min-agreement) is {}: it is a share, 0 to 1",
            score.min_agreement
        )));
    }
    Ok((scorer, larger))
}

/// # Errors
/// `Error::Config` if changed files are to be read again where that would double their rows, or has no meaning.
fn check_changed(config: &Config) -> Result<()> {
    if config.input.changed == Changed::Replace {
        return Ok(());
    }
    if config.output.mode != OutputMode::Append {
        return Err(Error::Config {
            message: "input.changed is set, but no run is added to another".into(),
            hint: Some("set output.mode to \"append\", or leave it out".into()),
        });
    }
    if config.input.changed == Changed::Read && config.deduplicate.is_none() {
        return Err(Error::Config {
            message: "changed files that are read again would double their rows: nothing finds duplicates".into(),
            hint: Some("add a section [deduplicate], or leave out input.changed".into()),
        });
    }
    Ok(())
}

/// # Errors
/// `Error::Config` for a guard that cannot work, or a setting that nothing looks at.
fn check_guards(config: &Config) -> Result<()> {
    let limits = config.guards.clone().unwrap_or_default();
    check_ratio("guards.max_dropped_ratio", limits.max_dropped_ratio)?;
    if limits.max_cluster_rows == Some(0) {
        return Err(Error::config("guards.max_cluster_rows is 0: a cluster has rows"));
    }
    let has_clusters = config.deduplicate.is_some() || config.semantic.is_some();
    let drops = has_clusters || config.grain.is_some() || config.repetition.is_some();
    if config.guards.is_some() && !drops {
        return Err(Error::config(
            "guards watch over what is dropped: without [deduplicate], [grain], [repetition] or [semantic] nothing is",
        ));
    }
    if limits.max_cluster_rows.is_some() && !has_clusters {
        return Err(Error::config(
            "guards.max_cluster_rows is set, but without [deduplicate] or [semantic] there are no clusters",
        ));
    }
    let scope_looks = config.deduplicate.as_ref().is_some_and(|stage| stage.scope != tamis_schemas::config::Scope::All);
    if config.input.source.is_some() && !scope_looks && limits.max_dropped_ratio >= 1.0 {
        return Err(Error::Config {
            message: "input.source is set, but nothing looks at the source of a row".into(),
            hint: Some("set guards.max_dropped_ratio (--max-dropped-ratio) or deduplicate.scope (--scope)".into()),
        });
    }
    Ok(())
}

/// # Errors
/// `Error::Config` for a scorer that cannot do what is asked of it, or a setting that it does not look at.
fn check_score(config: &Config) -> Result<()> {
    let Some(score) = &config.score else { return Ok(()) };
    let refuse = |message: String, hint: &str| Err(Error::Config { message, hint: Some(hint.into()) });
    let choice = match score.scorer.parse()? {
        ScorerChoice::Unlabelled(choice) => choice,
        ScorerChoice::Builtin | ScorerChoice::Encoder(_) | ScorerChoice::Column(_) if score.reference.is_empty() => {
            return Ok(());
        }
        ScorerChoice::Builtin | ScorerChoice::Encoder(_) | ScorerChoice::Column(_) => {
            return refuse(
                format!("score.reference is set, but the scorer `{}` learns from labels", score.scorer),
                "leave it out, or use the scorer `ngram` or `dsir`",
            );
        }
    };
    unlabelled::check(&choice, "score", &score.reference)?;
    if config.select.is_some() {
        return refuse(
            format!("[select] needs probabilities or embeddings, and the scorer `{}` makes neither", score.scorer),
            "use the scorer `builtin`; [quality] keeps rows by such scores",
        );
    }
    if !score.labels.is_empty() {
        return refuse(
            format!("score.labels is set, but the scorer `{}` learns without labels", score.scorer),
            "leave it out",
        );
    }
    Ok(())
}

pub(super) fn check_ratio(name: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(Error::config(format!("{name} is {value}, not between 0 and 1")))
    }
}

fn tables(config: &Config) -> Result<Vec<Table>> {
    let has_embeddings = config.embed.is_some();
    let (has_scores, has_batch) = (config.score.is_some() || config.select.is_some(), config.select.is_some());
    let has_evidence = config.decontaminate.is_some()
        || config.deduplicate.is_some()
        || config.grain.is_some()
        || config.repetition.is_some()
        || config.semantic.is_some();
    let made: Vec<Table> = Table::ALL
        .into_iter()
        .filter(|table| match table {
            Table::Kept | Table::Rejected => true,
            Table::Dropped => has_evidence || config.quality.is_some(),
            Table::Evidence => has_evidence,
            Table::Quality | Table::Control => config.quality.is_some(),
            Table::Spans => cuts_units(config),
            Table::Scores => has_scores,
            Table::Embeddings => has_embeddings,
            Table::Batch => has_batch,
        })
        .collect();
    let Some(wanted) = &config.output.tables else { return Ok(made) };
    if let Some(table) = wanted.iter().find(|table| !made.contains(table)) {
        return Err(Error::config(format!(
            "output.tables asks for `{}`, which no stage of this config makes",
            table.name()
        )));
    }
    Ok(made.into_iter().filter(|table| wanted.contains(table)).collect())
}
