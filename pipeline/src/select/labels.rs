//! Labels by id, joined with the rows of the pool.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, UInt64Type};
use polars::prelude::*;
use tamis_schemas::columns;

use crate::score::append::required_column;
use crate::{Error, Result, RowSet};

/// Rows of the pool that are joined at once: the memory of a join does not grow with the pool.
const JOIN_ROWS: usize = 1 << 16;

/// One label for each id that has one.
#[derive(Debug, Clone)]
pub struct LabelTable {
    /// `id`, `label`: String, ids distinct.
    frame: DataFrame,
    n_unlabelled: usize,
}

impl LabelTable {
    /// Reads ids and labels of any type that has a text form. A null or blank label says nothing and is left out, and so
    /// is a row without an id.
    ///
    /// # Errors
    /// `Error::Column` if a column is not there; `Error::Config` if an id has two different labels.
    pub fn from_batches(batches: &[RecordBatch], id_column: &str, label_column: &str) -> Result<Self> {
        let mut frame = label_frame(Vec::new(), Vec::new())?;
        for batch in batches {
            let (ids, labels) = (text_column(batch, id_column)?, label_texts(batch, label_column)?);
            let labels = labels.iter().map(|label| label.map(str::trim).filter(|label| !label.is_empty())).collect();
            frame.vstack_mut(&label_frame(ids.iter().collect(), labels)?)?;
        }
        let n_rows = frame.height();
        let known = frame.lazy().filter(col("id").is_not_null().and(col("label").is_not_null())).collect()?;
        let n_unlabelled = n_rows - known.height();
        let by_id = known
            .lazy()
            .group_by([col("id")])
            .agg([col("label").min().alias("label"), col("label").max().alias("other")])
            .sort(["id"], SortMultipleOptions::default())
            .collect()?;
        let conflicts = by_id.clone().lazy().filter(col("label").neq(col("other"))).collect()?;
        let first = |name| Ok::<_, Error>(conflicts.column(name)?.str()?.get(0).unwrap_or_default());
        if 0 < conflicts.height() {
            let more = match conflicts.height() - 1 {
                0 => String::new(),
                n => format!(", and so have {n} more"),
            };
            let (id, label, other) = (first("id")?, first("label")?, first("other")?);
            return Err(Error::Config {
                message: format!("the id `{id}` has the labels `{label}` and `{other}`{more}"),
                hint: Some("leave one label for each id".into()),
            });
        }
        Ok(Self { frame: by_id.lazy().select([col("id"), col("label")]).collect()?, n_unlabelled })
    }

    /// Number of ids with a label.
    pub fn len(&self) -> usize {
        self.frame.height()
    }

    /// Whether no id has a label.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of the file that were left out: no label or no id.
    pub fn n_unlabelled(&self) -> usize {
        self.n_unlabelled
    }
}

fn label_frame(ids: Vec<Option<&str>>, labels: Vec<Option<&str>>) -> Result<DataFrame> {
    Ok(df!("id" => ids, "label" => labels)?)
}

/// A column of labels as text; a list is the JSON of its items that are not null, as text.
fn label_texts(batch: &RecordBatch, name: &str) -> Result<StringArray> {
    let Some(array) = batch.column_by_name(name) else { return text_column(batch, name) };
    let lists = match array.data_type() {
        ArrowType::List(item) | ArrowType::LargeList(item) | ArrowType::FixedSizeList(item, _) => {
            cast(array, &ArrowType::List(item.clone()))?
        }
        _ => return text_column(batch, name),
    };
    let lists = lists.as_list::<i32>();
    let items = cast(lists.values(), &ArrowType::Utf8)?;
    let items = items.as_string::<i32>();
    let ranges = lists.value_offsets().windows(2).map(|ends| ends[0] as usize..ends[1] as usize);
    Ok(ranges
        .enumerate()
        .map(|(row, range)| {
            let of_row: Vec<&str> = range.filter(|&item| items.is_valid(item)).map(|item| items.value(item)).collect();
            lists.is_valid(row).then(|| serde_json::Value::from(of_row).to_string())
        })
        .collect())
}

/// A column as text.
pub(crate) fn text_column(batch: &RecordBatch, name: &str) -> Result<StringArray> {
    let array = batch
        .column_by_name(name)
        .ok_or_else(|| Error::Column { message: format!("there is no column `{name}`"), hint: None })?;
    let text = cast(array, &ArrowType::Utf8).map_err(|_| Error::Column {
        message: format!("column `{name}` has type {}, which has no text form", array.data_type()),
        hint: None,
    })?;
    Ok(text.as_string().clone())
}

/// What the labels say about the pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LabelledPool {
    /// Row and label of each labelled row, by row. Rows of one id all have its label.
    pub labelled: Vec<(u64, String)>,
    /// The labelled rows.
    pub rows: RowSet,
    /// Name and labelled rows of each class, by name.
    pub classes: Vec<(String, u64)>,
    /// Rows of the pool, labelled or not.
    pub n_pool: u64,
    /// Ids with a label that no row of the pool has.
    pub n_labels_unknown: u64,
}

impl LabelledPool {
    /// Takes the labels of other files in, where a row has none yet.
    pub fn add(&mut self, other: &Self) {
        let new = other.labelled.iter().filter(|(row, _)| !self.rows.contains(*row));
        self.labelled.extend(new.cloned());
        self.labelled.sort_by_key(|(row, _)| *row);
        self.n_pool = self.n_pool.max(other.n_pool);
        self.n_labels_unknown += other.n_labels_unknown;
        self.count();
    }

    /// Forgets the labels of some rows: nothing is to be learned from them.
    pub fn remove(&mut self, rows: &RowSet) {
        let n_before = self.labelled.len();
        self.labelled.retain(|(row, _)| !rows.contains(*row));
        if self.labelled.len() == n_before {
            return;
        }
        self.count();
    }

    /// What follows from `labelled`.
    fn count(&mut self) {
        let mut classes = BTreeMap::new();
        for (_, label) in &self.labelled {
            *classes.entry(label.clone()).or_default() += 1;
        }
        self.classes = classes.into_iter().collect();
        self.rows = self.labelled.iter().map(|(row, _)| *row).collect();
    }
}

/// Finds the labelled rows of a pool, batch by batch.
#[derive(Debug)]
pub struct LabelJoin {
    table: LabelTable,
    /// `row`, `id` of rows not joined yet.
    waiting: DataFrame,
    /// `row`, `id`, `label` of those that have a label.
    found: DataFrame,
    n_pool: u64,
}

impl LabelJoin {
    /// A join with no row of the pool seen yet.
    pub fn new(table: LabelTable) -> Result<Self> {
        let waiting = row_frame(Vec::new(), Vec::new())?;
        let found = df!("row" => Vec::<u64>::new(), "id" => Vec::<String>::new(), "label" => Vec::<String>::new())?;
        Ok(Self { table, waiting, found, n_pool: 0 })
    }

    /// Sees `tamis_row` and `tamis_id` of a batch of the pool.
    pub fn observe(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = required_column(batch, columns::ROW, &ArrowType::UInt64)?.as_primitive::<UInt64Type>();
        let ids = required_column(batch, columns::ID, &ArrowType::Utf8)?.as_string::<i32>();
        self.waiting.vstack_mut(&row_frame(rows.values().to_vec(), ids.iter().collect())?)?;
        self.n_pool += batch.num_rows() as u64;
        if JOIN_ROWS <= self.waiting.height() { self.join() } else { Ok(()) }
    }

    fn join(&mut self) -> Result<()> {
        let waiting = std::mem::replace(&mut self.waiting, row_frame(Vec::new(), Vec::new())?);
        let found = waiting
            .lazy()
            .join(self.table.frame.clone().lazy(), [col("id")], [col("id")], JoinArgs::new(JoinType::Inner))
            .select([col("row"), col("id"), col("label")])
            .collect()?;
        self.found.vstack_mut(&found)?;
        Ok(())
    }

    /// All of the pool was seen.
    pub fn finish(mut self) -> Result<LabelledPool> {
        self.join()?;
        let found = self.found.lazy().sort(["row"], SortMultipleOptions::default()).collect()?;
        let unknown = self
            .table
            .frame
            .lazy()
            .join(found.clone().lazy(), [col("id")], [col("id")], JoinArgs::new(JoinType::Anti))
            .collect()?;
        let classes = found
            .clone()
            .lazy()
            .group_by([col("label")])
            .agg([len().cast(DataType::UInt64).alias("n")])
            .sort(["label"], SortMultipleOptions::default())
            .collect()?;
        let rows: Vec<u64> = found.column("row")?.u64()?.into_no_null_iter().collect();
        let labels = found.column("label")?.str()?.iter().flatten().map(str::to_owned);
        let names = classes.column("label")?.str()?.iter().flatten().map(str::to_owned);
        Ok(LabelledPool {
            rows: rows.iter().copied().collect(),
            classes: names.zip(classes.column("n")?.u64()?.into_no_null_iter()).collect(),
            labelled: rows.into_iter().zip(labels).collect(),
            n_pool: self.n_pool,
            n_labels_unknown: unknown.height() as u64,
        })
    }
}

fn row_frame(rows: Vec<u64>, ids: Vec<Option<&str>>) -> Result<DataFrame> {
    Ok(df!("row" => rows, "id" => ids)?)
}
