//! What scorers look at of a row, as tasks hand it on.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Float32Type;
use tamis_schemas::columns;

use crate::run::ids::column;
use crate::score::{ScorerChoice, embeddings_of};
use crate::source::{Columns, Request, TextExpression};
use crate::{Error, Result};

/// The text, embeddings in columns, or both.
///
/// In a payload each is a part: its length in 4 bytes, then the bytes of the text, or 4 of each component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LookedAt {
    has_text: bool,
    columns: Vec<String>,
}

impl LookedAt {
    pub(super) fn of<'a>(scorers: impl IntoIterator<Item = &'a ScorerChoice>) -> Self {
        let mut looked = Self { has_text: false, columns: Vec::new() };
        for scorer in scorers {
            match scorer {
                ScorerChoice::Column(name) if !looked.columns.contains(name) => looked.columns.push(name.clone()),
                ScorerChoice::Column(_) => {}
                ScorerChoice::Builtin | ScorerChoice::Encoder(_) | ScorerChoice::Unlabelled(_) => {
                    looked.has_text = true;
                }
            }
        }
        looked
    }

    /// Whether a scorer looks at embeddings that rows have.
    pub(super) fn has_columns(&self) -> bool {
        !self.columns.is_empty()
    }

    /// What is to be read of a row for it.
    pub(super) fn request(&self, text: &TextExpression) -> Request {
        Request {
            columns: Columns::Named(self.columns.clone()),
            text: self.has_text.then(|| text.clone()),
            id: None,
            rows: None,
        }
    }

    /// A payload for each row of a batch; `part` is what is handed on of a text.
    pub(super) fn payloads(&self, batch: &RecordBatch, part: impl Fn(&str) -> &str) -> Result<Vec<Vec<u8>>> {
        let mut payloads = vec![Vec::new(); batch.num_rows()];
        let mut push = |row: usize, bytes: &mut dyn Iterator<Item = u8>| {
            let payload: &mut Vec<u8> = &mut payloads[row];
            let start = payload.len();
            payload.extend([0; LENGTH_BYTES]);
            payload.extend(bytes);
            let n_bytes = payload.len() - start - LENGTH_BYTES;
            let n_bytes = u32::try_from(n_bytes).map_err(|_| Error::Invariant(format!("a text of {n_bytes} bytes")))?;
            payload[start..start + LENGTH_BYTES].copy_from_slice(&n_bytes.to_le_bytes());
            Ok::<_, Error>(())
        };
        if self.has_text {
            for (row, text) in column(batch, columns::TEXT)?.as_string::<i32>().iter().enumerate() {
                push(row, &mut part(text.unwrap_or_default()).bytes())?;
            }
        }
        for name in &self.columns {
            let (values, n_components) = embeddings_of(batch, name)?;
            for (row, embedding) in values.chunks_exact(n_components.max(1)).enumerate() {
                push(row, &mut embedding.iter().flat_map(|value| value.to_le_bytes()))?;
            }
        }
        Ok(payloads)
    }

    /// The text in a payload.
    ///
    /// # Errors
    /// `Error::Config` if there is none.
    pub(super) fn text<'a>(&self, payload: &'a [u8]) -> Result<&'a str> {
        let text = self.has_text.then(|| part(payload, 0)).flatten();
        text.and_then(|bytes| str::from_utf8(bytes).ok()).ok_or_else(|| Error::config(NO_TEXT))
    }

    /// Components of the embedding that a payload has of a column.
    ///
    /// # Errors
    /// `Error::Config` if there is none.
    pub(super) fn embedding(&self, payload: &[u8], name: &str) -> Result<Vec<f32>> {
        let place = self.columns.iter().position(|column| column == name);
        let bytes = place.and_then(|place| part(payload, place + usize::from(self.has_text)));
        let bytes = bytes.ok_or_else(|| Error::config(format!("a record has no embedding of column `{name}`")))?;
        Ok(bytes.as_chunks().0.iter().map(|&number| f32::from_le_bytes(number)).collect())
    }

    /// Columns of rows with these payloads, and their names.
    pub(super) fn columns(&self, payloads: &[&[u8]]) -> Result<Vec<(String, ArrayRef)>> {
        let mut found = Vec::new();
        if self.has_text {
            let texts = payloads.iter().map(|payload| self.text(payload)).collect::<Result<Vec<_>>>()?;
            found.push((columns::TEXT.to_owned(), Arc::new(StringArray::from_iter_values(texts)) as ArrayRef));
        }
        for name in &self.columns {
            let embeddings = payloads.iter().map(|payload| self.embedding(payload, name));
            let embeddings = embeddings.collect::<Result<Vec<_>>>()?;
            let embeddings = embeddings.into_iter().map(|embedding| Some(embedding.into_iter().map(Some)));
            found.push((name.clone(), Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(embeddings))));
        }
        Ok(found)
    }
}

const LENGTH_BYTES: usize = 4;

pub(super) const NO_TEXT: &str = "a record that is text has none that is UTF-8";

/// A part of a payload.
fn part(mut payload: &[u8], place: usize) -> Option<&[u8]> {
    for _ in 0..place {
        payload = split(payload)?.1;
    }
    split(payload).map(|(part, _)| part)
}

fn split(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = payload.split_first_chunk::<LENGTH_BYTES>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}
