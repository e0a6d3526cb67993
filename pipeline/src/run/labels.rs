//! Label files, and which rows of the pool they speak of.

use arrow::datatypes::DataType;
use tamis_schemas::columns;
use tamis_schemas::config::{InputConfig, ScoreConfig, SelectConfig};

use super::Run;
use super::pass;
use super::survey::Survey;
use crate::score::LabelKind;
use crate::select::{LabelJoin, LabelTable, LabelledPool};
use crate::source::{Columns, IdSource, Inputs, Request, TextExpression, Types};
use crate::store::Stores;
use crate::{Error, Result};

/// Label files, and their columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct LabelSource<'a> {
    paths: &'a [String],
    label_column: &'a str,
    id_column: Option<&'a str>,
    annotator_column: Option<&'a str>,
}

impl<'a> LabelSource<'a> {
    /// What the scorer learns from; `None` if it names no file.
    pub(super) fn of_score(config: &'a ScoreConfig) -> Option<Self> {
        Self::new(&config.labels, &config.label_column, config.label_id_column.as_deref(), None)
    }

    /// What is labelled already; `None` if it names no file.
    pub(super) fn of_select(config: &'a SelectConfig) -> Option<Self> {
        let annotator_column = config.annotator_column.as_deref();
        Self::new(&config.labels, &config.label_column, config.label_id_column.as_deref(), annotator_column)
    }

    fn new(
        paths: &'a [String],
        label_column: &'a str,
        id_column: Option<&'a str>,
        annotator_column: Option<&'a str>,
    ) -> Option<Self> {
        (!paths.is_empty()).then_some(Self { paths, label_column, id_column, annotator_column })
    }
}

/// Reads the label files and finds their rows in the pool.
pub(super) fn join(
    run: Run<'_>,
    survey: &Survey,
    source: &LabelSource<'_>,
    stores: &Stores,
) -> Result<(LabelledPool, LabelKind)> {
    let labels = read_labels(run, source, stores)?;
    labels.warn();
    let LabelsRead { table, kind, .. } = labels;
    let n_labels = table.len();
    let mut join = LabelJoin::new(table)?;
    run.begin("joining labels");
    let request =
        Request { columns: Columns::Named(Vec::new()), text: None, id: Some(run.plan.id.clone()), rows: None };
    pass::for_each(run.scan(&survey.schema, &request)?, run.context, Ok, |decoded| {
        decoded.batches.iter().try_for_each(|batch| {
            run.progress.add_rows(batch.num_rows() as u64);
            join.observe(batch)
        })
    })?;
    Ok((joined(n_labels, join)?, kind))
}

/// What was joined, once every row of the pool was seen.
///
/// # Errors
/// `Error::Config` if there are labels, and none is of the pool.
pub(super) fn joined(n_labels: usize, join: LabelJoin) -> Result<LabelledPool> {
    let pool = join.finish()?;
    if n_labels > 0 && pool.labelled.is_empty() && pool.split.is_empty() {
        return Err(Error::Config {
            message: format!("none of the {n_labels} labels has an id of the pool"),
            hint: Some("the label files and the pool must name rows by the same ids: see --id-column".into()),
        });
    }
    Ok(pool)
}

/// Labels, and what their column holds.
#[derive(Debug)]
pub(super) struct LabelsRead {
    pub(super) table: LabelTable,
    pub(super) kind: LabelKind,
    /// Rows that could not be read, which nobody else tells of.
    n_untold: usize,
}

impl LabelsRead {
    /// Tells of rows that could not be read.
    pub(super) fn warn(&self) {
        if self.n_untold > 0 {
            tracing::warn!(rows = self.n_untold, "rows of the label files could not be read; they are left out");
        }
    }
}

/// Reads labels.
pub(super) fn read_labels(run: Run<'_>, source: &LabelSource<'_>, stores: &Stores) -> Result<LabelsRead> {
    let id = match (source.id_column, &run.plan.id) {
        (Some(name), _) => IdSource::Column(name.to_owned()),
        (None, IdSource::Row) => IdSource::Column(columns::ID.to_owned()),
        (None, of_pool) => of_pool.clone(),
    };
    let options = super::plan::source_options(&InputConfig::new(source.paths.to_vec()))?;
    let inputs = Inputs::discover(source.paths, &options, stores, run.context)?;
    let survey = Request { columns: Columns::All, text: None, id: Some(id.clone()), rows: None };
    let (mut types, mut n_rejects) = (Types::default(), 0);
    pass::for_each(inputs.survey(&survey)?, run.context, Ok, |decoded| {
        types.merge(decoded.types);
        n_rejects += decoded.rejects.len();
        Ok(())
    })?;
    let schema = inputs.resolve(types)?;
    let kind = match schema.schema().fields().find(source.label_column) {
        Some((_, field)) => kind_of(field.data_type()),
        None => LabelKind::Text,
    };
    // Lists and numbers have no text that a row could be rejected for; all else is read as texts are, which says what is wrong.
    let is_plain = |data_type: &DataType| data_type.is_numeric() || *data_type == DataType::Boolean;
    let field = schema.schema().fields().find(source.label_column);
    let is_typed = kind == LabelKind::Lists || field.is_some_and(|(_, field)| is_plain(field.data_type()));
    let text = (!is_typed).then(|| TextExpression::column(source.label_column));
    let of_label = is_typed.then_some(source.label_column);
    let columns = of_label.into_iter().chain(source.annotator_column).map(str::to_owned).collect();
    let request = Request { columns: Columns::Named(columns), text, id: Some(id), rows: None };
    let mut batches = Vec::new();
    pass::for_each(inputs.scan(&schema, &request)?, run.context, Ok, |decoded| {
        batches.extend(decoded.batches);
        Ok(())
    })?;
    let column = if is_typed { source.label_column } else { columns::TEXT };
    let table = LabelTable::from_batches(&batches, columns::ID, column, source.annotator_column)?;
    // Those of the input itself are told of as rejects.
    let n_untold = if source.paths == run.config.input.paths { 0 } else { n_rejects };
    Ok(LabelsRead { table, kind, n_untold })
}

fn kind_of(data_type: &DataType) -> LabelKind {
    match data_type {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => LabelKind::Lists,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => LabelKind::Fractions,
        _ => LabelKind::Text,
    }
}
