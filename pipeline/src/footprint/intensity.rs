//! From kWh to grams: which grid, and what the site adds.
//!
//! ```text
//! value given -> what came to pass (file) -> region of Google Cloud -> region of another cloud -> country -> world
//! ```
//!
//! A region that is given and not known is an error: a wrong name must not become the mean of the world.

use tamis_schemas::footprint::{FactorRow, FootprintConfig, IntensityRow, Interval, Label, Signal, SiteConfig};

use super::forecast::Series;
use super::tables::Tables;
use crate::{Error, Result};

/// Yearly means of a country moved by 4 to 21 % between two editions of one data set, and a day is not a year.
const COUNTRY_BOUNDS: (f64, f64) = (0.8, 1.25);

/// Of a region of a provider that publishes it each year.
const REGION_BOUNDS: (f64, f64) = (0.9, 1.1);

/// Of what came to pass in the hours of the run.
const ACTUAL_BOUNDS: (f64, f64) = (0.95, 1.05);

/// Where a machine stands, as a config says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Region {
    /// Region of a cloud: `gcp`, `aws` or `azure`, and its name.
    Cloud(String, String),
    /// Country, three letters.
    Country(String),
}

impl Region {
    /// Reads `gcp:europe-west9` or `FRA`.
    ///
    /// # Errors
    /// `Error::Config` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some((provider, region)) = text.split_once(':') {
            let provider = provider.to_lowercase();
            if matches!(provider.as_str(), "gcp" | "aws" | "azure") && !region.is_empty() {
                return Ok(Self::Cloud(provider, region.to_lowercase()));
            }
        } else if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Ok(Self::Country(text.to_uppercase()));
        }
        Err(Error::Config {
            message: format!("`{text}` is no region"),
            hint: Some("a country as three letters, `FRA`, or a region of a cloud, `gcp:europe-west9`".into()),
        })
    }
}

/// Carbon intensity for a run from `start` to `end`, seconds since 1970.
///
/// `actuals` is used if it covers the whole run; if it does not, the chain goes on, and the row names the source that was used.
///
/// # Errors
/// `Error::Config` for a region that is in no table, or a value that is no intensity.
pub fn intensity(
    settings: &FootprintConfig,
    actuals: Option<&Series>,
    (start, end): (i64, i64),
    tables: &Tables,
) -> Result<IntensityRow> {
    if let Some(value) = settings.intensity_g_per_kwh {
        return given(value);
    }
    let region = settings.region.as_deref().map(Region::parse).transpose()?;
    let by_table = match &region {
        Some(Region::Country(iso3)) => of_country(iso3, iso3, tables)?,
        Some(Region::Cloud(provider, name)) => of_cloud(provider, name, tables)?,
        None => of_world(tables)?,
    };
    let measured = actuals.and_then(|series| Some((series, series.mean(start, end.max(start + 1))?)));
    let Some((series, mean)) = measured else { return Ok(by_table) };
    Ok(IntensityRow {
        g_per_kwh: bounded(mean, ACTUAL_BOUNDS),
        year: None,
        signal: series.signal,
        zone: series.zone.clone(),
        label: Label::Measured,
        source: "what came to pass, by the file given".into(),
    })
}

/// Energy of the site over that of its machines.
///
/// # Errors
/// `Error::Config` for a value below 1 or a region that cannot be read.
pub fn pue(settings: &FootprintConfig, tables: &Tables) -> Result<FactorRow> {
    if let Some(value) = settings.pue {
        if !(1.0..=10.0).contains(&value) {
            return Err(Error::config(format!("a PUE of {value}: it is 1 or more, and that of a data center below 3")));
        }
        return Ok(FactorRow { value: Interval::exact(value), label: Label::Estimated, source: "as given".into() });
    }
    let site = match (settings.region.as_deref().map(Region::parse).transpose()?, settings.site) {
        (Some(Region::Cloud(provider, _)), _) => provider,
        (_, Some(SiteConfig::Desk)) => "desk".to_owned(),
        (_, Some(SiteConfig::Datacenter) | None) => "datacenter".to_owned(),
    };
    let row = tables.site_pue(&site).ok_or_else(|| Error::Invariant(format!("there is no PUE of `{site}`")))?;
    let is_cloud = matches!(site.as_str(), "gcp" | "aws" | "azure");
    Ok(FactorRow {
        value: row.value(),
        label: if is_cloud { Label::Estimated } else { Label::Assumed },
        source: format!("{site}: {}", tables.title(&row.source)),
    })
}

/// A value without bounds of its own, from a flag.
///
/// # Errors
/// `Error::Config` if it is no intensity.
pub fn given(value: f64) -> Result<IntensityRow> {
    if !(0.0..=2000.0).contains(&value) {
        return Err(Error::config(format!("an intensity of {value} g/kWh: no grid is outside of 0 to 2000")));
    }
    Ok(IntensityRow {
        g_per_kwh: Interval::exact(value),
        year: None,
        signal: Signal::Average,
        zone: "given".into(),
        label: Label::Estimated,
        source: "as given".into(),
    })
}

fn of_cloud(provider: &str, name: &str, tables: &Tables) -> Result<IntensityRow> {
    let zone = format!("{provider}:{name}");
    if provider == "gcp" {
        let row = tables.gcp_regions.iter().find(|row| row.region == name).ok_or_else(|| unknown(&zone))?;
        return Ok(IntensityRow {
            g_per_kwh: bounded(row.g_per_kwh, REGION_BOUNDS),
            year: Some(row.year),
            signal: Signal::Average,
            zone,
            label: Label::Estimated,
            source: tables.title(&row.source).to_owned(),
        });
    }
    let rows = tables.cloud_regions.iter();
    let row = rows.into_iter().find(|row| row.provider == provider && row.region == name);
    of_country(&row.ok_or_else(|| unknown(&zone))?.iso3, &zone, tables)
}

fn of_country(iso3: &str, zone: &str, tables: &Tables) -> Result<IntensityRow> {
    let row = tables.country(iso3).ok_or_else(|| unknown(zone))?;
    Ok(IntensityRow {
        g_per_kwh: bounded(row.g_per_kwh, COUNTRY_BOUNDS),
        year: Some(row.year),
        signal: Signal::Average,
        zone: if zone == iso3 { zone.to_owned() } else { format!("{zone} ({iso3})") },
        label: Label::Estimated,
        source: tables.title(&row.source).to_owned(),
    })
}

fn of_world(tables: &Tables) -> Result<IntensityRow> {
    let row = tables.coefficient("world_intensity")?;
    Ok(IntensityRow {
        g_per_kwh: row.value(),
        year: Some(row.year),
        signal: Signal::Average,
        zone: "world".into(),
        label: Label::Assumed,
        source: tables.title(&row.source).to_owned(),
    })
}

fn bounded(mid: f64, (low, high): (f64, f64)) -> Interval {
    Interval::around(mid * low, mid, mid * high)
}

fn unknown(zone: &str) -> Error {
    Error::Config {
        message: format!("`{zone}` is in no table of carbon intensity"),
        hint: Some("give its grams per kWh with --intensity, or the country as three letters".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::forecast::Point;
    use super::*;

    fn config(region: Option<&str>) -> FootprintConfig {
        FootprintConfig { region: region.map(str::to_owned), ..FootprintConfig::default() }
    }

    #[test]
    fn the_chain() {
        let tables = Tables::shipped();
        for (region, mid, zone, label) in [
            (Some("FRA"), 44.18, "FRA", Label::Estimated),
            (Some("fra"), 44.18, "FRA", Label::Estimated),
            (Some("gcp:europe-west9"), 15.83, "gcp:europe-west9", Label::Estimated),
            (Some("AWS:eu-west-3"), 44.18, "aws:eu-west-3 (FRA)", Label::Estimated),
            (Some("azure:francecentral"), 44.18, "azure:francecentral (FRA)", Label::Estimated),
            (None, 473.0, "world", Label::Assumed),
        ] {
            let row = intensity(&config(region), None, (0, 10), tables).unwrap();
            assert_eq!((row.g_per_kwh.mid(), row.zone.as_str(), row.label), (mid, zone, label));
            assert!(row.g_per_kwh.low() < mid && mid < row.g_per_kwh.high());
        }
        let series = Series::new(
            "FR".into(),
            None,
            Signal::Average,
            vec![Point { start: 0, end: 10, g_per_kwh: 20.0 }, Point { start: 10, end: 20, g_per_kwh: 40.0 }],
        );
        let series = series.unwrap();
        let of = |settings: &FootprintConfig, time| intensity(settings, Some(&series), time, tables).unwrap();
        let actual = of(&config(Some("FRA")), (5, 15));
        assert_eq!((actual.g_per_kwh.mid(), actual.label), (30.0, Label::Measured));
        // It does not cover the run.
        assert_eq!(of(&config(Some("FRA")), (5, 25)).zone, "FRA");
        let flag = FootprintConfig { intensity_g_per_kwh: Some(7.0), ..config(Some("FRA")) };
        assert_eq!(of(&flag, (5, 15)).g_per_kwh, Interval::exact(7.0));
    }

    #[test]
    fn a_wrong_name_is_an_error() {
        for region in ["XXX", "gcp:mars", "aws:europe-west9", "ibm:eu", "France", "gcp:"] {
            let error = intensity(&config(Some(region)), None, (0, 1), Tables::shipped()).unwrap_err();
            assert!(matches!(&error, Error::Config { hint: Some(_), .. }), "{region}: {error}");
        }
        assert!(given(-1.0).is_err());
    }

    #[test]
    fn what_the_site_adds() {
        let of = |settings: &FootprintConfig| pue(settings, Tables::shipped()).unwrap();
        let cloud = of(&config(Some("gcp:europe-west9")));
        assert_eq!((cloud.value.mid(), cloud.label), (1.1, Label::Estimated));
        let unknown = of(&config(Some("FRA")));
        assert_eq!((unknown.value.mid(), unknown.label), (1.58, Label::Assumed));
        let desk = FootprintConfig { site: Some(SiteConfig::Desk), ..config(None) };
        assert_eq!(of(&desk).value, Interval::exact(1.0));
        let flag = FootprintConfig { pue: Some(1.3), ..config(Some("gcp:europe-west9")) };
        assert_eq!(of(&flag).value, Interval::exact(1.3));
        assert!(pue(&FootprintConfig { pue: Some(0.9), ..flag }, Tables::shipped()).is_err());
    }
}
