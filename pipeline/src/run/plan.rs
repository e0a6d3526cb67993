//! A config, understood: every setting parsed and checked before anything is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tamis_schemas::columns;
use tamis_schemas::config::{
    Changed, Config, DecontaminateConfig, DeduplicateConfig, EmbedConfig, EmbeddingPrecision, EmbeddingType,
    GrainConfig, InputConfig, InputFormat, OutputMode, RepetitionConfig, ScoreConfig, Table, UnitAction,
};
use tamis_schemas::preset::Candidates;

use super::quality::QualityPlan;
use super::semantic::SemanticPlan;
use super::unlabelled;
use crate::decontaminate;
use crate::dedup::grain::{Cutter, DuplicateAction, Held, Repetition, RepetitionLimits, Unit, UnitSettings};
use crate::dedup::{Bands, Direction, KeepOrder, Linkage, Measure, Normalize, Scope, Settings, Sources};
use crate::score::ScorerChoice;
use crate::score::device::DeviceChoice;
use crate::score::encoder::{EncoderOptions, Precision};
use crate::source::{Format, IdSource, SourceOptions, TextDocuments, TextExpression, TextPart};
use crate::{Error, Result};

/// Longest run of tokens that may be asked for: items with fewer tokens are looked for length by length.
const MAX_HELD_OUT_NGRAM: usize = 256;

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
    pub(super) embed: Option<EmbedPlan>,
    pub(super) device: DeviceChoice,
    pub(super) tables: Vec<Table>,
}

/// Which held-out items are looked for, and how they are read.
#[derive(Debug)]
pub(super) struct HeldOutPlan {
    pub(super) paths: Vec<String>,
    pub(super) source: SourceOptions,
    pub(super) text: TextExpression,
    pub(super) id: IdSource,
    pub(super) settings: decontaminate::Settings,
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
            scorer: config.score.as_ref().map_or(Ok(ScorerChoice::default()), scorer)?,
            embed: config.embed.as_ref().map(EmbedPlan::new).transpose()?,
            device,
            tables: tables(config)?,
        })
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

fn scorer(score: &ScoreConfig) -> Result<ScorerChoice> {
    let scorer = score.scorer.parse()?;
    if score.head.is_some() && !matches!(scorer, ScorerChoice::Encoder(_)) {
        return Err(Error::Config {
            message: format!("score.head is set, but the scorer `{}` has no embeddings to learn from", score.scorer),
            hint: Some("leave it out, or name an encoder as score.scorer".into()),
        });
    }
    Ok(scorer)
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

/// What the rules about paragraphs and lines will do.
#[derive(Debug)]
pub(super) struct GrainPlan {
    /// Units that an earlier row holds.
    pub(super) duplicates: Option<(UnitSettings, DuplicateAction)>,
    /// Rows that repeat themselves.
    pub(super) repetition: Option<Repetition>,
    /// Units to cut that occur earlier in the same text.
    cut_repeats: Option<UnitSettings>,
    text_column: String,
}

impl GrainPlan {
    fn new(config: &Config, text: &TextExpression, normalize: Normalize) -> Result<Option<Self>> {
        if config.grain.is_none() && config.repetition.is_none() {
            return Ok(None);
        }
        let text_column = match text.parts.as_slice() {
            [TextPart::Column(name)] if !name.starts_with(columns::PREFIX) => name.clone(),
            _ if cuts_units(config) => {
                return Err(Error::Config {
                    message: format!("nothing can be cut out of the text `{}`", config.input.text),
                    hint: Some("name one input column as the text, or use the action drop".into()),
                });
            }
            _ => String::new(),
        };
        let duplicates = config.grain.as_ref().map(|grain| duplicate_units(grain, normalize)).transpose()?;
        let mut plan = Self { duplicates, repetition: None, cut_repeats: None, text_column };
        if let Some(repetition) = &config.repetition {
            let limits = repetition_limits(repetition, normalize)?;
            match repetition.action {
                UnitAction::Drop => plan.repetition = Some(Repetition::new(limits)),
                UnitAction::Cut => {
                    let settings =
                        UnitSettings { unit: unit(repetition.unit), min_tokens: repetition.min_tokens, normalize };
                    plan.cut_repeats = Some(settings);
                }
            }
        }
        if let (Some((left, DuplicateAction::Cut)), Some(right)) = (&plan.duplicates, &plan.cut_repeats)
            && left.unit != right.unit
        {
            return Err(Error::Config {
                message: "grain cuts one unit and repetition another".into(),
                hint: Some("give grain.unit and repetition.unit the same value".into()),
            });
        }
        Ok(Some(plan))
    }

    /// What cuts texts, if anything is to be cut.
    pub(super) fn cutter(&self, held: Option<Held>) -> Option<Cutter> {
        let held = held.filter(|_| matches!(self.duplicates, Some((_, DuplicateAction::Cut))));
        let unit = match (&held, &self.duplicates, &self.cut_repeats) {
            (Some(_), Some((settings, _)), _) | (_, _, Some(settings)) => settings.unit,
            _ => return None,
        };
        Some(Cutter::new(unit, held, self.cut_repeats, &self.text_column))
    }
}

fn cuts_units(config: &Config) -> bool {
    config.grain.as_ref().is_some_and(|grain| grain.action == UnitAction::Cut)
        || config.repetition.as_ref().is_some_and(|repetition| repetition.action == UnitAction::Cut)
}

fn unit(unit: tamis_schemas::config::Unit) -> Unit {
    match unit {
        tamis_schemas::config::Unit::Paragraph => Unit::Paragraph,
        tamis_schemas::config::Unit::Line => Unit::Line,
    }
}

fn check_min_tokens(section: &str, min_tokens: usize) -> Result<()> {
    if min_tokens == 0 {
        return Err(Error::config(format!("{section}.min_tokens is 0: blank lines are no duplicates")));
    }
    Ok(())
}

/// `Error::Config` if the index, or the scope that needs one, cannot work with the other settings.
fn check_index(config: &Config) -> Result<()> {
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

/// # Errors
/// `Error::Config` for a scorer that cannot do what is asked of it, or a setting that it does not look at.
fn check_score(config: &Config) -> Result<()> {
    let Some(score) = &config.score else { return Ok(()) };
    let refuse = |message: String, hint: &str| Err(Error::Config { message, hint: Some(hint.into()) });
    let choice = match score.scorer.parse()? {
        ScorerChoice::Unlabelled(choice) => choice,
        ScorerChoice::Builtin | ScorerChoice::Encoder(_) if score.reference.is_empty() => return Ok(()),
        ScorerChoice::Builtin | ScorerChoice::Encoder(_) => {
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

fn duplicate_units(config: &GrainConfig, normalize: Normalize) -> Result<(UnitSettings, DuplicateAction)> {
    check_min_tokens("grain", config.min_tokens)?;
    check_ratio("grain.max_duplicate_ratio", config.max_duplicate_ratio)?;
    let action = match config.action {
        UnitAction::Drop => DuplicateAction::Drop { max_ratio: config.max_duplicate_ratio },
        UnitAction::Cut => DuplicateAction::Cut,
    };
    Ok((UnitSettings { unit: unit(config.unit), min_tokens: config.min_tokens, normalize }, action))
}

fn repetition_limits(config: &RepetitionConfig, normalize: Normalize) -> Result<RepetitionLimits> {
    check_min_tokens("repetition", config.min_tokens)?;
    for (name, value) in [
        ("max_line_ratio", config.max_line_ratio),
        ("max_paragraph_ratio", config.max_paragraph_ratio),
        ("max_top_bigram_ratio", config.max_top_bigram_ratio),
        ("max_tengram_ratio", config.max_tengram_ratio),
    ] {
        check_ratio(&format!("repetition.{name}"), value)?;
    }
    Ok(RepetitionLimits {
        normalize,
        min_tokens: config.min_tokens,
        min_document_tokens: config.min_document_tokens,
        max_line_ratio: config.max_line_ratio,
        max_paragraph_ratio: config.max_paragraph_ratio,
        max_top_bigram_ratio: config.max_top_bigram_ratio,
        max_tengram_ratio: config.max_tengram_ratio,
    })
}

pub(super) fn check_ratio(name: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(Error::config(format!("{name} is {value}, not between 0 and 1")))
    }
}

/// `text` is the column `text`; `{title}\n{body}` puts columns into a template, `{{` and `}}` are braces.
pub(crate) fn parse_text(text: &str) -> Result<TextExpression> {
    if !text.contains(['{', '}']) {
        return Ok(TextExpression { parts: vec![TextPart::Column(text.to_owned())] });
    }
    let bad = |what: &str| Error::Config {
        message: format!("the text template `{text}` {what}"),
        hint: Some("name columns in braces: \"{title} {body}\"; write {{ and }} for braces themselves".into()),
    };
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        match (char, rest.peek()) {
            ('{', Some('{')) | ('}', Some('}')) => literal.extend(rest.next()),
            ('{', _) => {
                let mut name = String::new();
                loop {
                    match rest.next() {
                        Some('}') => break,
                        Some(char) => name.push(char),
                        None => return Err(bad("has a brace that is not closed")),
                    }
                }
                if !literal.is_empty() {
                    parts.push(TextPart::Literal(std::mem::take(&mut literal)));
                }
                parts.push(TextPart::Column(name));
            }
            ('}', _) => return Err(bad("has a brace that was not opened")),
            (char, _) => literal.push(char),
        }
    }
    if !literal.is_empty() {
        parts.push(TextPart::Literal(literal));
    }
    if parts.iter().all(|part| matches!(part, TextPart::Literal(_))) {
        return Err(bad("names no column"));
    }
    Ok(TextExpression { parts })
}

pub(super) fn id_source(id: Option<&str>) -> IdSource {
    match id {
        Some("") => IdSource::Row,
        Some(name) => IdSource::Column(name.to_owned()),
        None => IdSource::FirstPresent(vec![columns::ID.to_owned(), "id".to_owned()]),
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

fn held_out_plan(held_out: &DecontaminateConfig, config: &Config) -> Result<HeldOutPlan> {
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

fn normalize(config: &DeduplicateConfig) -> Normalize {
    Normalize {
        diacritics: config.ignore_diacritics,
        digits: config.ignore_digits,
        punctuation: config.ignore_punctuation,
    }
}

/// The settings of near-duplicate removal, with what other sections say about them.
fn settings(config: &Config) -> Result<Option<Settings>> {
    let Some(stage) = &config.deduplicate else { return Ok(None) };
    let mut settings = near_duplicate_settings(stage)?;
    settings.scope.source_column.clone_from(&config.input.source);
    settings.max_cluster_rows = max_cluster_rows(config);
    Ok(Some(settings))
}

/// The largest cluster of which rows may be dropped.
pub(super) fn max_cluster_rows(config: &Config) -> Option<u64> {
    config.guards.as_ref().and_then(|guards| guards.max_cluster_rows)
}

pub(super) fn near_duplicate_settings(config: &DeduplicateConfig) -> Result<Settings> {
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
pub(super) fn parse_keep(keep: &str) -> Result<KeepOrder> {
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

pub(super) fn source_options(input: &InputConfig) -> Result<SourceOptions> {
    let format = input.format.map(|format| match format {
        InputFormat::Jsonl => Format::JsonLines,
        InputFormat::Csv => Format::Csv,
        InputFormat::Tsv => Format::Tsv,
        InputFormat::Parquet => Format::Parquet,
        InputFormat::Arrow => Format::Arrow,
        InputFormat::Text => Format::Text,
    });
    let text_documents = match input.text_documents {
        tamis_schemas::config::TextDocuments::Line => TextDocuments::Lines,
        tamis_schemas::config::TextDocuments::File => TextDocuments::Files,
    };
    let schema = input.schema.as_ref().map(parse_schema).transpose()?;
    Ok(SourceOptions {
        format,
        text_documents,
        schema,
        max_row_bytes: input.max_row.0 as usize,
        ..SourceOptions::default()
    })
}

/// Types by their Arrow names, the simple ones in any case: `int64`, `utf8`, `Timestamp(Microsecond, None)`.
fn parse_schema(columns: &BTreeMap<String, String>) -> Result<SchemaRef> {
    const SIMPLE: [&str; 16] = [
        "Boolean",
        "Int8",
        "Int16",
        "Int32",
        "Int64",
        "UInt8",
        "UInt16",
        "UInt32",
        "UInt64",
        "Float32",
        "Float64",
        "Utf8",
        "LargeUtf8",
        "Binary",
        "Date32",
        "Date64",
    ];
    let fields = columns.iter().map(|(name, text)| {
        let simple = SIMPLE.iter().find(|simple| simple.eq_ignore_ascii_case(text)).copied();
        let data_type: DataType = simple.unwrap_or(text).parse().map_err(|_| Error::Config {
            message: format!("input.schema: `{text}` of column `{name}` is not a type"),
            hint: Some(
                "write Arrow types: int64, float64, boolean, utf8, date32, \"Timestamp(Microsecond, None)\"".into(),
            ),
        })?;
        Ok(Field::new(name, data_type, true))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_templates() {
        let column = |name: &str| TextPart::Column(name.into());
        let literal = |text: &str| TextPart::Literal(text.into());
        let check = |text: &str, parts: Vec<TextPart>| assert_eq!(parse_text(text).unwrap().parts, parts, "{text}");
        check("text", vec![column("text")]);
        check("{title}\n{body}", vec![column("title"), literal("\n"), column("body")]);
        check("{{{a}}}", vec![literal("{"), column("a"), literal("}")]);
        for bad in ["{a", "a}", "{{a}}"] {
            assert!(parse_text(bad).is_err(), "{bad}");
        }
    }
}
