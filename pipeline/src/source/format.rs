//! Which format a file is in: by its extension, else by its first bytes.

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

/// Formats that rows are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    /// A JSON object on each line.
    JsonLines,
    /// Comma-separated values with a header, RFC 4180.
    Csv,
    /// Tab-separated values with a header, quoted like CSV.
    Tsv,
    /// Parquet.
    Parquet,
    /// Arrow IPC, file or stream.
    Arrow,
    /// Plain text in UTF-8.
    Text,
}

/// Compression of a text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Compression {
    /// Gzip, one member or more.
    Gzip,
    /// Zstandard, one frame or more.
    Zstd,
}

/// What a document is in a plain text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TextDocuments {
    /// A line; blank lines are no documents.
    #[default]
    Lines,
    /// The file; a blank file is no document.
    Files,
}

/// Settings of the sources: what a row is and when it is rejected.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Format of every file; by extension and first bytes if `None`.
    pub format: Option<Format>,
    /// Documents of plain text files.
    pub text_documents: TextDocuments,
    /// Columns and types of the input, instead of those found in it. Text formats: rows that do not fit are rejected.
    pub schema: Option<SchemaRef>,
    /// Longest row of a text format in bytes; longer ones are rejected. Default 64 MiB, at most 1 GiB.
    pub max_row_bytes: usize,
    /// Bytes of a rejected row that are kept. Default 4096.
    pub max_reject_bytes: usize,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            format: None,
            text_documents: TextDocuments::default(),
            schema: None,
            max_row_bytes: 64 << 20,
            max_reject_bytes: 4096,
        }
    }
}

/// What error messages say is supported.
pub(super) const SUPPORTED: &str = "JSON Lines (.jsonl .ndjson .json), CSV (.csv), TSV (.tsv), Parquet (.parquet), \
     Arrow IPC (.arrow .ipc .feather .arrows), text (.txt .text .md); the text formats also as .gz and .zst";

impl Format {
    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "JSON Lines",
            Self::Csv => "CSV",
            Self::Tsv => "TSV",
            Self::Parquet => "Parquet",
            Self::Arrow => "Arrow IPC",
            Self::Text => "text",
        }
    }

    /// Whether a file is lines of text that may be compressed as a whole.
    pub fn is_text(self) -> bool {
        !matches!(self, Self::Parquet | Self::Arrow)
    }

    fn of_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" | "json" => Self::JsonLines,
            "csv" => Self::Csv,
            "tsv" => Self::Tsv,
            "parquet" => Self::Parquet,
            "arrow" | "ipc" | "feather" | "arrows" => Self::Arrow,
            "txt" | "text" | "md" => Self::Text,
            _ => return None,
        })
    }

    /// Format of plain bytes, where they tell.
    pub(super) fn of_bytes(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"PAR1") {
            return Some(Self::Parquet);
        }
        if head.starts_with(b"ARROW1") || head.starts_with(&[0xff, 0xff, 0xff, 0xff]) {
            return Some(Self::Arrow);
        }
        let text = head.strip_prefix(BOM).unwrap_or(head);
        (text.trim_ascii_start().first() == Some(&b'{')).then_some(Self::JsonLines)
    }
}

impl Compression {
    fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Compression of a file that begins with `head`.
    pub(super) fn of_bytes(head: &[u8]) -> Option<Self> {
        if head.starts_with(&[0x1f, 0x8b]) {
            return Some(Self::Gzip);
        }
        // A zstd frame, or a skippable frame before one.
        let is_zstd = head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
            || (head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18]);
        is_zstd.then_some(Self::Zstd)
    }
}

/// UTF-8 byte order mark.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Format and compression that a file name promises.
pub(super) fn of_name(name: &str) -> (Option<Format>, Option<Compression>) {
    let file_name = name.rsplit('/').next().unwrap_or(name);
    let Some((stem, extension)) = file_name.rsplit_once('.') else { return (None, None) };
    match Compression::of_extension(extension) {
        Some(compression) => {
            let inner = stem.rsplit_once('.').and_then(|(_, extension)| Format::of_extension(extension));
            (inner, Some(compression))
        }
        None => (Format::of_extension(extension), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_by_name() {
        use {Compression::*, Format::*};
        let cases = [
            ("a.jsonl", (Some(JsonLines), None)),
            ("a.b/c.JSON.GZ", (Some(JsonLines), Some(Gzip))),
            ("x.csv.zst", (Some(Csv), Some(Zstd))),
            ("x.feather", (Some(Arrow), None)),
            ("x.parquet", (Some(Parquet), None)),
            ("dir.csv/readme", (None, None)),
            ("x.gz", (None, Some(Gzip))),
            ("x.pdf", (None, None)),
        ];
        for (name, expected) in cases {
            assert_eq!(of_name(name), expected, "{name}");
        }
    }

    #[test]
    fn formats_by_first_bytes() {
        assert_eq!(Format::of_bytes(b"PAR1...."), Some(Format::Parquet));
        assert_eq!(Format::of_bytes(b"ARROW1\0\0"), Some(Format::Arrow));
        assert_eq!(Format::of_bytes(b"\xef\xbb\xbf\n {\"a\":1}"), Some(Format::JsonLines));
        assert_eq!(Format::of_bytes(b"a,b\n1,2\n"), None);
        assert_eq!(Format::of_bytes(b""), None);
        assert_eq!(Compression::of_bytes(&[0x1f, 0x8b, 8]), Some(Compression::Gzip));
        assert_eq!(Compression::of_bytes(&[0x5f, 0x2a, 0x4d, 0x18]), Some(Compression::Zstd));
        assert_eq!(Compression::of_bytes(b"Px"), None);
    }
}
