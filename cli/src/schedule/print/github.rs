//! A workflow for GitHub Actions.

use std::path::Path;

use tamis_pipeline::Error;

use super::{Job, quoted, shell_command};
use crate::schedule::fields::Fields;

/// Names of UTC: GitHub's clock has no other zone.
const UTC: [&str; 12] = [
    "UTC",
    "Etc/UTC",
    "UCT",
    "Etc/UCT",
    "Zulu",
    "Etc/Zulu",
    "Universal",
    "Etc/Universal",
    "GMT",
    "Etc/GMT",
    "Greenwich",
    "Etc/Greenwich",
];

pub(super) fn text(job: &Job<'_>, fields: &Fields) -> Result<String, Error> {
    let timezone = job.schedule.timezone.name();
    if !UTC.contains(&timezone) {
        return Err(Error::Config {
            message: format!("GitHub Actions starts workflows by UTC, not by schedule.timezone `{timezone}`"),
            hint: Some("write cron in UTC and timezone = \"UTC\", or use another target".into()),
        });
    }
    let timeout = job
        .longest()
        .map_or_else(String::new, |longest| format!("    timeout-minutes: {}\n", longest.as_secs().div_ceil(60)));
    let delay = job.delay().map_or_else(String::new, |delay| format!("      - run: {delay}\n"));
    let command = shell_command(&job.words(Path::new("tamis"), job.config));
    Ok(format!(
        "# .github/workflows/{name}.yml
name: {name}
on:
  schedule:
    # UTC; GitHub starts late, or not at all, when it is busy: minutes other than 0 fare better
    - cron: {cron}
  workflow_dispatch:
concurrency:
  group: {name}
  cancel-in-progress: false
jobs:
  run:
    runs-on: ubuntu-latest
{timeout}    permissions:
      contents: read
    steps:
      - uses: actions/checkout@v4
      # put tamis on the PATH here
{delay}      # 75: another run is writing to the output
      - run: {command}
        # credentials: secrets, or a role that the workflow takes on
        # env:
        #   AWS_ACCESS_KEY_ID: ${{{{ secrets.AWS_ACCESS_KEY_ID }}}}
        #   AWS_SECRET_ACCESS_KEY: ${{{{ secrets.AWS_SECRET_ACCESS_KEY }}}}
",
        name = job.name(),
        cron = quoted(&fields.cron(job.schedule)?),
        command = quoted(&format!("{command} || [ $? -eq 75 ]")),
    ))
}
