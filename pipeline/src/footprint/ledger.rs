//! Rows on disk: one JSON object a line, each with the hash of the line before.
//!
//! Rows are only added. A row that was changed, removed or put elsewhere breaks the chain, and [`verify`] names it. Rows cut off
//! at the end leave a shorter chain that holds: who must know keeps the last hash elsewhere, such as in the manifest of the run.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use tamis_schemas::footprint::{LEDGER_SCHEMA, LedgerRow};

use crate::sink::hex;
use crate::{Error, Result};

/// What errors call it.
pub(crate) const FORMAT: &str = "a footprint ledger";

/// What the first row has in place of the hash of the row before.
pub const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The field that ends each line, and that its hash does not cover.
const LAST_FIELD: &str = ",\"sha256\":\"";

/// What was added to a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Hash of the last row.
    pub last_sha256: String,
    /// Bytes of a row that a run did not write to its end, which were removed.
    pub cut_bytes: u64,
}

/// A ledger whose chain holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its rows.
    pub n_rows: usize,
    /// Hash of the last one, [`FIRST`] if there is none.
    pub last_sha256: String,
}

/// Adds rows to a ledger, which is made if it is not there, and waits until they are on disk.
///
/// Two runs at once take turns. What a run that was killed left of a row is removed: that row never was.
///
/// # Errors
/// `Error::Unwritable`; `Error::Corrupt` if the last row of the file has no hash.
pub fn append(path: &Path, rows: &[LedgerRow]) -> Result<Appended> {
    let location = path.display().to_string();
    let unwritable = |error: io::Error| Error::Unwritable { location: location.clone(), source: Box::new(error) };
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(unwritable)?;
    file.lock().map_err(unwritable)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unwritable)?;
    let (whole, lines, last_sha256) = chained(&text, &location, rows)?;
    file.set_len(whole as u64).map_err(unwritable)?;
    file.seek(SeekFrom::End(0)).map_err(unwritable)?;
    file.write_all(lines.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritable)?;
    if whole == 0 {
        sync_folder(path).map_err(unwritable)?;
    }
    Ok(Appended { last_sha256, cut_bytes: (text.len() - whole) as u64 })
}

/// Adds rows to the text of a ledger that is kept whole, such as an object of a store.
///
/// # Errors
/// `Error::Corrupt` if the last row of the text has no hash.
pub fn with_rows(text: &str, location: &str, rows: &[LedgerRow]) -> Result<String> {
    let (whole, lines, _) = chained(text, location, rows)?;
    Ok(format!("{}{lines}", &text[..whole]))
}

/// Bytes of the whole lines of `text`, the lines of more rows, and the hash of the last.
fn chained(text: &str, location: &str, rows: &[LedgerRow]) -> Result<(usize, String, String)> {
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    let last = text[..whole].lines().next_back();
    let mut last_sha256 = match last {
        Some(line) => {
            hash_in(line).ok_or_else(|| damaged(location, text[..whole].lines().count(), "it has no hash"))?
        }
        None => FIRST,
    }
    .to_owned();
    let mut lines = String::new();
    for row in rows {
        let row = LedgerRow { prev_sha256: last_sha256.clone(), sha256: String::new(), ..row.clone() };
        let line = to_line(&row)?;
        hash_in(&line).unwrap_or_default().clone_into(&mut last_sha256);
        lines += &line;
        lines.push('\n');
    }
    Ok((whole, lines, last_sha256))
}

/// Rows of a ledger, in its order. The chain is not looked at: [`verify`] does.
///
/// # Errors
/// `Error::Unreadable`, or `Error::Corrupt` with the line that is no row.
pub fn read(path: &Path) -> Result<Vec<LedgerRow>> {
    let location = path.display().to_string();
    parse(&text_of(path)?, &location)
}

/// Rows in the text of a ledger; `location` is for messages. A last line without an end is no row.
///
/// # Errors
/// `Error::Corrupt` with the line that is no row, or that another version of tamis wrote.
pub fn parse(text: &str, location: &str) -> Result<Vec<LedgerRow>> {
    let mut rows = Vec::new();
    for (at, line) in whole_lines(text) {
        let row: LedgerRow = serde_json::from_str(line).map_err(|error| damaged(location, at, &error.to_string()))?;
        if row.schema != LEDGER_SCHEMA {
            let message = format!("its schema is `{}`, and this version of tamis knows `{LEDGER_SCHEMA}`", row.schema);
            return Err(damaged(location, at, &message));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Checks the chain of a ledger.
///
/// # Errors
/// `Error::Corrupt` naming the first row that is not what was written, by line, run and stage.
pub fn verify(path: &Path) -> Result<Verified> {
    let location = path.display().to_string();
    verify_text(&text_of(path)?, &location)
}

/// As [`verify`], of the text of a ledger; `location` is for messages.
///
/// # Errors
/// As [`verify`].
pub fn verify_text(text: &str, location: &str) -> Result<Verified> {
    let mut last_sha256 = FIRST.to_owned();
    let mut n_rows = 0;
    for (at, line) in whole_lines(text) {
        let rows = parse(&format!("{line}\n"), location).map_err(|_| damaged(location, at, "it is no row"))?;
        let row = rows.first().ok_or_else(|| damaged(location, at, "it is empty"))?;
        let name = format!("stage `{}` of run `{}`", row.stage, row.run_id);
        if hash_of(line).as_deref() != hash_in(line) {
            return Err(damaged(location, at, &format!("{name} was changed after it was written")));
        }
        if row.prev_sha256 != last_sha256 {
            let message = format!("the row before {name} is not the one that was there when it was written");
            return Err(damaged(location, at, &message));
        }
        last_sha256.clone_from(&row.sha256);
        n_rows += 1;
    }
    Ok(Verified { n_rows, last_sha256 })
}

/// The line of a row, with its hash.
fn to_line(row: &LedgerRow) -> Result<String> {
    let mut line =
        serde_json::to_string(row).map_err(|error| Error::Invariant(format!("a row is not JSON: {error}")))?;
    let hash = hash_of(&line).ok_or_else(|| Error::Invariant("the hash of a row is not its last field".into()))?;
    line.truncate(line.len() - "\"}".len());
    Ok(line + &hash + "\"}")
}

/// The hash of a line: of all before its last field.
fn hash_of(line: &str) -> Option<String> {
    Some(hex(&Sha256::digest(&line[..line.rfind(LAST_FIELD)?])))
}

/// The hash that a line has in its last field.
fn hash_in(line: &str) -> Option<&str> {
    let at = line.rfind(LAST_FIELD)? + LAST_FIELD.len();
    line[at..].strip_suffix("\"}")
}

/// Lines with an end, and their numbers.
fn whole_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    (1..).zip(text[..whole].lines())
}

fn text_of(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::Unreadable { location: path.display().to_string(), source: Box::new(error) })
}

/// A new file is there after a power cut only if its folder was written too.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn damaged(location: &str, line: usize, message: &str) -> Error {
    Error::Corrupt { location: location.to_owned(), format: FORMAT, message: format!("line {line}: {message}") }
}
