//! A line for crontab.

use tamis_pipeline::Error;

use super::{Job, shell_command};
use crate::schedule::fields::Fields;
use crate::shell;

pub(super) fn text(job: &Job<'_>, fields: &Fields) -> Result<String, Error> {
    let folder = shell::quoted(&job.folder.display().to_string());
    let delay = job.delay().map_or_else(String::new, |delay| format!("{delay} && "));
    let deadline = job
        .schedule
        .deadline
        .map_or_else(String::new, |deadline| format!("timeout --kill-after=25s {}s ", deadline.as_secs()));
    let command = format!("cd {folder} && {delay}{deadline}{}", shell_command(&job.words_here()));
    Ok(format!(
        "# CRON_TZ is known to cronie, and counts for all lines below it; other crons go by the clock of the machine
CRON_TZ={}
{} {}
",
        job.schedule.timezone,
        fields.cron(job.schedule)?,
        // Cron takes a percent sign for the end of the line.
        command.replace('%', r"\%"),
    ))
}
