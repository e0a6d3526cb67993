//! Labels by id, joined with the rows of the pool.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, UInt64Type};
use polars::prelude::*;
use tamis_schemas::columns;

use crate::score::append::required_column;
use crate::{Error, Result, RowSet};

/// Rows of the pool that are joined at once: the memory of a join does not grow with the pool.
const JOIN_ROWS: usize = 1 << 16;

/// One label for each id that has one, or one of each annotator.
#[derive(Debug, Clone)]
pub struct LabelTable {
    /// `id`, `label`: String, ids distinct; null where as many annotators say one thing as another.
    frame: DataFrame,
    /// `id`, `annotator`, `label`: String; none if nobody asks who labelled.
    votes: DataFrame,
    n_unlabelled: usize,
}

impl LabelTable {
    /// Reads ids and labels of any type that has a text form. A null or blank label says nothing and is left out, and so
    /// is a row without an id.
    ///
    /// With `annotator_column` an id may have a label of each annotator, and what most of them say is its label; rows without an annotator are of one
    /// without a name.
    ///
    /// # Errors
    /// `Error::Column` if a column is not there; `Error::Config` if an annotator, or whoever it is, gives an id two different labels.
    pub fn from_batches(
        batches: &[RecordBatch],
        id_column: &str,
        label_column: &str,
        annotator_column: Option<&str>,
    ) -> Result<Self> {
        let mut frame = vote_frame(Vec::new(), Vec::new(), Vec::new())?;
        for batch in batches {
            let (ids, labels) = (text_column(batch, id_column)?, label_texts(batch, label_column)?);
            let labels = labels.iter().map(|label| label.map(str::trim).filter(|label| !label.is_empty())).collect();
            let annotators = annotator_column.map(|name| text_column(batch, name)).transpose()?;
            let annotators = match &annotators {
                Some(annotators) => annotators.iter().map(Option::unwrap_or_default).collect(),
                None => vec![""; batch.num_rows()],
            };
            frame.vstack_mut(&vote_frame(ids.iter().collect(), annotators, labels)?)?;
        }
        let n_rows = frame.height();
        let known = frame.lazy().filter(col("id").is_not_null().and(col("label").is_not_null())).collect()?;
        let n_unlabelled = n_rows - known.height();
        let votes = known
            .lazy()
            .group_by([col("id"), col("annotator")])
            .agg([col("label").min().alias("label"), col("label").max().alias("other")])
            .sort(["id", "annotator"], SortMultipleOptions::default())
            .collect()?;
        let conflicts = votes.clone().lazy().filter(col("label").neq(col("other"))).collect()?;
        let first = |name| Ok::<_, Error>(conflicts.column(name)?.str()?.get(0).unwrap_or_default());
        if 0 < conflicts.height() {
            let more = match conflicts.height() - 1 {
                0 => String::new(),
                n => format!(", and so have {n} more"),
            };
            let (id, label, other) = (first("id")?, first("label")?, first("other")?);
            return Err(Error::Config {
                message: match first("annotator")? {
                    _ if annotator_column.is_none() => {
                        format!("the id `{id}` has the labels `{label}` and `{other}`{more}")
                    }
                    who => format!("annotator `{who}` gives the id `{id}` the labels `{label}` and `{other}`{more}"),
                },
                hint: Some(match annotator_column {
                    None => "leave one label for each id, or name the column of annotators (--annotator-column)".into(),
                    Some(_) => "leave one label of an annotator for each id".into(),
                }),
            });
        }
        let votes = votes.lazy().select([col("id"), col("annotator"), col("label")]).collect()?;
        let frame = most_voted(&votes)?;
        Ok(Self { frame, votes: if annotator_column.is_some() { votes } else { votes.clear() }, n_unlabelled })
    }

    /// The ids with a label.
    pub fn ids(&self) -> Result<HashSet<String>> {
        Ok(texts(&self.frame, "id")?.into_iter().collect())
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

fn vote_frame(ids: Vec<Option<&str>>, annotators: Vec<&str>, labels: Vec<Option<&str>>) -> Result<DataFrame> {
    Ok(df!("id" => ids, "annotator" => annotators, "label" => labels)?)
}

/// The label that most annotators give each id; null where there are several.
fn most_voted(votes: &DataFrame) -> Result<DataFrame> {
    let first = votes
        .clone()
        .lazy()
        .group_by([col("id"), col("label")])
        .agg([len().alias("n")])
        .filter(col("n").eq(col("n").max().over([col("id")])?))
        .group_by([col("id")])
        .agg([col("label").min(), len().alias("n_first")])
        .sort(["id"], SortMultipleOptions::default());
    let label = when(col("n_first").eq(lit(1))).then(col("label")).otherwise(lit(NULL).cast(DataType::String));
    Ok(first.select([col("id"), label.alias("label")]).collect()?)
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
    /// Rows that annotators are split about.
    pub split: RowSet,
    /// Row, annotator and label, by row, where it is asked who labelled.
    pub votes: Vec<(u64, String, String)>,
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
        self.votes.extend(other.votes.iter().cloned());
        self.votes.sort_unstable();
        self.split = self.split.iter().chain(other.split.iter()).filter(|row| !self.is_labelled(*row)).collect();
        self.count();
    }

    /// Forgets the labels of some rows: nothing is to be learned from them.
    pub fn remove(&mut self, rows: &RowSet) {
        self.split = self.split.iter().filter(|row| !rows.contains(*row)).collect();
        self.votes.retain(|(row, ..)| !rows.contains(*row));
        let n_before = self.labelled.len();
        self.labelled.retain(|(row, _)| !rows.contains(*row));
        if self.labelled.len() == n_before {
            return;
        }
        self.count();
    }

    /// Counts rows that stand for labelled ones, which are dropped, as labelled too: what says the same is not to be labelled again.
    pub fn stand_in(&mut self, stand_ins: &HashMap<u64, u64>) {
        for (&dropped, &kept) in stand_ins {
            if self.rows.contains(dropped) {
                self.rows.insert(kept);
            }
        }
        for (&dropped, &kept) in stand_ins {
            if self.split.contains(dropped) && !self.rows.contains(kept) {
                self.split.insert(kept);
            }
        }
        let have_votes: RowSet = self.votes.iter().map(|(row, ..)| *row).collect();
        for (row, ..) in &mut self.votes {
            *row = stand_ins.get(row).copied().filter(|kept| !have_votes.contains(*kept)).unwrap_or(*row);
        }
        self.votes.sort_unstable();
        self.votes.dedup_by(|next, vote| (next.0, &next.1) == (vote.0, &vote.1));
    }

    fn is_labelled(&self, row: u64) -> bool {
        self.labelled.binary_search_by_key(&row, |(row, _)| *row).is_ok()
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
    /// `row`, `id`, `label` of those that have a label, or several.
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
        let votes = found
            .clone()
            .lazy()
            .select([col("row"), col("id")])
            .join(self.table.votes.lazy(), [col("id")], [col("id")], JoinArgs::new(JoinType::Inner))
            .sort(["row", "annotator"], SortMultipleOptions::default())
            .collect()?;
        let is_split = found.column("label")?.is_null();
        let (split, found) = (found.filter(&is_split)?, found.filter(&!is_split)?);
        let classes = found
            .clone()
            .lazy()
            .group_by([col("label")])
            .agg([len().cast(DataType::UInt64).alias("n")])
            .sort(["label"], SortMultipleOptions::default())
            .collect()?;
        let rows = numbers(&found, "row")?;
        let of_voters = texts(&votes, "annotator")?.into_iter().zip(texts(&votes, "label")?);
        Ok(LabelledPool {
            rows: rows.iter().copied().collect(),
            classes: texts(&classes, "label")?.into_iter().zip(numbers(&classes, "n")?).collect(),
            labelled: rows.into_iter().zip(texts(&found, "label")?).collect(),
            split: numbers(&split, "row")?.into_iter().collect(),
            votes: numbers(&votes, "row")?
                .into_iter()
                .zip(of_voters)
                .map(|(row, (who, label))| (row, who, label))
                .collect(),
            n_pool: self.n_pool,
            n_labels_unknown: unknown.height() as u64,
        })
    }
}

/// A column without nulls.
fn numbers(frame: &DataFrame, name: &str) -> Result<Vec<u64>> {
    Ok(frame.column(name)?.u64()?.into_no_null_iter().collect())
}

/// A column without nulls.
fn texts(frame: &DataFrame, name: &str) -> Result<Vec<String>> {
    Ok(frame.column(name)?.str()?.iter().flatten().map(str::to_owned).collect())
}

fn row_frame(rows: Vec<u64>, ids: Vec<Option<&str>>) -> Result<DataFrame> {
    Ok(df!("row" => rows, "id" => ids)?)
}
