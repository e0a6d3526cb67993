//! Files of reports: new ones, and those that runs are added to.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use tamis_pipeline::{Error, Result};

/// Writes a file that is not there yet.
///
/// # Errors
/// `Error::Config` if it is; `Error::Unwritable`.
pub(crate) fn create(path: &Path, text: &str) -> Result<()> {
    let mut file = match File::create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Error::Config {
                message: format!("`{}` is there already", path.display()),
                hint: Some("name another file, or add to CodeCarbon's with --append".into()),
            });
        }
        file => file.map_err(|error| unwritable(path, error))?,
    };
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| unwritable(path, error))
}

/// Adds to a file, which is made if it is not there: `continued` makes of its text one that begins with it. Two at once take turns.
///
/// # Errors
/// What `continued` says, with the name of the file, which stays as it is then; `Error::Unwritable`.
pub(crate) fn append(path: &Path, continued: impl FnOnce(&str) -> Result<String>) -> Result<()> {
    let failed = |error| unwritable(path, error);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    file.lock().map_err(failed)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    let whole = continued(&text).map_err(|error| match error {
        Error::Config { message, hint } => {
            Error::Config { message: format!("`{}` cannot be added to: {message}", path.display()), hint }
        }
        other => other,
    })?;
    let more = whole.strip_prefix(&text).unwrap_or(&whole);
    file.seek(SeekFrom::End(0)).map_err(failed)?;
    file.write_all(more.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    Error::Unwritable { location: path.display().to_string(), source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_refused_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("emissions.csv");
        create(&path, "a\n").unwrap();
        let hint = create(&path, "b\n").unwrap_err().hint().unwrap();
        assert!(hint.contains("--append"), "{hint}");
        append(&path, |text| Ok(format!("{text}b\n"))).unwrap();
        let refused = append(&path, |_| Err(Error::config("other columns"))).unwrap_err();
        assert!(refused.to_string().ends_with("emissions.csv` cannot be added to: other columns"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\n");
        append(&dir.path().join("new.csv"), |text| Ok(format!("{text}a\n"))).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("new.csv")).unwrap(), "a\n");
    }
}
