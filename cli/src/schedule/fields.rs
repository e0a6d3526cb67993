//! A cron expression in what all schedulers read alike: numbers, lists, ranges, steps.
//!
//! They differ in the rest. Names, `7` for Sunday and `?` are not known to all; `L`, `W` and `#` to few. Where both days
//! are given, a day must match either, unless a field is `*`: some then take `*/2` for `*`, some `1-31`. So every field is
//! written anew from its values: `*` only where it stands for all days, and no field of days with all values.

use tamis_pipeline::Error;

use super::Schedule;

/// The values of a field; all if `None`.
pub(crate) type Values = Option<Vec<u16>>;

/// A cron expression as sets of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) minutes: Values,
    pub(crate) hours: Values,
    pub(crate) days: Values,
    pub(crate) months: Values,
    /// From 0, Sunday.
    pub(crate) weekdays: Values,
    /// Whether a day must be one of both `days` and `weekdays`, not of either.
    pub(crate) both_days: bool,
}

impl Fields {
    /// # Errors
    /// `Error::Config` for `L`, `W` and `#`.
    pub(crate) fn of(schedule: &Schedule) -> Result<Self, Error> {
        let pattern = &schedule.cron.pattern;
        if pattern.days.has_modifiers() || pattern.days_of_week.has_modifiers() {
            return Err(refused(schedule, "uses L, W or #, which other schedulers do not know"));
        }
        let some = |values: Vec<u16>, n_all: usize| (values.len() < n_all).then_some(values);
        let days = some(pattern.days.values(), 31).filter(|_| !pattern.is_dom_wildcard());
        let weekdays = some(pattern.days_of_week.values(), 7).filter(|_| !pattern.is_dow_wildcard());
        let both_days = pattern.matches_dom_and_dow() && days.is_some() && weekdays.is_some();
        // Of two fields that were written, one with all values lets every day match.
        let is_either = !(pattern.matches_dom_and_dow() || pattern.is_dom_wildcard() || pattern.is_dow_wildcard());
        let is_every_day = is_either && (days.is_none() || weekdays.is_none());
        Ok(Self {
            minutes: some(pattern.minutes.values(), 60),
            hours: some(pattern.hours.values(), 24),
            days: days.filter(|_| !is_every_day),
            months: some(pattern.months.values(), 12),
            weekdays: weekdays.filter(|_| !is_every_day),
            both_days,
        })
    }

    /// The five fields, for programs of the family of cron.
    ///
    /// # Errors
    /// `Error::Config` if a day must be of both kinds.
    pub(crate) fn cron(&self, schedule: &Schedule) -> Result<String, Error> {
        if self.both_days {
            return Err(refused(schedule, "wants days that are of both kinds (+), which this target cannot express"));
        }
        let fields = [
            stepped(self.minutes.as_deref(), 59),
            stepped(self.hours.as_deref(), 23),
            list(self.days.as_deref()),
            list(self.months.as_deref()),
            list(self.weekdays.as_deref()),
        ];
        Ok(fields.join(" "))
    }
}

fn refused(schedule: &Schedule, why: &str) -> Error {
    Error::Config {
        message: format!("schedule.cron `{}` {why}", schedule.written),
        hint: Some("write it otherwise, or let `tamis schedule run` keep it".into()),
    }
}

/// `*/15` where it is that, else a list.
fn stepped(values: Option<&[u16]>, max: u16) -> String {
    if let Some(&[0, step, ..]) = values {
        let all: Vec<u16> = (0..=max).step_by(step.into()).collect();
        if all.len() > 2 && values == Some(&all) {
            return format!("*/{step}");
        }
    }
    list(values)
}

/// `1-5,10`.
fn list(values: Option<&[u16]>) -> String {
    let Some(values) = values else { return "*".into() };
    let spans = spans(values).into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    spans.collect::<Vec<_>>().join(",")
}

/// Values in ascending order as spans without a gap, both ends included.
pub(crate) fn spans(values: &[u16]) -> Vec<(u16, u16)> {
    values.chunk_by(|a, b| a + 1 == *b).map(|span| (span[0], span[span.len() - 1])).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;
    use crate::schedule::tests::schedule;

    /// Expressions of every form that can be written for other schedulers.
    pub(crate) const FORMS: [&str; 41] = [
        "* * * * *",
        "@hourly",
        "@daily",
        "@weekly",
        "@monthly",
        "@yearly",
        "30 3 * * *",
        "*/15 * * * *",
        "*/7 * * * *",
        "*/45 * * * *",
        "5-50/15 */6 * * *",
        "0 */5 * * *",
        "0,1,2,30-33,59 0,12,23 * * *",
        "0 8-17 * * mon-fri",
        "0 8-17/3 * * MON,wed,Fri",
        "0 3 * * 0",
        "0 3 * * 7",
        "0 3 * * 0-2",
        "0 3 * * 5-7",
        "0 3 * * sat,sun",
        "0 3 * * 1-6",
        "0 3 * * 0-6",
        "0 3 * * 1-7",
        "0 3 * * */2",
        "0 3 1 * *",
        "0 3 31 * *",
        "0 3 29 2 *",
        "0 3 1,15 * *",
        "0 3 1-7 jan,JUL *",
        "0 3 */10 * *",
        "0 3 * */3 *",
        "0 3 * 2-4 *",
        "0 3 1 * mon",
        "0 3 13 * 5",
        "0 3 */2 * 1",
        "0 3 1-31 * mon",
        "0 3 1 * 0-7",
        "0 3 ? * tue",
        "0 3 10 * ?",
        "0 3 1-7 * +mon",
        "0 0 1 1 *",
    ];

    pub(crate) fn fields(cron: &str) -> (Schedule, Fields) {
        let schedule = schedule(cron, "UTC");
        let fields = Fields::of(&schedule).unwrap();
        (schedule, fields)
    }

    /// Every minute of two years, one of them with 29 days in February.
    pub(crate) fn minutes() -> impl Iterator<Item = DateTime<Utc>> {
        let first: DateTime<Utc> = "2027-11-01T00:00:00Z".parse().unwrap();
        (0..2 * 366 * 1440).map(move |minute| first + TimeDelta::minutes(minute))
    }

    #[test]
    fn written_anew_it_means_the_same() {
        for form in FORMS {
            let (schedule, fields) = fields(form);
            if fields.both_days {
                assert!(fields.cron(&schedule).is_err(), "{form}");
                continue;
            }
            let written = fields.cron(&schedule).unwrap();
            assert!(written.chars().all(|char| "0123456789*/,- ".contains(char)), "{form}: {written}");
            let again = crate::schedule::tests::schedule(&written, "UTC");
            let starts = |of: &Schedule| {
                let first: DateTime<Utc> = "2027-11-01T00:00:00Z".parse().unwrap();
                of.cron.iter_after(first).take(3000).collect::<Vec<_>>()
            };
            assert_eq!(starts(&schedule), starts(&again), "{form}: {written}");
            // Neither days with all values nor a `*` with a step: schedulers disagree about those.
            let days: Vec<&str> = written.split(' ').skip(2).collect();
            assert!(!days[0].contains('/') && !days[2].contains('/'), "{form}: {written}");
            assert!(days[0] != "1-31" && days[2] != "0-6", "{form}: {written}");
        }
    }

    #[test]
    fn it_reads_well() {
        let check = |form: &str, expect: &str| {
            let (schedule, fields) = fields(form);
            assert_eq!(fields.cron(&schedule).unwrap(), expect, "{form}");
        };
        check("@weekly", "0 0 * * 0");
        check("*/15 */6 * * mon-fri", "*/15 */6 * * 1-5");
        check("0 3 * jan,feb,apr-dec sun,7", "0 3 * 1,2,4-12 0");
        check("0 3 1-31 * mon", "0 3 * * *");
        check("0 3 */10 * 1", "0 3 1,11,21,31 * 1");
    }

    #[test]
    fn what_few_schedulers_know_is_refused() {
        for form in ["0 3 L * *", "0 3 15W * *", "0 3 * * fri#2", "0 3 * * 5L", "0 3 LW * *"] {
            let error = Fields::of(&schedule(form, "UTC")).unwrap_err();
            assert!(error.to_string().contains(form) && error.hint().is_some(), "{error}");
        }
    }
}
