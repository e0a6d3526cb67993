//! What rows of two runs must agree in to be compared.

use serde_json::Value;
use tamis_schemas::index::IndexParameters;

use crate::dedup::settings::{KeepOrder, Linkage, Search, Settings};
use crate::dedup::{Bands, N_SLOTS, Normalize};
use crate::{Error, Result};

/// Version of normalization, tokens and shingle hashes: changes whenever equal texts may give other shingles.
const TEXT_VERSION: u32 = 1;
/// Version of the sketch: changes whenever equal sets may give another one.
const SKETCH_VERSION: u32 = 1;
/// What is compared.
const MEASURE: &str = "jaccard";
/// Difference of two numbers that a text form may cause.
const ROUNDING: f64 = 1e-12;

/// The parameters of rows that are compared under `settings`.
///
/// # Errors
/// `Error::Config` if the settings cannot work.
pub fn parameters(settings: &Settings) -> Result<IndexParameters> {
    settings.check_for_index()?;
    let (slots, bands, rows_per_band) = match settings.search()? {
        Search::Bands(bands) => (N_SLOTS, bands.n_bands, bands.rows_per_band),
        Search::Exhaustive | Search::Samples(_) => (0, 0, 0),
    };
    Ok(IndexParameters {
        text_version: TEXT_VERSION,
        sketch_version: SKETCH_VERSION,
        measure: MEASURE.into(),
        threshold: settings.threshold,
        recall: settings.recall,
        ngram: settings.n_tokens,
        seed: settings.seed,
        ignore_diacritics: settings.normalize.diacritics,
        ignore_digits: settings.normalize.digits,
        ignore_punctuation: settings.normalize.punctuation,
        slots,
        bands,
        rows_per_band,
    })
}

/// Settings with these parameters.
///
/// # Errors
/// `Error::Config` if this version would not compare its rows in the same way.
pub(super) fn settings(parameters: &IndexParameters, url: &str) -> Result<Settings> {
    let settings = Settings {
        threshold: parameters.threshold,
        recall: parameters.recall,
        bands: bands(parameters),
        n_tokens: parameters.ngram,
        seed: parameters.seed,
        normalize: Normalize {
            diacritics: parameters.ignore_diacritics,
            digits: parameters.ignore_digits,
            punctuation: parameters.ignore_punctuation,
        },
        keep: KeepOrder::First,
        linkage: Linkage::Star,
        ..Settings::default()
    };
    check(parameters, &self::parameters(&settings)?, url)?;
    Ok(settings)
}

fn bands(parameters: &IndexParameters) -> Option<Bands> {
    let bands = Bands { n_bands: parameters.bands, rows_per_band: parameters.rows_per_band };
    (parameters.bands > 0).then_some(bands)
}

/// # Errors
/// `Error::Config` that names every parameter in which the index and this run differ, with both values.
pub(super) fn check(of_index: &IndexParameters, of_run: &IndexParameters, url: &str) -> Result<()> {
    let differences = differences(of_index, of_run);
    if differences.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = differences
        .iter()
        .map(|(name, index, run)| format!("{name} is {index} in the index and {run} in this run"))
        .collect();
    Err(Error::Config {
        message: format!("the index `{url}` was made with other parameters: {}", list.join("; ")),
        hint: Some("run with the parameters of the index (`tamis index show`), or name another index".into()),
    })
}

fn differences(left: &IndexParameters, right: &IndexParameters) -> Vec<(String, Value, Value)> {
    let as_map = |parameters: &IndexParameters| match serde_json::to_value(parameters) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let mut of_right = as_map(right);
    let pairs = as_map(left).into_iter().map(|(name, value)| {
        let other = of_right.remove(&name).unwrap_or_default();
        (name, value, other)
    });
    pairs.filter(|(_, left, right)| !is_same(left, right)).collect()
}

fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() <= ROUNDING)
        }
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_counts_and_is_named() {
        let base = parameters(&Settings::default()).unwrap();
        let text = serde_json::to_value(&base).unwrap();
        for (name, value) in text.as_object().unwrap() {
            let mut other = text.clone();
            other[name] = match value {
                Value::Bool(value) => (!value).into(),
                Value::String(_) => "containment".into(),
                number if number.is_f64() => 0.25.into(),
                number => (number.as_u64().unwrap() + 1).into(),
            };
            let other: IndexParameters = serde_json::from_value(other).unwrap();
            let error = check(&base, &other, "x").unwrap_err().to_string();
            assert!(error.contains(&format!("{name} is {value} in the index and")), "{error}");
        }
        check(&base, &serde_json::from_str(&text.to_string()).unwrap(), "x").unwrap();
        assert_eq!(parameters(&settings(&base, "x").unwrap()).unwrap(), base);
    }
}
