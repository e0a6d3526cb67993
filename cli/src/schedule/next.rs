//! Which start comes next: a function of the schedule and of the time up to which starts are done.
//!
//! There is no list of missed times. A run that starts settles every time up to its start, so that those that passed
//! meanwhile, or while nobody was there, come to one run:
//!
//! ```text
//! times      |      |      |      |
//! runs       [=================]  .        3 h, every hour
//!                              [===]       one run for both times that passed, at once
//! ```

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Schedule;

/// A start that is to come, or overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// As the schedule says.
    pub(crate) scheduled: DateTime<Utc>,
    /// After the random delay.
    pub(crate) at: DateTime<Utc>,
}

/// The first start after `done`. The delay depends on the scheduled time and on `seed` only.
///
/// A time of day that the clock skips in spring comes at the end of the gap, one that comes twice in autumn the first
/// time only; expressions of intervals (`*/15`) follow the clock. `None` at the end of the calendar.
pub(crate) fn next_start(schedule: &Schedule, done: DateTime<Utc>, seed: u64) -> Option<Start> {
    let local = done.with_timezone(&schedule.timezone);
    let scheduled = schedule.cron.find_next_occurrence(&local, false).ok()?.with_timezone(&Utc);
    Some(Start { scheduled, at: scheduled + delay(schedule.jitter, scheduled, seed) })
}

/// From 0 to `jitter`, each millisecond as likely.
fn delay(jitter: Duration, scheduled: DateTime<Utc>, seed: u64) -> Duration {
    Duration::from_millis(mixed(seed ^ mixed(scheduled.timestamp() as u64)) % (jitter.as_millis() as u64 + 1))
}

/// `SplitMix64`: numbers that look random from numbers that do not.
fn mixed(value: u64) -> u64 {
    let mut value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, TimeDelta, TimeZone, Timelike};

    use super::*;
    use crate::schedule::tests::schedule;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn after(schedule: &Schedule, done: DateTime<Utc>) -> DateTime<Utc> {
        next_start(schedule, done, 7).unwrap().at
    }

    /// Every start from `from` to `to`, as the daemon finds them whose runs take no time.
    fn starts(schedule: &Schedule, from: &str, to: &str) -> Vec<DateTime<Utc>> {
        let first = after(schedule, time(from) - TimeDelta::seconds(1));
        let all = std::iter::successors(Some(first), |done| Some(after(schedule, *done)));
        all.take_while(|at| *at < time(to)).collect()
    }

    /// Each minute of UTC whose local wall clock is of the schedule, found without a calendar library's help: the clock of
    /// Berlin is one hour ahead, two between the last Sundays of March and October at 1:00 UTC.
    fn berlin_minutes(from: &str, to: &str, is_due: fn(DateTime<Utc>) -> bool) -> Vec<DateTime<Utc>> {
        let last_sunday = |year: i32, month: u32| {
            let last = Utc.with_ymd_and_hms(year, month, 31, 1, 0, 0).unwrap();
            last - TimeDelta::days(i64::from(last.weekday().num_days_from_sunday()))
        };
        let is_summer = |at: DateTime<Utc>| last_sunday(at.year(), 3) <= at && at < last_sunday(at.year(), 10);
        let minutes = std::iter::successors(Some(time(from)), |at| Some(*at + TimeDelta::minutes(1)));
        let local = |at: DateTime<Utc>| at + TimeDelta::hours(if is_summer(at) { 2 } else { 1 });
        minutes.take_while(|at| *at < time(to)).filter(|at| is_due(local(*at))).collect()
    }

    #[test]
    fn intervals_follow_the_clock_through_gap_and_overlap() {
        let (from, to) = ("2026-01-01T00:00:00Z", "2027-12-31T00:00:00Z");
        let quarter = schedule("*/15 * * * *", "Europe/Berlin");
        assert_eq!(starts(&quarter, from, to), berlin_minutes(from, to, |at| at.minute().is_multiple_of(15)));
        let night = schedule("*/20 1-4 * * sun", "Europe/Berlin");
        let is_due = |at: DateTime<Utc>| {
            at.minute().is_multiple_of(20) && (1..=4).contains(&at.hour()) && at.weekday() == chrono::Weekday::Sun
        };
        assert_eq!(starts(&night, from, to), berlin_minutes(from, to, is_due));
    }

    #[test]
    fn times_of_day_come_once_each_day() {
        let (from, to) = ("2026-01-01T12:00:00Z", "2027-12-31T12:00:00Z");
        let found = starts(&schedule("30 2 * * *", "Europe/Berlin"), from, to);
        let is_due = |at: DateTime<Utc>| at.hour() == 2 && at.minute() == 30;
        let mut expect = berlin_minutes(from, to, is_due);
        // Two o'clock is skipped on these days: the run begins when the clock says three.
        expect.extend(["2026-03-29T01:00:00Z", "2027-03-28T01:00:00Z"].map(time));
        // Half past two comes twice on these days.
        expect.retain(|at| !["2026-10-25T01:30:00Z", "2027-10-31T01:30:00Z"].map(time).contains(at));
        expect.sort();
        assert_eq!(found, expect);
        assert_eq!(found.len(), 729);
    }

    #[test]
    fn what_was_missed_comes_to_one_run() {
        // Runs of any length over a schedule of any density: what each start leaves undone is due after it, and each time
        // of the schedule is settled by the first start that is not before it.
        let dense = schedule("*/7 * * * *", "UTC");
        let times = starts(&dense, "2026-05-01T00:00:00Z", "2026-05-04T00:00:00Z");
        for length in [0, 1, 6, 7, 8, 61, 1000] {
            let length = TimeDelta::minutes(length);
            let (mut done, mut now) = (time("2026-05-01T00:00:00Z"), time("2026-05-01T00:00:30Z"));
            let mut runs = Vec::new();
            while now < time("2026-05-03T00:00:00Z") {
                now = now.max(after(&dense, done));
                runs.push(now);
                done = now;
                now += length;
            }
            let overlaps = runs.windows(2).any(|pair| pair[1] - pair[0] < length);
            assert!(!overlaps, "runs of {length} overlap");
            for pair in runs.windows(2) {
                let missed: Vec<_> = times.iter().filter(|at| pair[0] < **at && **at <= pair[1]).collect();
                assert!(!missed.is_empty(), "a run of {length} at {} for no time", pair[1]);
                let idle_from = (pair[0] + length).max(*missed[0]);
                assert_eq!(pair[1], idle_from, "a run of {length} did not begin when it could");
            }
        }
        // Whoever was away for a year makes up for it once.
        let daily = schedule("@daily", "UTC");
        let (stopped, back) = (time("2025-01-01T00:00:00Z"), time("2026-01-01T09:00:00Z"));
        assert!(after(&daily, stopped) < back);
        assert_eq!(after(&daily, back), time("2026-01-02T00:00:00Z"));
    }

    #[test]
    fn the_delay_is_within_the_jitter_and_uses_all_of_it() {
        let jitter = Duration::from_mins(5);
        let hourly = Schedule { jitter, ..schedule("@hourly", "UTC") };
        let mut done = time("2026-01-01T00:00:00Z");
        let mut delays = Vec::new();
        for seed in 0..20_000 {
            let start = next_start(&hourly, done, seed).unwrap();
            assert_eq!(Some(start), next_start(&hourly, done, seed));
            delays.push((start.at - start.scheduled).to_std().unwrap());
            done = start.scheduled;
        }
        assert!(delays.iter().all(|delay| *delay <= jitter));
        let n_below = |seconds| delays.iter().filter(|delay| **delay < Duration::from_secs(seconds)).count();
        // Ten bins of 2,000 expected, standard deviation 42: six of them.
        for bin in 0..10 {
            let n = n_below(30 * (bin + 1)) - n_below(30 * bin);
            assert!((1745..=2255).contains(&n), "{n} delays in bin {bin}");
        }
        assert!(delays.iter().max().unwrap().as_secs() >= 299 && delays.iter().min().unwrap().as_secs() == 0);
        assert_eq!(delay(Duration::ZERO, done, 3), Duration::ZERO);
    }

    #[test]
    fn parts_of_a_second_are_no_times_of_their_own() {
        let daily = schedule("@daily", "UTC");
        assert_eq!(after(&daily, time("2026-01-01T23:59:59.999Z")), time("2026-01-02T00:00:00Z"));
        assert_eq!(after(&daily, time("2026-01-02T00:00:00.001Z")), time("2026-01-03T00:00:00Z"));
        let expect = time("2026-01-03T00:00:00Z");
        assert_eq!(next_start(&daily, time("2026-01-02T00:00:00Z"), 1), Some(Start { scheduled: expect, at: expect }));
    }
}
