//! Where dropped rows come from: the input file that their id names, or the value of a column.

use std::collections::HashMap;
use std::ops::ControlFlow;

use arrow::array::{AsArray, StringArray};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::DataType;
use tamis_schemas::columns;
use tamis_schemas::config::Table;
use tamis_schemas::manifest::Manifest;
use xxhash_rust::xxh3::xxh3_128;

use crate::budget::Reservation;
use crate::context::Context;
use crate::finished::{FinishedRun, TableReader, request};
use crate::run::ids_of;
use crate::{Error, Result};

/// Values of a column that count as sources, at most.
const MAX_VALUES: usize = 100_000;
/// Bytes that a map entry takes beside its key.
const ENTRY_BYTES: usize = 64;

/// Rows by source.
#[derive(Debug, Clone, PartialEq)]
pub struct Sources {
    /// The column whose values they are; `None`: the input files.
    pub column: Option<String>,
    /// The sources that lost most rows.
    pub sources: Vec<SourceSummary>,
    /// All sources.
    pub n_sources: u64,
    /// Dropped rows of which nothing tells the file.
    pub unknown_dropped: u64,
}

/// One source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceSummary {
    /// Name of the file or value of the column; `None`: the column is null.
    pub name: Option<String>,
    /// Rows read, of a file; kept and dropped, of a column.
    pub rows: u64,
    /// Rows dropped.
    pub dropped: u64,
    /// Of the dropped, those for which a row of the same source stands, where ids tell.
    pub same_source: Option<u64>,
}

/// The `top` sources that lost most rows, the least name first among equals.
fn most_dropped(mut sources: Vec<SourceSummary>, top: usize) -> Vec<SourceSummary> {
    sources.sort_by(|left, right| right.dropped.cmp(&left.dropped).then_with(|| left.name.cmp(&right.name)));
    sources.truncate(top);
    sources
}

/// Counts by the file that an id of the form `<file>#<row>` names, or the table `dropped`.
#[derive(Debug)]
pub(super) struct FileSources {
    index: HashMap<String, usize>,
    files: Vec<SourceSummary>,
    unknown_dropped: u64,
}

impl FileSources {
    pub(super) fn new(manifest: &Manifest) -> Self {
        let inputs = &manifest.inputs;
        let summary =
            |name: &String, rows| SourceSummary { name: Some(name.clone()), rows, dropped: 0, same_source: Some(0) };
        Self {
            index: inputs.iter().enumerate().map(|(index, input)| (input.name.clone(), index)).collect(),
            files: inputs.iter().map(|input| summary(&input.name, input.rows)).collect(),
            unknown_dropped: 0,
        }
    }

    pub(super) fn observe(&mut self, dropped_id: &str, kept_id: Option<&str>) {
        let Some(index) = self.index_of(dropped_id) else {
            self.unknown_dropped += 1;
            return;
        };
        let is_same = kept_id.and_then(|id| self.index_of(id)) == Some(index);
        let file = &mut self.files[index];
        file.dropped += 1;
        file.same_source = file.same_source.map(|n| n + u64::from(is_same));
    }

    /// The file of a row.
    pub(super) fn of(&self, id: &str) -> Option<&str> {
        self.index_of(id).and_then(|index| self.files[index].name.as_deref())
    }

    fn index_of(&self, id: &str) -> Option<usize> {
        let (file, row) = id.rsplit_once('#')?;
        let is_row = !row.is_empty() && row.bytes().all(|byte| byte.is_ascii_digit());
        self.index.get(file).copied().filter(|_| is_row)
    }

    /// If no id tells its file, counts what `dropped` says: there no id of a kept row tells anything either.
    pub(super) fn or_read(&mut self, run: &FinishedRun<'_>) -> Result<()> {
        if self.unknown_dropped == 0 || self.files.iter().any(|file| file.dropped > 0) {
            return Ok(());
        }
        let dropped = match run.table(Table::Dropped) {
            Ok(dropped) => dropped.filter(|dropped| dropped.schema().field_with_name(columns::SOURCE).is_ok()),
            // It may lie in an archive, and the rest of an overview does not need it.
            Err(error) => {
                run.context.cancel.check()?;
                tracing::warn!(%error, "the files of dropped rows are not known");
                None
            }
        };
        let Some(dropped) = dropped else { return Ok(()) };
        self.unknown_dropped = 0;
        self.files.iter_mut().for_each(|file| file.same_source = None);
        dropped.scan("reading sources", &request(&[columns::SOURCE]), |batch| {
            let names = cast(batch.column(0), &DataType::Utf8)?;
            for name in names.as_string::<i32>() {
                match name.and_then(|name| self.index.get(name)) {
                    Some(&index) => self.files[index].dropped += 1,
                    None => self.unknown_dropped += 1,
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// What was counted; `None` if nothing tells the file of any row.
    pub(super) fn summary(&self, top: usize) -> Option<Sources> {
        let n_known: u64 = self.files.iter().map(|file| file.dropped).sum();
        (n_known > 0).then(|| Sources {
            column: None,
            sources: most_dropped(self.files.clone(), top),
            n_sources: self.files.len() as u64,
            unknown_dropped: self.unknown_dropped,
        })
    }
}

/// The values of a column in the kept rows of clusters, by a hash of their ids.
#[derive(Debug)]
pub(super) struct ClusterSources {
    values: HashMap<u128, Option<Box<str>>>,
    reservation: Reservation,
}

impl ClusterSources {
    pub(super) fn new(context: &Context) -> Self {
        Self { values: HashMap::new(), reservation: context.budget.reserve("inspect: sources of clusters") }
    }

    /// Notes a cluster whose source is wanted.
    pub(super) fn want(&mut self, cluster: &str) -> Result<()> {
        if self.values.insert(xxh3_128(cluster.as_bytes()), None).is_none() {
            self.reservation.grow(ENTRY_BYTES)?;
        }
        Ok(())
    }

    fn see(&mut self, id: &str, value: Option<&str>) -> Result<()> {
        if let (Some(wanted), Some(value)) = (self.values.get_mut(&xxh3_128(id.as_bytes())), value) {
            self.reservation.grow(value.len())?;
            *wanted = Some(value.into());
        }
        Ok(())
    }

    pub(super) fn of(&self, cluster: &str) -> Option<String> {
        self.values.get(&xxh3_128(cluster.as_bytes()))?.as_deref().map(str::to_owned)
    }
}

/// Counts by the values of a column of `kept` and `dropped`.
///
/// # Errors
/// `Error::Column` if it is not there or no text can be made of it; `Error::Config` if a table is not there or the column
/// has too many values.
pub(super) fn by_column(
    run: &FinishedRun<'_>,
    column: &str,
    top: usize,
    mut clusters: Option<&mut ClusterSources>,
) -> Result<Sources> {
    let reservation = run.context.budget.reserve("inspect: sources");
    let mut values = Values { column, rows: HashMap::new(), null_rows: [0, 0], reservation };
    for (table, is_dropped) in [(Table::Kept, false), (Table::Dropped, true)] {
        let Some(reader) = run.table(table)? else {
            if run.manifest().tables.contains_key(&table) {
                continue;
            }
            return Err(Error::Config {
                message: format!("`{}` has no table `{}`, which `--by` needs", run.location(), table.name()),
                hint: Some("add it to output.tables and run again".into()),
            });
        };
        check_column(&reader, column, run.location())?;
        let mut clusters = if is_dropped { None } else { clusters.as_deref_mut() };
        let request = if clusters.is_some() { TableReader::request_with_ids(&[column]) } else { request(&[column]) };
        reader.scan("reading sources", &request, |batch| {
            let names = cast(batch.column(0), &DataType::Utf8)?;
            let names: &StringArray = names.as_string::<i32>();
            for name in names {
                values.count(name, is_dropped)?;
            }
            if let Some(clusters) = &mut clusters {
                for (id, name) in ids_of(batch)?.iter().flatten().zip(names) {
                    clusters.see(id, name)?;
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    let sources = values.finish();
    Ok(Sources {
        column: Some(column.to_owned()),
        n_sources: sources.len() as u64,
        sources: most_dropped(sources, top),
        unknown_dropped: 0,
    })
}

fn check_column(reader: &TableReader<'_>, column: &str, place: &str) -> Result<()> {
    let schema = reader.schema();
    match schema.field_with_name(column) {
        Ok(field) if can_cast_types(field.data_type(), &DataType::Utf8) => Ok(()),
        Ok(field) => Err(Error::Column {
            message: format!("column `{column}` has type {}, its values cannot be sources", field.data_type()),
            hint: Some("choose a column of text or numbers".into()),
        }),
        Err(_) => {
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            Err(Error::Column {
                message: format!("no column `{column}` in the rows of `{place}`"),
                hint: Some(format!("choose one of {}", names.join(", "))),
            })
        }
    }
}

/// Kept and dropped rows by value of a column.
#[derive(Debug)]
struct Values<'a> {
    column: &'a str,
    rows: HashMap<Box<str>, [u64; 2]>,
    null_rows: [u64; 2],
    reservation: Reservation,
}

impl Values<'_> {
    fn count(&mut self, value: Option<&str>, is_dropped: bool) -> Result<()> {
        let counts = match value {
            None => &mut self.null_rows,
            // Twice looked up, so that a value is copied only once.
            Some(value) if self.rows.contains_key(value) => self.rows.get_mut(value).expect("it is there"),
            Some(value) => {
                if self.rows.len() == MAX_VALUES {
                    return Err(Error::Config {
                        message: format!("column `{}` has more than {MAX_VALUES} values", self.column),
                        hint: Some("choose a column with few values, for instance a source or a language".into()),
                    });
                }
                self.reservation.grow(ENTRY_BYTES + value.len())?;
                self.rows.entry(value.into()).or_default()
            }
        };
        counts[usize::from(is_dropped)] += 1;
        Ok(())
    }

    fn finish(self) -> Vec<SourceSummary> {
        let nulls = (self.null_rows != [0, 0]).then_some((None, self.null_rows));
        let named = self.rows.into_iter().map(|(name, rows)| (Some(String::from(name)), rows));
        let summary = |(name, [kept, dropped]): (Option<String>, [u64; 2])| SourceSummary {
            name,
            rows: kept + dropped,
            dropped,
            same_source: None,
        };
        named.chain(nulls).map(summary).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_their_file_or_do_not() {
        let mut files = FileSources { index: HashMap::new(), files: Vec::new(), unknown_dropped: 0 };
        for name in ["a#1.jsonl", "b.jsonl"] {
            files.index.insert(name.into(), files.files.len());
            files.files.push(SourceSummary { name: Some(name.into()), rows: 10, dropped: 0, same_source: Some(0) });
        }
        assert_eq!(files.summary(10), None);
        for (id, file) in [
            ("a#1.jsonl#3", Some("a#1.jsonl")),
            ("b.jsonl#0", Some("b.jsonl")),
            ("b.jsonl#", None),
            ("b.jsonl#x", None),
            ("b.jsonl", None),
            ("c.jsonl#1", None),
        ] {
            assert_eq!(files.of(id), file, "{id}");
        }
        files.observe("b.jsonl#1", Some("b.jsonl#0"));
        files.observe("b.jsonl#2", Some("a#1.jsonl#0"));
        files.observe("free", None);
        let summary = files.summary(1).unwrap();
        assert_eq!((summary.n_sources, summary.unknown_dropped, summary.sources.len()), (2, 1, 1));
        assert_eq!((summary.sources[0].dropped, summary.sources[0].same_source), (2, Some(1)));
    }
}
