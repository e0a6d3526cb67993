//! Which rows stay by their quality: one more pass over those that stay so far, for a score of each.

use std::sync::Arc;

use arrow::array::{AsArray, Float64Array, RecordBatch, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use tamis_schemas::columns;
use tamis_schemas::config::{BestScore, KeepRule, QualityConfig, Table};
use tamis_schemas::manifest::{InputRecord, QualityRecord};

use super::ids::{column, rows_of};
use super::plan::check_ratio;
use super::route::{Carried, id_field};
use super::survey::Survey;
use super::training::InputRows;
use super::unlabelled::{self, Learnt};
use super::{Run, pass};
use crate::context::Context;
use crate::quality::{Best, Choice, Found, KeepByScore, Rule};
use crate::score::device::DeviceChoice;
use crate::score::{ClassScorer, OpenedScorer, SCORER_FILE, SavedScorer, ScorerChoice, Task, Unlabelled};
use crate::sink::Output;
use crate::source::{Columns, Decoded, Request};
use crate::stage::MapStage;
use crate::store::Stores;
use crate::{Error, Result, RowSet};

/// How quality decides.
#[derive(Debug)]
pub(super) struct QualityPlan {
    pub(super) source: Source,
    pub(super) rule: Rule,
}

/// Where scores are to come from.
#[derive(Debug)]
pub(super) enum Source {
    Scorer(Unlabelled),
    /// Where `tamis distill` wrote it.
    Distilled(String),
    Column(String),
}

impl QualityPlan {
    /// # Errors
    /// `Error::Config` for a setting that cannot work, or that the rule does not look at.
    pub(super) fn new(config: &QualityConfig) -> Result<Self> {
        let source = match (&config.scorer, &config.column) {
            (Some(_), Some(_)) => {
                return Err(Error::config("quality.scorer and quality.column are both set: one makes the score"));
            }
            (None, Some(column)) if config.reference.is_empty() => Source::Column(column.clone()),
            (None, Some(_)) => {
                return Err(Error::config("quality.reference is set, but a column of the input is not learnt"));
            }
            (scorer, None) => match scorer.as_deref().unwrap_or("ngram").parse()? {
                ScorerChoice::Unlabelled(scorer) => {
                    unlabelled::check(&scorer, "quality", &config.reference)?;
                    Source::Scorer(scorer)
                }
                ScorerChoice::Encoder(_) if !config.reference.is_empty() => {
                    return Err(Error::config(
                        "quality.reference is set, but a distilled scorer has learnt what it knows",
                    ));
                }
                ScorerChoice::Encoder(location) => Source::Distilled(location),
                ScorerChoice::Column(_) => {
                    return Err(Error::config(
                        "quality.scorer is a column of embeddings, which say nothing of quality",
                    ));
                }
                ScorerChoice::Builtin => {
                    return Err(Error::Config {
                        message: "quality.scorer is `builtin`, which learns from labels".into(),
                        hint: Some("learn it with `tamis distill`, and name the folder that this writes".into()),
                    });
                }
            },
        };
        if config.class.is_some() && !matches!(source, Source::Distilled(_)) {
            return Err(Error::config(
                "quality.class is set, but only a scorer that `tamis distill` made knows classes",
            ));
        }
        Ok(Self { rule: rule(config, &source)?, source })
    }
}

fn rule(config: &QualityConfig, source: &Source) -> Result<Rule> {
    let unused = |name: &str| {
        let rule = match config.keep {
            KeepRule::Band => "band",
            KeepRule::Top => "top",
            KeepRule::Gumbel => "gumbel",
        };
        Err(Error::config(format!("quality.{name} is set, but quality.keep = \"{rule}\" does not look at it")))
    };
    if config.keep == KeepRule::Band {
        if config.ratio.is_some() {
            return unused("ratio");
        }
        if config.best.is_some() {
            return unused("best");
        }
        let (least, most) = (config.min.unwrap_or(f64::NEG_INFINITY), config.max.unwrap_or(f64::INFINITY));
        if config.min.is_none() && config.max.is_none() {
            return Err(Error::Config {
                message: "quality.keep is \"band\", and neither quality.min nor quality.max is set".into(),
                hint: Some("the summary of a run with `keep = \"top\"` shows which scores there are".into()),
            });
        }
        return if least <= most {
            Ok(Rule::Band { least, most })
        } else {
            Err(Error::config(format!("quality.min is {least} and quality.max {most}: no score is in between")))
        };
    }
    if let Some((name, _)) = [("min", config.min), ("max", config.max)].into_iter().find(|(_, set)| set.is_some()) {
        return unused(name);
    }
    let Some(ratio) = config.ratio else {
        return Err(Error::config("quality.ratio, the share of the rows that stays, is not set"));
    };
    check_ratio("quality.ratio", ratio)?;
    let best = match (config.best, source) {
        (Some(BestScore::Lowest), _) | (None, Source::Scorer(Unlabelled::Ngram | Unlabelled::Causal(_))) => {
            Best::Lowest
        }
        (Some(BestScore::Highest) | None, _) => Best::Highest,
    };
    let choice = if config.keep == KeepRule::Top {
        Choice::Top
    } else if 0.0 < config.temperature && config.temperature.is_finite() {
        Choice::Gumbel { temperature: config.temperature }
    } else {
        return Err(Error::config(format!("quality.temperature is {}, not above 0", config.temperature)));
    };
    Ok(Rule::Share { ratio, best, choice })
}

/// What was decided.
#[derive(Debug)]
pub(super) struct Quality {
    pub(super) dropped: Arc<RowSet>,
    /// Rows that are written to the table `control`.
    pub(super) control: Arc<RowSet>,
    pub(super) record: QualityRecord,
}

/// The scorer that `tamis distill` made, if the config names one; read before all input is.
///
/// # Errors
/// `Error::Config` if there is none.
pub(super) fn distilled(run: Run<'_>, stores: &Stores) -> Result<Option<SavedScorer>> {
    let Some(QualityPlan { source: Source::Distilled(location), .. }) = &run.plan.quality else { return Ok(None) };
    read_distilled(location, stores, run.context).map(Some)
}

/// The scorer that `tamis distill` made.
///
/// # Errors
/// `Error::Config` if there is none.
pub(super) fn read_distilled(location: &str, stores: &Stores, context: &Context) -> Result<SavedScorer> {
    SavedScorer::read(location, stores, context)?.ok_or_else(|| Error::Config {
        message: format!("quality.scorer is `{location}`, which is no scorer of quality, nor a folder with `{SCORER_FILE}`"),
        hint: Some(
            "use \"ngram\", \"dsir\" or \"gguf:FILE\", the folder or URL that `tamis distill` wrote to, or name a column of \
             scores with quality.column"
                .into(),
        ),
    })
}

/// Scores the rows that stay so far and decides which of them do, if the config asks for it. `distilled`: the scorer, if it is
/// such a one.
pub(super) fn decide(
    run: Run<'_>,
    distilled: Option<SavedScorer>,
    survey: &mut Survey,
    stores: &Stores,
    output: &mut Output,
) -> Result<()> {
    let (Some(config), Some(plan)) = (&run.config.quality, &run.plan.quality) else { return Ok(()) };
    let (judge, reference) = judge(run, &plan.source, distilled, config, survey, stores)?;
    let table = judge.table(survey.schema.schema())?;
    let writes = run.plan.writes(Table::Quality);
    let mut writer = writes.then(|| output.table(Table::Quality, Arc::clone(table.schema()))).transpose()?;
    let mut keep = KeepByScore::new(plan.rule, config.seed, run.context);
    let verdicts = survey.verdicts();
    let work = |decoded: Decoded| {
        let file = decoded.file;
        let stay = |batch| verdicts.staying(batch);
        let batches = decoded.batches.into_iter().map(stay).collect::<Result<Vec<_>>>()?;
        let decoded = survey.cut(Decoded { batches, ..decoded })?;
        let judged = decoded.batches.into_iter().map(|batch| judge.apply(batch, &table));
        Ok((file, judged.collect::<Result<Vec<_>>>()?))
    };
    run.begin("judging quality");
    let request = Request {
        columns: Columns::Named(config.column.iter().cloned().collect()),
        text: judge.needs_text().then(|| run.plan.text.clone()),
        id: Some(run.plan.id.clone()),
        rows: None,
    };
    pass::for_each(run.scan(&survey.schema, &request)?, run.context, work, |(file, judged): (usize, Vec<Judged>)| {
        for Judged { table: batch, rows, scores } in judged {
            run.progress.add_rows(rows.len() as u64);
            if let Some(writer) = &mut writer {
                writer.write_part(&batch, &run.inputs.files()[file].url)?;
            }
            for (&row, score) in rows.values().iter().zip(&scores) {
                keep.observe(row, score, run.context)?;
            }
        }
        Ok(())
    })?;
    if let Some(writer) = writer {
        output.finish_table(Table::Quality, writer)?;
    }
    let found = keep.finish(run.context)?;
    let record = QualityRecord { reference, ..record(&found, judge.column(), judge.device().map(str::to_owned)) };
    survey.quality = Some(Quality { dropped: Arc::new(found.dropped), control: Arc::new(found.control), record });
    Ok(())
}

/// What the manifest says of scores in a column, but for what these were learnt from.
pub(super) fn record(found: &Found, column: &str, device: Option<String>) -> QualityRecord {
    QualityRecord {
        column: column.to_owned(),
        reference: Vec::new(),
        device,
        judged_rows: found.n_kept + found.dropped.len(),
        kept_rows: found.n_kept,
        rows_without_score: found.n_without_score,
        // JSON has no infinite numbers.
        quantiles: found.quantiles.iter().map(|score| score.clamp(f64::MIN, f64::MAX) + 0.0).collect(),
    }
}

/// What judges, and the files that it learnt from.
fn judge<'a>(
    run: Run<'a>,
    source: &Source,
    distilled: Option<SavedScorer>,
    config: &QualityConfig,
    survey: &Survey,
    stores: &Stores,
) -> Result<(Judge<'a>, Vec<InputRecord>)> {
    Ok(match source {
        Source::Column(name) => (Judge::of_column(name, survey.schema.schema())?, Vec::new()),
        Source::Scorer(scorer) => {
            let (reference, device) = (&config.reference, DeviceChoice::Auto);
            let data = InputRows { run, survey, seed: config.seed };
            let learnt = Learnt::new(scorer, reference, config.seed, device, run, &data, stores)?;
            let (column, device) = (scorer.column(), learnt.device.description);
            (Judge::Scorer { column, device, stage: learnt.scorer.into_stage() }, learnt.reference)
        }
        Source::Distilled(location) => {
            let saved = distilled.ok_or_else(|| Error::Invariant(format!("`{location}` was not read")))?;
            (
                Judge::of_distilled(saved, location, config.class.as_deref(), DeviceChoice::Auto, stores, run.context)?,
                Vec::new(),
            )
        }
    })
}

/// Where scores come from.
pub(super) enum Judge<'a> {
    /// Appends the column of this name.
    Scorer {
        column: &'static str,
        /// Where it computes.
        device: String,
        stage: Box<dyn MapStage + 'a>,
    },
    /// A column that rows have already.
    Column(String),
}

/// A batch that was judged.
pub(super) struct Judged {
    /// Its rows of the table `quality`.
    pub(super) table: RecordBatch,
    pub(super) rows: UInt64Array,
    pub(super) scores: Float64Array,
}

impl<'a> Judge<'a> {
    /// # Errors
    /// `Error::Column` if there is no such column of numbers.
    pub(super) fn of_column(name: &str, input: &Schema) -> Result<Self> {
        let found = input.field_with_name(name).map_err(|_| no_column(name, input))?.data_type();
        if !found.is_numeric() {
            return Err(Error::Column {
                message: format!("quality.column `{name}` has type {found}, and a score is a number"),
                hint: None,
            });
        }
        Ok(Self::Column(name.to_owned()))
    }

    /// The number that the scorer from `location` predicts, or the probability of a class.
    ///
    /// # Errors
    /// `Error::Config` if it knows no such class.
    pub(super) fn of_distilled(
        saved: SavedScorer,
        location: &str,
        class: Option<&str>,
        device: DeviceChoice,
        stores: &Stores,
        context: &'a Context,
    ) -> Result<Self> {
        let (names, is_number) = (saved.answers().names().to_vec(), saved.answers().task() == Task::Regression);
        let OpenedScorer { scorer, device, .. } = saved.open(device, None, stores, context)?;
        let device = device.description;
        match class {
            None if is_number => Ok(Self::Scorer { column: columns::QUALITY, device, stage: scorer }),
            Some(class) => match names.iter().position(|name| name == class) {
                Some(index) => {
                    let stage = Box::new(ClassScorer { scorer, index });
                    Ok(Self::Scorer { column: columns::PROBABILITY, device, stage })
                }
                None => Err(no_class(&format!("quality.class is `{class}`"), location, &names)),
            },
            None => Err(no_class("quality.class is not set", location, &names)),
        }
    }

    pub(super) fn needs_text(&self) -> bool {
        matches!(self, Self::Scorer { .. })
    }

    /// The device that the scorer runs on.
    pub(super) fn device(&self) -> Option<&str> {
        match self {
            Self::Scorer { device, .. } => Some(device),
            Self::Column(_) => None,
        }
    }

    /// The column of the score.
    pub(super) fn column(&self) -> &str {
        match self {
            Self::Scorer { column, .. } => column,
            Self::Column(name) => name,
        }
    }

    /// The table `quality`: id and score.
    pub(super) fn table(&self, input: &Schema) -> Result<Carried> {
        let score = match self {
            Self::Scorer { stage, .. } => {
                let text = Arc::new(Schema::new(vec![Field::new(columns::TEXT, DataType::Utf8, false)]));
                stage.output_schema(&text)?.field_with_name(self.column())?.clone()
            }
            Self::Column(name) => input.field_with_name(name)?.clone(),
        };
        Ok(Carried::new(&Schema::new(vec![id_field()]), &[score]))
    }

    /// Judges the rows of a batch; `table` is [that of this judge](Self::table).
    pub(super) fn apply(&self, batch: RecordBatch, table: &Carried) -> Result<Judged> {
        let batch = match self {
            Self::Scorer { stage, .. } => stage.apply(batch)?,
            Self::Column(_) => batch,
        };
        let scores = cast(column(&batch, self.column())?, &DataType::Float64)?;
        let scores = scores.as_primitive::<Float64Type>().clone();
        Ok(Judged { table: table.project(&batch)?, rows: rows_of(&batch)?.clone(), scores })
    }
}

fn no_class(what: &str, location: &str, names: &[String]) -> Error {
    let known = match names {
        [] => "numbers".to_owned(),
        names => format!("the classes {}", names.join(", ")),
    };
    Error::config(format!("{what}, and the scorer in `{location}` knows {known}"))
}

fn no_column(name: &str, schema: &Schema) -> Error {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    Error::Column {
        message: format!("the input has no column `{name}`, which quality.column names"),
        hint: Some(format!("it has {}", names.join(", "))),
    }
}
