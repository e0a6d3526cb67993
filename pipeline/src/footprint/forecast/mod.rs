//! The grid's carbon intensity over time, and the best moment to start.

mod choose;
mod shapes;
#[cfg(test)]
mod tests;

use chrono::{DateTime, SecondsFormat};
use tamis_schemas::footprint::{FORECAST_SCHEMA, Forecast, ForecastPoint, Signal};

pub use choose::{Decision, Question, Reason, choose};
pub use shapes::{Prefer, parse};

/// Carbon intensity of one zone over time: points by time, none overlapping, gaps allowed. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Zone, in the words of whoever made it.
    pub zone: String,
    /// When it was made, if it says so.
    pub generated_at: Option<i64>,
    /// Average or marginal.
    pub signal: Signal,
    points: Vec<Point>,
}

/// A stretch of time with one intensity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Its start.
    pub start: i64,
    /// Its end.
    pub end: i64,
    /// Grams of `CO2e` per kWh.
    pub g_per_kwh: f64,
}

impl Series {
    /// Points in any order.
    ///
    /// # Errors
    /// The message says what is wrong: no points, one that ends before it starts, two that overlap, a number that cannot be.
    pub fn new(
        zone: String,
        generated_at: Option<i64>,
        signal: Signal,
        mut points: Vec<Point>,
    ) -> Result<Self, String> {
        points.sort_by_key(|point| (point.start, point.end));
        if points.is_empty() {
            return Err("it has no points".into());
        }
        for point in &points {
            if point.end <= point.start {
                return Err(format!("the point at {} ends before it starts", time_text(point.start)));
            }
            if !point.g_per_kwh.is_finite() || point.g_per_kwh < 0.0 {
                return Err(format!("the point at {} has {} g/kWh", time_text(point.start), point.g_per_kwh));
            }
        }
        if let Some(pair) = points.windows(2).find(|pair| pair[1].start < pair[0].end) {
            return Err(format!("the point at {} overlaps the one before", time_text(pair[1].start)));
        }
        Ok(Self { zone, generated_at, signal, points })
    }

    /// Points by time.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Time-weighted mean from `start` to `end`, grams of `CO2e` per kWh; none if a part of it is not covered.
    pub fn mean(&self, start: i64, end: i64) -> Option<f64> {
        let first = self.points.partition_point(|point| point.end <= start);
        let (mut sum, mut at) = (0.0, start);
        for point in &self.points[first..] {
            if at >= end || point.start > at {
                break;
            }
            let stop = point.end.min(end);
            sum += point.g_per_kwh * (stop - at) as f64;
            at = stop;
        }
        (at == end && end > start).then(|| sum / (end - start) as f64)
    }

    /// In the form that tamis writes.
    pub fn canonical(&self) -> Forecast {
        let point = |point: &Point| ForecastPoint {
            start: time_text(point.start),
            end: time_text(point.end),
            value: point.g_per_kwh,
        };
        Forecast {
            schema: FORECAST_SCHEMA.into(),
            zone: self.zone.clone(),
            generated_at: self.generated_at.map(time_text),
            signal: self.signal,
            unit: "gCO2e/kWh".into(),
            points: self.points.iter().map(point).collect(),
        }
    }
}

/// RFC 3339 in UTC.
pub fn time_text(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .map_or_else(|| format!("{seconds} s"), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// Seconds since 1970 of an RFC 3339 time; seconds may be missing in it, and the zone, which is then UTC.
pub fn time_seconds(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp());
    }
    let text = text.trim_end_matches('Z');
    let formats = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%.f"];
    formats.iter().find_map(|format| {
        chrono::NaiveDateTime::parse_from_str(text, format).ok().map(|time| time.and_utc().timestamp())
    })
}
