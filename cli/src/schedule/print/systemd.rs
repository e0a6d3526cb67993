//! A service and a timer for systemd.

use super::Job;
use crate::schedule::fields::{Fields, spans};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

pub(super) fn text(job: &Job<'_>, fields: &Fields) -> String {
    let name = job.name();
    let seconds =
        |time: Option<std::time::Duration>| time.map_or("infinity".to_owned(), |time| time.as_secs().to_string());
    let words: Vec<String> = job.words_here().iter().map(|word| quoted(word)).collect();
    let lines = calendars(fields).into_iter().map(|calendar| {
        let timezone = job.schedule.timezone;
        format!("OnCalendar={calendar} {timezone}")
    });
    let calendars = lines.collect::<Vec<_>>().join("\n");
    let jitter = job.schedule.jitter.as_secs();
    let delay = if jitter > 0 { format!("RandomizedDelaySec={jitter}\n") } else { String::new() };
    format!(
        "# /etc/systemd/system/{name}.service
[Unit]
Description=tamis run {config}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
WorkingDirectory={folder}
ExecStart={command}
# 75: another run is writing to the output
SuccessExitStatus=75
# the longest time of a run: RuntimeMaxSec does not count for oneshot services
TimeoutStartSec={deadline}
TimeoutStopSec=25

# /etc/systemd/system/{name}.timer
# then: systemctl daemon-reload && systemctl enable --now {name}.timer
[Unit]
Description=Schedule of {name}.service

[Timer]
{calendars}
# a start that was missed is made up for
Persistent=true
AccuracySec=1s
{delay}
[Install]
WantedBy=timers.target
",
        config = job.config.display().to_string().replace('%', "%%"),
        folder = job.folder.display().to_string().replace('%', "%%"),
        command = words.join(" "),
        deadline = seconds(job.schedule.deadline),
    )
}

/// A word of a command line.
fn quoted(word: &str) -> String {
    let escaped = word.replace('%', "%%").replace('$', "$$");
    let is_plain = |char: char| char.is_alphanumeric() || "/._-:@%+=,~$".contains(char);
    if !word.is_empty() && word.chars().all(is_plain) {
        return escaped;
    }
    format!("\"{}\"", escaped.replace('\\', r"\\").replace('"', "\\\""))
}

/// Calendar expressions that together mean the same: two if a day may be of either kind, because one wants both.
pub(super) fn calendars(fields: &Fields) -> Vec<String> {
    let is_either = fields.days.is_some() && fields.weekdays.is_some() && !fields.both_days;
    let kinds = if is_either {
        vec![(fields.days.as_deref(), None), (None, fields.weekdays.as_deref())]
    } else {
        vec![(fields.days.as_deref(), fields.weekdays.as_deref())]
    };
    let expression = |(days, weekdays): (Option<&[u16]>, Option<&[u16]>)| {
        format!(
            "{}*-{}-{} {}:{}:00",
            weekdays.map_or_else(String::new, |weekdays| format!("{} ", names(weekdays))),
            numbers(fields.months.as_deref()),
            numbers(days),
            numbers(fields.hours.as_deref()),
            numbers(fields.minutes.as_deref()),
        )
    };
    kinds.into_iter().map(expression).collect()
}

/// `00,15,30..33`.
fn numbers(values: Option<&[u16]>) -> String {
    let Some(values) = values else { return "*".into() };
    let span = |(first, last): (u16, u16)| match last - first {
        0 => format!("{first:02}"),
        1 => format!("{first:02},{last:02}"),
        _ => format!("{first:02}..{last:02}"),
    };
    spans(values).into_iter().map(span).collect::<Vec<_>>().join(",")
}

/// `Mon..Fri`; weeks begin on Monday.
fn names(weekdays: &[u16]) -> String {
    let mut from_monday: Vec<u16> = weekdays.iter().map(|day| (day + 6) % 7).collect();
    from_monday.sort_unstable();
    let name = |day: u16| DAYS[usize::from(day)];
    let span = |(first, last): (u16, u16)| match last - first {
        0 => name(first).to_owned(),
        1 => format!("{},{}", name(first), name(last)),
        _ => format!("{}..{}", name(first), name(last)),
    };
    spans(&from_monday).into_iter().map(span).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, Timelike, Utc};

    use super::*;
    use crate::schedule::fields::tests::{FORMS, fields, minutes};

    /// What systemd says of the expressions of [`FORMS`]: see the head of the file.
    const ANSWERS: &str = include_str!("../../../../tests/golden/oncalendar.tsv");

    /// The values of each part of a calendar expression, by the rules of systemd.time(7): lists of values and of ranges.
    struct Calendar {
        weekdays: Vec<bool>,
        months: Vec<bool>,
        days: Vec<bool>,
        hours: Vec<bool>,
        minutes: Vec<bool>,
    }

    impl Calendar {
        fn parse(expression: &str) -> Self {
            let mut parts: Vec<&str> = expression.split(' ').collect();
            let (time, date) = (parts.pop().unwrap(), parts.pop().unwrap());
            let day = |name: &str| DAYS.iter().position(|day| *day == name).unwrap();
            let number = |text: &str| text.parse::<usize>().unwrap();
            let values = |part: &str, parse: &dyn Fn(&str) -> usize| {
                let mut values = vec![part == "*"; 60];
                for item in part.split(',').filter(|item| *item != "*") {
                    let (first, last) = item.split_once("..").unwrap_or((item, item));
                    values[parse(first)..=parse(last)].fill(true);
                }
                values
            };
            let (date, time): (Vec<&str>, Vec<&str>) = (date.split('-').collect(), time.split(':').collect());
            assert!(date.len() == 3 && date[0] == "*" && time.len() == 3 && time[2] == "00", "{expression}");
            Self {
                weekdays: values(parts.pop().unwrap_or("*"), &day),
                months: values(date[1], &number),
                days: values(date[2], &number),
                hours: values(time[0], &number),
                minutes: values(time[1], &number),
            }
        }

        fn matches(&self, at: DateTime<Utc>) -> bool {
            self.minutes[at.minute() as usize]
                && self.hours[at.hour() as usize]
                && self.days[at.day() as usize]
                && self.months[at.month() as usize]
                && self.weekdays[at.weekday().num_days_from_monday() as usize]
        }
    }

    #[test]
    fn every_minute_of_two_years_is_the_same() {
        let minutes: Vec<DateTime<Utc>> = minutes().collect();
        for form in FORMS {
            let (schedule, fields) = fields(form);
            let written = calendars(&fields);
            let calendars: Vec<Calendar> = written.iter().map(|calendar| Calendar::parse(calendar)).collect();
            let wrong = minutes.iter().find(|at| {
                let is_due = schedule.cron.is_time_matching(*at).unwrap();
                calendars.iter().any(|calendar| calendar.matches(**at)) != is_due
            });
            assert_eq!(wrong, None, "{form}: {written:?}");
        }
    }

    #[test]
    fn systemd_reads_them_as_they_are_meant() {
        let mut n_answers = 0;
        for line in ANSWERS.lines().filter(|line| !line.starts_with('#')) {
            let [form, calendar, times] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let (schedule, fields) = fields(form);
            assert_eq!(calendars(&fields).join(" | "), calendar, "{form}");
            let expect: Vec<DateTime<Utc>> = times.split(' ').map(|time| time.parse().unwrap()).collect();
            let first: DateTime<Utc> = "2026-12-31T23:59:59Z".parse().unwrap();
            let found: Vec<DateTime<Utc>> = schedule.cron.iter_after(first).take(expect.len()).collect();
            assert_eq!(found, expect, "{form}: {calendar}");
            n_answers += 1;
        }
        assert_eq!(n_answers, FORMS.len());
    }

    #[test]
    fn words_are_quoted_for_systemd() {
        assert_eq!(
            ["/usr/bin/tamis", "a b", "50%", "$HOME", "a\"b\\c", ""].map(quoted),
            ["/usr/bin/tamis", "\"a b\"", "50%%", "$$HOME", "\"a\\\"b\\\\c\"", "\"\""]
        );
    }
}
