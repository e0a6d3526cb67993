//! When to start, within a window.

use std::fmt;

use super::{Series, time_text};

/// A forecast that was made longer ago than this is not used.
const STALE_SECONDS: i64 = 6 * 3600;

/// Waiting is worth it from this share on: forecasts are not more exact than that.
const LEAST_GAIN_RATIO: f64 = 0.05;

/// Waiting is worth it from so many grams on.
const LEAST_GAIN_G: f64 = 5.0;

/// What is asked. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question {
    /// The present.
    pub now: i64,
    /// When the run must have ended.
    pub deadline: i64,
    /// How long the run takes, in nine cases of ten, seconds.
    pub duration_seconds: Option<i64>,
    /// What it uses, if known.
    pub energy_kwh: Option<f64>,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// When to start.
    pub start_at: i64,
    /// Why then.
    pub reason: Reason,
    /// Mean intensity of a run that starts now, grams of `CO2e` per kWh, if the forecast says it.
    pub now_g_per_kwh: Option<f64>,
    /// The same of one that starts at `start_at`.
    pub chosen_g_per_kwh: Option<f64>,
    /// Grams of `CO2e` that waiting is expected to save, if the energy is known.
    pub saved_g: Option<f64>,
}

/// Why a run starts when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The grid is cleanest then.
    Cleaner,
    /// There is no forecast.
    NoForecast,
    /// The forecast is too old: so many seconds.
    Stale(i64),
    /// How long the run takes is not known.
    UnknownDuration,
    /// The run does not end by the deadline if it waits.
    NoRoom,
    /// The forecast does not cover a run that starts now.
    Uncovered,
    /// The present is as good, or nearly.
    SmallGain,
}

/// Chooses the start with the lowest time-weighted mean intensity over the run, such that the whole run lies before the deadline.
/// Of equal ones, the earliest. Whatever speaks against waiting: now.
///
/// The mean is a piecewise linear function of the start, whose corners are where the start or the end of the run meets the edge
/// of a point: looking at these is as good as looking at every second.
///
/// # Cost
/// O(n²) for n points in the window.
///
/// # Determinism
/// A pure function: the clock is an argument.
pub fn choose(question: &Question, forecast: Option<&Series>) -> Decision {
    let now = |reason, now_g_per_kwh| Decision {
        start_at: question.now,
        reason,
        now_g_per_kwh,
        chosen_g_per_kwh: now_g_per_kwh,
        saved_g: None,
    };
    let Some(forecast) = forecast else { return now(Reason::NoForecast, None) };
    if let Some(age) = forecast.generated_at.map(|at| question.now - at).filter(|age| *age > STALE_SECONDS) {
        return now(Reason::Stale(age), None);
    }
    let Some(duration) = question.duration_seconds.filter(|seconds| *seconds > 0) else {
        return now(Reason::UnknownDuration, None);
    };
    let Some(now_g_per_kwh) = forecast.mean(question.now, question.now + duration) else {
        return now(Reason::Uncovered, None);
    };
    let latest = question.deadline - duration;
    if latest <= question.now {
        return now(Reason::NoRoom, Some(now_g_per_kwh));
    }
    let edges = forecast.points().iter().flat_map(|point| [point.start, point.end]);
    let mut starts: Vec<i64> = edges.flat_map(|edge| [edge, edge - duration]).chain([latest]).collect();
    starts.retain(|start| (question.now..=latest).contains(start));
    starts.sort_unstable();
    starts.dedup();
    let (mut start_at, mut chosen) = (question.now, now_g_per_kwh);
    for start in starts {
        // Means of equal points differ in the last digits: an earlier start is not left for these.
        let is_less = |mean: &f64| *mean < chosen * (1.0 - 1e-12);
        if let Some(mean) = forecast.mean(start, start + duration).filter(is_less) {
            (start_at, chosen) = (start, mean);
        }
    }
    let gain = now_g_per_kwh - chosen;
    let saved_g = question.energy_kwh.map(|kwh| kwh * gain);
    let is_small = gain < LEAST_GAIN_RATIO * now_g_per_kwh || saved_g.is_some_and(|grams| grams < LEAST_GAIN_G);
    if start_at == question.now || is_small {
        return now(Reason::SmallGain, Some(now_g_per_kwh));
    }
    Decision {
        start_at,
        reason: Reason::Cleaner,
        now_g_per_kwh: Some(now_g_per_kwh),
        chosen_g_per_kwh: Some(chosen),
        saved_g,
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Cleaner => {
                write!(out, "start at {}", time_text(self.start_at))?;
                if let (Some(now), Some(chosen)) = (self.now_g_per_kwh, self.chosen_g_per_kwh) {
                    write!(out, ": {chosen:.0} g/kWh instead of {now:.0} g/kWh now")?;
                }
                self.saved_g.map_or(Ok(()), |grams| write!(out, ", about {grams:.0} g less"))
            }
            Reason::NoForecast => out.write_str("start now: there is no forecast"),
            Reason::Stale(seconds) => {
                write!(out, "start now: the forecast is {:.1} h old, and 6 h is the limit", seconds as f64 / 3600.0)
            }
            Reason::UnknownDuration => out.write_str("start now: how long the run takes is not known"),
            Reason::NoRoom => out.write_str("start now: a later run would not end by the deadline"),
            Reason::Uncovered => out.write_str("start now: the forecast does not cover a run that starts now"),
            Reason::SmallGain => out.write_str("start now: waiting would gain less than 5 % or less than 5 g"),
        }
    }
}
