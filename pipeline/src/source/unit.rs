//! The input in units: what one task of a cluster reads, a file, or some lines or row groups of one.

use std::ops::Range;

use super::discover::is_of_url;
use super::fetch::StoredFile;
use super::format::{Compression, Format, SourceOptions, TextDocuments};
use super::parquet::row_group_bytes;
use super::plan::PlaceInFile;
use super::{InputFile, Inputs};
use crate::context::Context;
use crate::store::Stores;
use crate::{Error, Result};

/// A file, or its lines or row groups that begin in a range of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Index of the file in the whole input.
    pub(crate) file_index: usize,
    pub(crate) file: InputFile,
    pub(crate) bytes: Range<u64>,
}

/// Where the rows of a unit lie in the whole input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct UnitPlace {
    /// Position of the first row of the file.
    pub(crate) base_row: u64,
    /// Ordinal in the file of the first row of the unit.
    pub(crate) first_row: u64,
}

impl Inputs {
    /// All units, in the order of their rows. Parquet files and those that are lines of plain text are cut into ranges of so many
    /// bytes, others are read whole.
    ///
    /// # Errors
    /// `Error::Config` for standard input and pipes, which only this process has.
    pub(crate) fn units(&self, unit_bytes: u64, stores: &Stores) -> Result<Vec<Unit>> {
        let shared = self.shared();
        let mut units = Vec::new();
        for (file_index, (file, stored)) in shared.files.iter().zip(&shared.stored).enumerate() {
            if !is_of_url(file, stored, stores)? {
                return Err(Error::Config {
                    message: format!("`{}` is a stream that only this process can read", file.name),
                    hint: Some("name files or URLs that every machine of the cluster reaches".into()),
                });
            }
            let step =
                if can_be_cut(file, stored, unit_bytes, &shared.options)? { unit_bytes.max(1) } else { u64::MAX };
            let mut start = 0u64;
            loop {
                let end = file.size_bytes.min(start.saturating_add(step));
                units.push(Unit { file_index, file: file.clone(), bytes: start..end });
                start = end;
                if start >= file.size_bytes {
                    break;
                }
            }
        }
        Ok(units)
    }
}

/// Whether a file can be read from a place in the middle of it.
fn can_be_cut(file: &InputFile, stored: &StoredFile, unit_bytes: u64, options: &SourceOptions) -> Result<bool> {
    let is_of_lines = match file.format {
        Format::Parquet => return Ok(file.size_bytes > unit_bytes),
        Format::JsonLines => true,
        Format::Text => options.text_documents == TextDocuments::Lines,
        Format::Csv | Format::Tsv | Format::Arrow => false,
    };
    if !is_of_lines || file.compression.is_some() || file.size_bytes <= unit_bytes {
        return Ok(false);
    }
    let head = stored.read(0..file.size_bytes.min(4))?;
    Ok(Compression::of_bytes(&head).is_none())
}

impl Unit {
    /// The unit as an input of its own, its rows numbered as in the whole input.
    ///
    /// # Errors
    /// `Error::Unreadable` if the file is not there; `Error::Invariant` if it has changed since.
    pub(crate) fn open(
        &self,
        place: UnitPlace,
        options: &SourceOptions,
        stores: &Stores,
        context: &Context,
    ) -> Result<Inputs> {
        let (store, path) = stores.resolve(&self.file.url)?;
        let file = StoredFile {
            store,
            path,
            location: self.file.name.clone(),
            offset: 0,
            size_bytes: self.file.size_bytes,
            e_tag: self.file.e_tag.clone(),
            handle: context.runtime.handle().clone(),
        };
        let mut from = PlaceInFile { row: place.first_row, ..PlaceInFile::default() };
        let (stored, n_bytes) = if self.bytes == (0..self.file.size_bytes) {
            (file, self.file.size_bytes)
        } else if self.file.format == Format::Parquet {
            from.row_groups = Some(row_group_bytes(&self.bytes, self.file.size_bytes));
            (file, self.bytes.end - self.bytes.start)
        } else {
            let lines = file.lines(&self.bytes)?;
            from.byte = lines.offset;
            let n_bytes = lines.size_bytes;
            (lines, n_bytes)
        };
        Ok(Inputs::part(self.file.clone(), stored, n_bytes, place.base_row, from, options, context))
    }
}
