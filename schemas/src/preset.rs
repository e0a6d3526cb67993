//! Presets of near-duplicate removal: settings that belong together, under a name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Config, DeduplicateConfig};

const DEFAULT_THRESHOLD: f64 = 0.8;
const DEFAULT_RECALL: f64 = 0.99;
const DEFAULT_NGRAM: usize = 5;

/// Settings that belong together.
///
/// | preset | threshold | ngram | bands x rows | found at 0.4 | 0.5 | 0.7 | 0.8 | 0.9 |
/// | --- | --- | --- | --- | --- | --- | --- | --- | --- |
/// | `web` | 0.8 | 5 | 20 x 12 | 0.000 | 0.005 | 0.243 | 0.759 | 0.999 |
/// | `standard` | 0.8 | 5 | 16 x 8 | 0.010 | 0.061 | 0.613 | 0.947 | 1.000 |
/// | `loose` | 0.5 | 2 | 50 x 4 | 0.726 | 0.960 | 1.000 | 1.000 | 1.000 |
///
/// Proof decides about every candidate, so that bands buy recall and cost time; they never cost a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Crawls of billions of pages: few candidates by chance, at the price of a quarter of the pairs at the threshold.
    Web,
    /// What most training pipelines use.
    Standard,
    /// Sets of short texts that are labelled or scanned: two texts are near if half of their word pairs are the same.
    ///
    /// The best published results on CORE and NEWS-COPY come from pairs of words in 50 bands of 4 slots or thereabouts, at a
    /// nominal threshold of 0.5: there true duplicates share 30 % of their word triples, and one changed word of a text of
    /// twenty moves its similarity over five-word shingles below 0.55.
    Loose,
}

/// What a [`Preset`] sets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PresetValues {
    /// See [`DeduplicateConfig::threshold`].
    pub threshold: f64,
    /// See [`DeduplicateConfig::ngram`].
    pub ngram: usize,
    /// How candidates are found.
    pub bands: FixedBands,
}

/// A number of bands that does not depend on threshold and recall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedBands {
    /// Bands of a sketch.
    pub n_bands: usize,
    /// Slots of a band.
    pub rows_per_band: usize,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 3] = [Self::Web, Self::Standard, Self::Loose];

    /// Its name in config files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Standard => "standard",
            Self::Loose => "loose",
        }
    }

    /// What it sets.
    pub fn values(self) -> PresetValues {
        let (threshold, ngram, n_bands, rows_per_band) = match self {
            Self::Web => (0.8, 5, 20, 12),
            Self::Standard => (0.8, 5, 16, 8),
            Self::Loose => (0.5, 2, 50, 4),
        };
        PresetValues { threshold, ngram, bands: FixedBands { n_bands, rows_per_band } }
    }
}

/// How candidates are found, once presets and defaults are filled in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Candidates {
    /// By bands that find so large a share of the pairs at the threshold.
    Recall(f64),
    /// By these bands.
    Bands(FixedBands),
}

impl DeduplicateConfig {
    /// The threshold in effect: the one given, else the preset's, else 0.8.
    pub fn threshold_in_effect(&self) -> f64 {
        let of_preset = self.preset.map(|preset| preset.values().threshold);
        self.threshold.or(of_preset).unwrap_or(DEFAULT_THRESHOLD)
    }

    /// The tokens of a shingle in effect: those given, else the preset's, else 5.
    pub fn ngram_in_effect(&self) -> usize {
        self.ngram.or(self.preset.map(|preset| preset.values().ngram)).unwrap_or(DEFAULT_NGRAM)
    }

    /// How candidates are found: by the recall given, else by the preset's bands, else by a recall of 0.99.
    pub fn candidates_in_effect(&self) -> Candidates {
        match (self.recall, self.preset) {
            (Some(recall), _) => Candidates::Recall(recall),
            (None, Some(preset)) => Candidates::Bands(preset.values().bands),
            (None, None) => Candidates::Recall(DEFAULT_RECALL),
        }
    }

    /// The same settings with every value in effect written out. The recall stays open where a preset's bands are used.
    #[must_use]
    pub fn resolved(&self) -> Self {
        Self {
            threshold: Some(self.threshold_in_effect()),
            ngram: Some(self.ngram_in_effect()),
            recall: match self.candidates_in_effect() {
                Candidates::Recall(recall) => Some(recall),
                Candidates::Bands(_) => None,
            },
            ..self.clone()
        }
    }
}

impl Config {
    /// The same config with what presets and defaults stand for written out: what a run does, and what its manifest says.
    #[must_use]
    pub fn resolved(&self) -> Self {
        Self { deduplicate: self.deduplicate.as_ref().map(DeduplicateConfig::resolved), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_goes_before_the_preset() {
        let bands = |n_bands, rows_per_band| Candidates::Bands(FixedBands { n_bands, rows_per_band });
        let check = |config: &DeduplicateConfig, threshold: f64, ngram: usize, candidates: Candidates| {
            let resolved = config.resolved();
            assert_eq!((resolved.threshold, resolved.ngram), (Some(threshold), Some(ngram)), "{config:?}");
            assert_eq!(config.candidates_in_effect(), candidates, "{config:?}");
            assert_eq!(resolved.candidates_in_effect(), candidates, "{config:?}: resolved settings mean the same");
            assert_eq!(resolved.resolved(), resolved);
        };
        let none = DeduplicateConfig::default();
        let loose = DeduplicateConfig { preset: Some(Preset::Loose), ..none.clone() };
        check(&none, 0.8, 5, Candidates::Recall(0.99));
        check(&DeduplicateConfig { preset: Some(Preset::Web), ..none.clone() }, 0.8, 5, bands(20, 12));
        check(&DeduplicateConfig { preset: Some(Preset::Standard), ..none.clone() }, 0.8, 5, bands(16, 8));
        check(&loose, 0.5, 2, bands(50, 4));
        check(&DeduplicateConfig { threshold: Some(0.6), ..loose.clone() }, 0.6, 2, bands(50, 4));
        check(&DeduplicateConfig { ngram: Some(3), ..loose.clone() }, 0.5, 3, bands(50, 4));
        check(&DeduplicateConfig { recall: Some(0.999), ..loose }, 0.5, 2, Candidates::Recall(0.999));
    }

    #[test]
    fn presets_fit_into_a_sketch_and_have_their_names() {
        for preset in Preset::ALL {
            let FixedBands { n_bands, rows_per_band } = preset.values().bands;
            assert!(n_bands * rows_per_band <= 256);
            assert_eq!(serde_json::to_value(preset).unwrap(), preset.name());
        }
    }
}
