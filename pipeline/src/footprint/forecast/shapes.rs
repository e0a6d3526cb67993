//! Forecasts as others write them, told apart by their shape.
//!
//! | shape | whose |
//! | --- | --- |
//! | `schema: tamis.forecast/1` | ours |
//! | `data[].from, to, intensity.{forecast, actual}` | Carbon Intensity API of Great Britain, national and regional |
//! | `data[].point_time, value` and `meta` | `WattTime` v3 |
//! | `zone` and `forecast[]`, `history[]` or `data[]` of `carbonIntensity, datetime` | Electricity Maps |
//! | `Emissions[]` of `Location, Time, Rating, Duration`; `[].forecastData[]` | Carbon Aware SDK, file source and web API |

use serde_json::Value;
use tamis_schemas::footprint::{FORECAST_SCHEMA, Forecast, Signal};

use super::{Point, Series, time_seconds};
use crate::{Error, Result};

/// What is wanted of a source that has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefer {
    /// What was expected.
    Forecast,
    /// What came to pass.
    Actual,
}

/// A pound per megawatt-hour in grams per kilowatt-hour.
const G_PER_KWH_OF_LBS_PER_MWH: f64 = 0.453_592_37;

/// Reads a forecast, or what came to pass, in any of the shapes; `location` is for messages.
///
/// Where what came to pass is wanted, points that start after a file was made are left out: nobody knew them then.
///
/// # Errors
/// `Error::Corrupt` for text that has none of the shapes, or a point that cannot be; or for a forecast where what came to pass is
/// wanted.
pub fn parse(text: &str, location: &str, prefer: Prefer) -> Result<Series> {
    let format = match prefer {
        Prefer::Forecast => "a forecast of carbon intensity",
        Prefer::Actual => "a file of what the carbon intensity was",
    };
    let damaged = |message: String| Error::Corrupt { location: location.to_owned(), format, message };
    let value: Value = serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    read(&value, prefer).map_err(damaged)
}

fn read(value: &Value, prefer: Prefer) -> Result<Series, String> {
    if value.get("schema").is_some() {
        return canonical(value)?.wanted(prefer);
    }
    let first = |key: &str| value.get(key).and_then(|list| list.as_array()).and_then(|list| list.first());
    if let Some(list) = find(value, &["Emissions", "emissions"]).and_then(Value::as_array) {
        return sdk_file(list);
    }
    if let Some(list) = value.as_array() {
        return if list.first().is_some_and(|entry| find(entry, &["forecastData"]).is_some()) {
            sdk_api(list)?.wanted(prefer)
        } else {
            sdk_file(list)
        };
    }
    if first("data").is_some_and(|entry| entry.get("point_time").is_some()) {
        return watttime(value)?.wanted(prefer);
    }
    let is_uk = |list: &Value| list.get(0).is_some_and(|entry| entry.get("from").is_some());
    let nested = value.get("data").and_then(|data| data.get("data"));
    if let Some(list) = value.get("data").filter(|list| is_uk(list)).or_else(|| nested.filter(|list| is_uk(list))) {
        return britain(value, list, prefer);
    }
    if value.get("zone").is_some() {
        let series = electricity_maps(value)?;
        // Its time of the present and of the past is that of the last change.
        return if value.get("forecast").is_some() { series.wanted(prefer) } else { Ok(series) };
    }
    Err("it has none of the shapes that tamis knows; docs/footprint.md lists them".into())
}

const NO_ACTUALS: &str =
    "it is a forecast, and does not say what came to pass; give a file of the past, fetched after the run";

impl Series {
    /// Without what nobody knew when it was made, if what came to pass is wanted.
    fn wanted(mut self, prefer: Prefer) -> Result<Self, String> {
        if let (Prefer::Actual, Some(at)) = (prefer, self.generated_at) {
            self.points.retain(|point| point.start < at);
        }
        if self.points.is_empty() { Err(NO_ACTUALS.into()) } else { Ok(self) }
    }
}

fn canonical(value: &Value) -> Result<Series, String> {
    let forecast: Forecast = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
    if forecast.schema != FORECAST_SCHEMA {
        return Err(format!(
            "its schema is `{}`, and this version of tamis knows `{FORECAST_SCHEMA}`",
            forecast.schema
        ));
    }
    if !matches!(forecast.unit.as_str(), "gCO2e/kWh" | "gCO2eq/kWh") {
        return Err(format!("its unit is `{}` instead of gCO2e/kWh", forecast.unit));
    }
    let points = forecast
        .points
        .iter()
        .map(|point| Ok(Point { start: time(&point.start)?, end: time(&point.end)?, g_per_kwh: point.value }));
    let points = points.collect::<Result<_, String>>()?;
    let generated_at = forecast.generated_at.as_deref().map(time).transpose()?;
    Series::new(forecast.zone, generated_at, forecast.signal, points)
}

fn britain(value: &Value, list: &Value, prefer: Prefer) -> Result<Series, String> {
    let keys = match prefer {
        Prefer::Forecast => &["forecast", "actual"][..],
        Prefer::Actual => &["actual"],
    };
    let mut points = Vec::new();
    for entry in list.as_array().into_iter().flatten() {
        let intensity = entry.get("intensity").ok_or("an entry has no `intensity`")?;
        // What came to pass is null for what is still to come.
        let Some(g_per_kwh) = keys.iter().find_map(|key| intensity.get(key).and_then(Value::as_f64)) else { continue };
        points.push(Point { start: time_of(entry, &["from"])?, end: time_of(entry, &["to"])?, g_per_kwh });
    }
    if points.is_empty() && prefer == Prefer::Actual {
        return Err(NO_ACTUALS.into());
    }
    let region = value.get("data").and_then(|data| data.get("shortname")).and_then(Value::as_str);
    Series::new(region.unwrap_or("GB").to_owned(), None, Signal::Average, points)
}

fn watttime(value: &Value) -> Result<Series, String> {
    let meta = |key: &str| value.get("meta").and_then(|meta| meta.get(key));
    let units = meta("units").and_then(Value::as_str).unwrap_or_default();
    if units != "lbs_co2_per_mwh" {
        return Err(format!("its units are `{units}` instead of lbs_co2_per_mwh"));
    }
    let signal_type = meta("signal_type").and_then(Value::as_str).unwrap_or("co2_moer");
    let signal = if signal_type == "co2_aoer" { Signal::Average } else { Signal::Marginal };
    let list = value.get("data").and_then(Value::as_array).ok_or("it has no `data`")?;
    let starts = list.iter().map(|entry| {
        let lbs = number_of(entry, &["value"])?;
        Ok((time_of(entry, &["point_time"])?, lbs * G_PER_KWH_OF_LBS_PER_MWH))
    });
    let period = meta("data_point_period_seconds").and_then(Value::as_i64);
    let points = until_next(starts.collect::<Result<_, String>>()?, period.unwrap_or(300));
    let zone = meta("region").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let generated_at = meta("generated_at").and_then(Value::as_str).map(time).transpose()?;
    Series::new(zone, generated_at, signal, points)
}

fn electricity_maps(value: &Value) -> Result<Series, String> {
    let zone = value.get("zone").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let list = ["forecast", "history", "data"].iter().find_map(|key| value.get(key).and_then(Value::as_array));
    let whole = [value.clone()];
    let entries = list.map_or(&whole[..], Vec::as_slice);
    let starts =
        entries.iter().map(|entry| Ok((time_of(entry, &["datetime"])?, number_of(entry, &["carbonIntensity"])?)));
    let points = until_next(starts.collect::<Result<_, String>>()?, 3600);
    let generated_at = value.get("updatedAt").and_then(Value::as_str).map(time).transpose()?;
    Series::new(zone, generated_at, Signal::Average, points)
}

fn sdk_file(list: &[Value]) -> Result<Series, String> {
    let mut starts = Vec::new();
    for entry in list {
        let start = time_of(entry, &["Time", "time", "timestamp"])?;
        starts.push((start, number_of(entry, &["Rating", "rating", "value"])?, duration_seconds(entry)));
    }
    let points = with_durations(starts);
    Series::new(one_location(list)?, None, Signal::Average, points)
}

fn sdk_api(list: &[Value]) -> Result<Series, String> {
    let [entry] = list else { return Err(format!("it has {} forecasts; give one", list.len())) };
    let data = find(entry, &["forecastData"]).and_then(Value::as_array).ok_or("`forecastData` is no list")?;
    let mut series = sdk_file(data)?;
    series.generated_at = find(entry, &["generatedAt"]).and_then(Value::as_str).map(time).transpose()?;
    if let Some(location) = find(entry, &["location"]).and_then(Value::as_str) {
        location.clone_into(&mut series.zone);
    }
    Ok(series)
}

fn one_location(list: &[Value]) -> Result<String, String> {
    let name = |entry: &Value| find(entry, &["Location", "location"]).and_then(Value::as_str).map(str::to_owned);
    let mut names: Vec<String> = list.iter().filter_map(name).collect();
    names.sort_unstable();
    names.dedup();
    match &names[..] {
        [] => Ok("unknown".into()),
        [name] => Ok(name.clone()),
        _ => Err(format!("it is about {} locations ({}); leave one in it", names.len(), names.join(", "))),
    }
}

/// Points that last as long as they say, or until the next one.
fn with_durations(mut starts: Vec<(i64, f64, Option<i64>)>) -> Vec<Point> {
    starts.sort_by_key(|(start, ..)| *start);
    let until_next = until_next(starts.iter().map(|(start, value, _)| (*start, *value)).collect(), 3600);
    let lasting = |(point, (.., said)): (Point, &(i64, f64, Option<i64>))| Point {
        end: said.map_or(point.end, |seconds| point.start + seconds),
        ..point
    };
    until_next.into_iter().zip(&starts).map(lasting).collect()
}

/// Points that last until the next one; the last lasts as long as the one before it, or `default` seconds.
fn until_next(mut starts: Vec<(i64, f64)>, default: i64) -> Vec<Point> {
    starts.sort_by_key(|(start, _)| *start);
    let last_step = starts.windows(2).last().map_or(default, |pair| pair[1].0 - pair[0].0);
    let ends: Vec<i64> = starts.iter().skip(1).map(|(start, _)| *start).collect();
    let point = |(at, (start, g_per_kwh)): (usize, &(i64, f64))| Point {
        start: *start,
        end: ends.get(at).copied().unwrap_or(start + last_step),
        g_per_kwh: *g_per_kwh,
    };
    starts.iter().enumerate().map(point).collect()
}

/// `00:30:00`, `1.00:30:00` (days first), or a number of minutes.
fn duration_seconds(entry: &Value) -> Option<i64> {
    let value = find(entry, &["Duration", "duration"])?;
    if let Some(minutes) = value.as_i64() {
        return Some(minutes * 60);
    }
    let text = value.as_str()?;
    let (days, clock) = text.split_once('.').filter(|(_, rest)| rest.contains(':')).unwrap_or(("0", text));
    let mut parts = clock.split(':').map(|part| part.split('.').next()?.parse::<i64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(((days.parse::<i64>().ok()? * 24 + hours) * 60 + minutes) * 60 + seconds)
}

fn find<'a>(entry: &'a Value, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().find_map(|key| entry.get(key)).filter(|value| !value.is_null())
}

fn number_of(entry: &Value, keys: &[&str]) -> Result<f64, String> {
    let value = find(entry, keys).ok_or_else(|| format!("an entry has no `{}`", keys[0]))?;
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.ok_or_else(|| format!("`{}` is {value}, which is no number", keys[0]))
}

fn time_of(entry: &Value, keys: &[&str]) -> Result<i64, String> {
    let value = find(entry, keys).ok_or_else(|| format!("an entry has no `{}`", keys[0]))?;
    time(value.as_str().unwrap_or_default())
}

fn time(text: &str) -> Result<i64, String> {
    time_seconds(text).ok_or_else(|| format!("`{text}` is no time, such as 2026-11-30T10:00:00Z"))
}
