//! Texts that let another scheduler run a config: one file per target.

mod airflow;
mod crontab;
mod github;
mod kubernetes;
mod systemd;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use tamis_pipeline::Error;

use super::Schedule;
use super::fields::Fields;
use crate::args::Target;
use crate::shell;

/// What is to be run, and when.
pub(crate) struct Job<'a> {
    pub(crate) schedule: &'a Schedule,
    /// This program.
    pub(crate) program: &'a Path,
    /// The working folder, which relative paths in the config begin at.
    pub(crate) folder: &'a Path,
    pub(crate) config: &'a Path,
    pub(crate) config_text: &'a str,
    /// The arguments that run a config, wherever it lies then.
    pub(crate) arguments: &'a dyn Fn(&Path) -> Vec<OsString>,
    /// Files that it reads beside the config and its input.
    pub(crate) files: &'a [&'a str],
}

/// The text for a target.
///
/// # Errors
/// `Error::Config` for a schedule that the target cannot express.
pub(crate) fn print(job: &Job<'_>, target: Target) -> Result<String, Error> {
    let fields = Fields::of(job.schedule)?;
    match target {
        Target::Systemd => Ok(systemd::text(job, &fields)),
        Target::K8s => kubernetes::text(job, &fields),
        Target::Github => github::text(job, &fields),
        Target::Airflow => airflow::text(job, &fields),
        Target::Crontab => crontab::text(job, &fields),
    }
}

impl Job<'_> {
    /// A name for the job, of letters, digits and dashes, at most 52 long: `CronJob`s have no longer ones.
    fn name(&self) -> String {
        let stem = self.config.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let words: Vec<&str> =
            stem.split(|char: char| !char.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let words = if words.first() == Some(&"tamis") { &words[1..] } else { &words[..] };
        let mut name = [&["tamis"], words].concat().join("-");
        name.truncate(52);
        name.trim_end_matches('-').to_owned()
    }

    /// The command that runs the config at `config` with the program at `program`.
    fn words(&self, program: &Path, config: &Path) -> Vec<String> {
        let words = std::iter::once(program.into()).chain((self.arguments)(config));
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// The same on this machine, from any folder.
    fn words_here(&self) -> Vec<String> {
        self.words(self.program, &self.folder.join(self.config))
    }

    /// Longest time from a scheduled start to the end of its run.
    fn longest(&self) -> Option<Duration> {
        self.schedule.deadline.map(|deadline| deadline + self.schedule.jitter)
    }

    /// A random delay in words of a shell, if there is one.
    fn delay(&self) -> Option<String> {
        let jitter = self.schedule.jitter.as_secs();
        (jitter > 0).then(|| format!("sleep \"$(shuf -i 0-{jitter} -n 1)\""))
    }
}

/// A command as a shell takes it.
fn shell_command(words: &[String]) -> String {
    words.iter().map(|word| shell::quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A string of JSON, which YAML and Python take too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::schedule;

    #[test]
    fn names_are_those_of_configs() {
        let schedule = schedule("@daily", "UTC");
        let check = |config: &str, expect: &str| {
            let job = Job {
                schedule: &schedule,
                program: Path::new("/usr/bin/tamis"),
                folder: Path::new("/srv"),
                config: Path::new(config),
                config_text: "",
                arguments: &|_| Vec::new(),
                files: &[],
            };
            assert_eq!(job.name(), expect, "{config}");
        };
        check("nightly.toml", "tamis-nightly");
        check("conf/tamis.toml", "tamis");
        check("tamis_web-2.toml", "tamis-web-2");
        check("Größe & more!.toml", "tamis-gr-e-more");
        check(&format!("{}-x.toml", "a".repeat(45)), &format!("tamis-{}", "a".repeat(45)));
    }
}
