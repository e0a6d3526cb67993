//! Names and values that a store is configured by: of the environment, or of a file.

use std::fmt;
use std::path::Path;

use crate::{Error, Result};

/// Variables that a store may be configured by. Without the prefix, keys like `REGION` or `TOKEN` would be taken for ours.
const PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Variables. Their values are secrets: `Debug` prints the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Variables(Vec<(String, String)>);

impl Variables {
    pub(super) fn new<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// Reads lines of `NAME=value`. Blank lines, comments (`#`), `export` before and quotes around a value are allowed.
    ///
    /// # Errors
    /// `Error::Config` for a line of another kind, which is not shown, and for a file that others may read.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let unreadable = |error| Error::Unreadable {
            location: path.display().to_string(),
            source: Box::<std::io::Error>::new(error),
        };
        refuse_if_public(path, &std::fs::metadata(path).map_err(unreadable)?)?;
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let mut variables = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) = line
                .split_once('=')
                .map(|(name, value)| (name.trim(), unquoted(value.trim())))
                .filter(|(name, _)| is_of_stores(name))
                .ok_or_else(|| Error::Config {
                    message: format!("line {} of `{}` sets no variable of a store", index + 1, path.display()),
                    hint: Some("lines are NAME=value, the name begins with AWS_, GOOGLE_ or AZURE_".into()),
                })?;
            variables.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self(variables))
    }

    /// Those of stores.
    pub(super) fn of_stores(&self) -> Self {
        self.below("")
    }

    /// Those of stores that have a prefix before the usual name, under the usual name.
    pub(super) fn below(&self, prefix: &str) -> Self {
        let usual = |(name, value): &(String, String)| {
            let name = name.strip_prefix(prefix).filter(|name| is_of_stores(name))?;
            Some((name.to_owned(), value.clone()))
        };
        Self(self.0.iter().filter_map(usual).collect())
    }

    /// A value; an empty one is none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(super) fn has_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|(name, _)| name.starts_with(prefix))
    }

    /// Sets a variable, over what it was.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(key, _)| key != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

fn is_of_stores(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn unquoted(value: &str) -> &str {
    let quoted = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    quoted('"').or_else(|| quoted('\'')).unwrap_or(value)
}

/// # Errors
/// `Error::Config` if users other than the owner and the group may read the file.
#[cfg(unix)]
fn refuse_if_public(path: &Path, metadata: &std::fs::Metadata) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o004 == 0 {
        return Ok(());
    }
    Err(Error::Config {
        message: format!("every user of this machine may read the credentials in `{}`", path.display()),
        hint: Some(format!("chmod 600 '{}'; keys that others may have read should be replaced", path.display())),
    })
}

#[cfg(not(unix))]
fn refuse_if_public(_: &Path, _: &std::fs::Metadata) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cold.env");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn files_hold_names_and_values() {
        let text = "# of the cold account\n\nAWS_ACCESS_KEY_ID=AKIA\nexport AWS_SECRET_ACCESS_KEY = \"a=b c\"\nAWS_REGION='eu'\n";
        let (_folder, path) = file(text, 0o640);
        let read = Variables::read(&path).unwrap();
        let expect = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "a=b c"), ("AWS_REGION", "eu")];
        assert_eq!(read, Variables::new(expect));
        let shown = format!("{read:?}");
        assert!(shown.contains("AWS_REGION") && !shown.contains("AKIA") && !shown.contains("a=b"), "{shown}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_content() {
        for (text, mode, expect) in [
            ("AWS_ACCESS_KEY_ID=AKIA\nsecret\n", 0o600, "line 2"),
            ("SECRET_KEY=AKIA\n", 0o600, "line 1"),
            ("AWS_ACCESS_KEY_ID=AKIA\n", 0o644, "every user"),
        ] {
            let (_folder, path) = file(text, mode);
            let error = Variables::read(&path).unwrap_err();
            let message = format!("{error} {}", error.hint().unwrap_or_default());
            assert!(message.contains(expect), "{message}");
            assert!(!message.contains("AKIA") && !message.contains("secret\n"), "{message}");
        }
        assert!(matches!(Variables::read(Path::new("/none/such")), Err(Error::Unreadable { .. })));
    }

    #[test]
    fn prefixes_come_before_the_usual_names() {
        let all = Variables::new([
            ("COLD_AWS_REGION", "eu"),
            ("AWS_REGION", "us"),
            ("COLD_TOKEN", "not ours"),
            ("HOME", "/root"),
            ("AWS_EMPTY", ""),
        ]);
        assert_eq!(all.below("COLD_"), Variables::new([("AWS_REGION", "eu")]));
        assert_eq!(all.of_stores().get("AWS_REGION"), Some("us"));
        assert_eq!((all.of_stores().get("HOME"), all.get("AWS_EMPTY")), (None, None));
    }
}
