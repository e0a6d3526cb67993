//! The time up to which starts are done, kept over restarts.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::json;

use crate::atomic;

/// A state file.
#[derive(Debug)]
pub(crate) struct State {
    path: PathBuf,
    /// Every start up to this time is done: it was that of the last run, or of the first daemon.
    pub(crate) done_until: DateTime<Utc>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    done_until: DateTime<Utc>,
}

impl State {
    /// Where the state of a config lies if nobody says otherwise.
    pub(crate) fn default_path(config: &Path) -> PathBuf {
        let mut name = config.as_os_str().to_owned();
        name.push(".schedule.json");
        name.into()
    }

    /// Reads the file. Without one, nothing was missed up to `now`; what lies after `now` is of a clock that was wrong.
    pub(crate) fn open(path: PathBuf, now: DateTime<Utc>) -> anyhow::Result<Self> {
        let done_until = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let written: Written = serde_json::from_str(&text)
                    .with_context(|| format!("`{}` is not the state of a schedule; remove it", path.display()))?;
                written.done_until.min(now)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => now,
            Err(error) => return Err(error).with_context(|| format!("could not read `{}`", path.display())),
        };
        let mut state = Self { path, done_until };
        state.advance(done_until)?;
        Ok(state)
    }

    /// Notes that every start up to `time` is done.
    pub(crate) fn advance(&mut self, time: DateTime<Utc>) -> anyhow::Result<()> {
        self.done_until = time;
        let text = json!({"done_until": time.to_rfc3339_opts(SecondsFormat::Millis, true)});
        atomic::write(&self.path, &format!("{text}\n"))
            .with_context(|| format!("could not write `{}`", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml.schedule.json");
        assert_eq!(State::default_path(&dir.path().join("c.toml")), path);
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let open = |now: &str| State::open(path.clone(), time(now));
        assert_eq!(open("2026-01-01T00:00:00Z").unwrap().done_until, time("2026-01-01T00:00:00Z"));
        let mut state = open("2026-01-05T00:00:00Z").unwrap();
        assert_eq!(state.done_until, time("2026-01-01T00:00:00Z"), "the first start of the daemon is kept");
        state.advance(time("2026-01-04T03:00:00.123456Z")).unwrap();
        assert_eq!(open("2026-01-09T00:00:00Z").unwrap().done_until, time("2026-01-04T03:00:00.123Z"));
        assert_eq!(open("2026-01-02T00:00:00Z").unwrap().done_until, time("2026-01-02T00:00:00Z"));
        std::fs::write(&path, "{\"done_until\": \"soon\"}").unwrap();
        assert!(format!("{:#}", open("2026-01-02T00:00:00Z").unwrap_err()).contains("remove it"));
        assert!(State::open(dir.path().join("no/folder.json"), time("2026-01-02T00:00:00Z")).is_err());
    }
}
