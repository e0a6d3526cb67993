//! When a config runs: its `[schedule]`, understood; the daemon that keeps it; texts for other schedulers.
//!
//! Read on in [`next`] (which time comes next), [`fields`] (what other schedulers understand), [`mod@print`] and [`daemon`].

mod child;
pub(crate) mod command;
pub(crate) mod daemon;
mod fields;
mod next;
pub(crate) mod print;
mod serve;
pub(crate) mod state;
mod status;

use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use tamis_pipeline::Error;
use tamis_schemas::config::ScheduleConfig;

/// What a schedule without a next time is looked for from: any time will do.
const SOME_TIME: DateTime<Utc> = DateTime::from_timestamp(1_700_000_000, 0).expect("it is a time");

/// A `[schedule]` that works.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub(crate) cron: Cron,
    /// `cron` as it was written.
    pub(crate) written: String,
    pub(crate) timezone: Tz,
    pub(crate) jitter: Duration,
    pub(crate) deadline: Option<Duration>,
}

impl Schedule {
    /// # Errors
    /// `Error::Config` for the first setting that cannot work.
    pub(crate) fn new(config: &ScheduleConfig) -> Result<Self, Error> {
        let written = &config.cron;
        let refused = |why: String| {
            Error::Config {
            message: format!("schedule.cron `{written}` {why}"),
            hint: Some(
                "write minute, hour, day of month, month and day of week, for instance cron = \"30 3 * * mon-fri\", or @daily"
                    .into(),
            ),
        }
        };
        if let (Some(window), Some(deadline)) = (config.window, config.deadline)
            && deadline <= window
        {
            return Err(Error::Config {
                message: format!(
                    "schedule.window {window} leaves no time to a run that schedule.deadline {deadline} stops"
                ),
                hint: Some("the wait counts for the deadline: give the window less time, or the deadline more".into()),
            });
        }
        // An item that is left out would be passed over.
        if written.split_whitespace().flat_map(|field| field.split(',')).any(str::is_empty) {
            return Err(refused("has an empty item between commas".into()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(written).map_err(|error| refused(format!("is not a cron expression: {error}")))?;
        if cron.find_next_occurrence(&SOME_TIME, false).is_err() {
            return Err(refused("never comes: there is no such day".into()));
        }
        let timezone = config.timezone.parse().map_err(|_| Error::Config {
            message: format!("schedule.timezone `{}` is not a time zone", config.timezone),
            hint: Some("write a name of the IANA database, for instance timezone = \"Europe/Berlin\"".into()),
        })?;
        if config.deadline.is_some_and(|deadline| deadline.seconds == 0) {
            return Err(Error::Config {
                message: "schedule.deadline is 0: every run would be stopped at once".into(),
                hint: Some("write the longest time of a run, for instance deadline = \"2h\", or leave it out".into()),
            });
        }
        let jitter = config.jitter.map_or(Duration::ZERO, tamis_schemas::time_span::TimeSpan::duration);
        Ok(Self {
            cron,
            written: written.clone(),
            timezone,
            jitter,
            deadline: config.deadline.map(tamis_schemas::time_span::TimeSpan::duration),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A schedule without jitter and deadline.
    pub(crate) fn schedule(cron: &str, timezone: &str) -> Schedule {
        Schedule::new(&config(cron, timezone)).unwrap()
    }

    fn config(cron: &str, timezone: &str) -> ScheduleConfig {
        ScheduleConfig {
            cron: cron.into(),
            timezone: timezone.into(),
            jitter: None,
            deadline: None,
            window: None,
            forecast: None,
        }
    }

    #[test]
    fn mistakes_are_named() {
        let check = |cron: &str, timezone: &str, expect: &str| {
            let error = Schedule::new(&config(cron, timezone)).unwrap_err();
            assert!(error.to_string().contains(expect) && error.hint().is_some(), "{cron} {timezone}: {error}");
        };
        check("", "UTC", "``");
        check("daily", "UTC", "`daily`");
        check("@reboot", "UTC", "`@reboot`");
        check("* * * *", "UTC", "5 fields");
        check("0 0 3 * * *", "UTC", "5 fields");
        check("60 3 * * *", "UTC", "`60 3 * * *`");
        check("0 24 * * *", "UTC", "`0 24 * * *`");
        check("0 3 0 * *", "UTC", "`0 3 0 * *`");
        check("0 3 * 13 *", "UTC", "`0 3 * 13 *`");
        check("0 3 * * 8", "UTC", "`0 3 * * 8`");
        check("0 3 * * fri-mon", "UTC", "fri-mon");
        check("0 3,,4 * * *", "UTC", "empty item");
        check("*/0 * * * *", "UTC", "*/0");
        check("0 3 30 2 *", "UTC", "never comes");
        check("0 3 31 4,6,9,11 *", "UTC", "never comes");
        check("0 3 * * *", "Europe/Nowhere", "`Europe/Nowhere`");
        check("0 3 * * *", "", "is not a time zone");
        let deadline = Some("0s".parse().unwrap());
        let error = Schedule::new(&ScheduleConfig { deadline, ..config("@daily", "UTC") }).unwrap_err();
        assert!(error.to_string().contains("deadline"), "{error}");
        for cron in
            ["@hourly", "@daily", "@weekly", "@monthly", "@yearly", "0 3 29 2 *", "5 4 * JAN-mar Sun", "0 0 L * *"]
        {
            Schedule::new(&config(cron, "America/New_York")).unwrap();
        }
    }
}
