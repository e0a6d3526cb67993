//! Acquisition functions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Acquisition functions.
///
/// *Unsure* is what a model that labels have taught is; without labels of two classes there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// `typiclust` without labels; with labels `uherding`, or `cluster-margin` for a batch of more than 1,000 rows.
    #[default]
    Auto,
    /// Every row alike.
    Random,
    /// The smallest probability of the likeliest class first.
    LeastConfidence,
    /// The smallest distance between the two likeliest classes first.
    Margin,
    /// The largest entropy of the probabilities first.
    Entropy,
    /// What a committee, each member of which has learnt from other draws of the labels, disagrees on most: the entropy of the mean
    /// probabilities less the mean of the members' entropies.
    Bald,
    /// The largest entropy of the committee's votes first.
    VoteEntropy,
    /// The smallest margin that any member of the committee has first.
    MinMargin,
    /// The smallest margins, spread over clusters.
    ClusterMargin,
    /// The most typical row of each part of the pool, parts with few labels and many rows first. Needs no labels.
    Typiclust,
    /// The row that the most rows are close to, of those that none chosen before is close to. Needs no labels.
    Probcover,
    /// The row that is farthest from all that are labelled or chosen. Needs no labels.
    KCenter,
    /// The row nearest to the middle of each of as many clusters as rows are wanted. Needs no labels.
    KMeans,
    /// Rows that together are as similar as can be to all rows. Needs no labels.
    FacilityLocation,
    /// The same, each choice from a sample of the rows. Needs no labels.
    StochasticFacilityLocation,
    /// Rows around which the model is unsure and which none chosen before stands for; without labels, coverage alone.
    Uherding,
    /// Rows whose labels would change the model much, and each in a way of its own.
    Badge,
    /// The smallest margins among the rows that are near to labelled ones, each class having its share: for rare classes.
    Anchor,
    /// Rows, labelled ones too, of which annotators and model together are least sure: labels are asked for again where that tells more than a
    /// new one.
    Activelab,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Auto,
        Self::Random,
        Self::LeastConfidence,
        Self::Margin,
        Self::Entropy,
        Self::Bald,
        Self::VoteEntropy,
        Self::MinMargin,
        Self::ClusterMargin,
        Self::Typiclust,
        Self::Probcover,
        Self::KCenter,
        Self::KMeans,
        Self::FacilityLocation,
        Self::StochasticFacilityLocation,
        Self::Uherding,
        Self::Badge,
        Self::Anchor,
        Self::Activelab,
    ];

    /// Name in config and manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Random => "random",
            Self::LeastConfidence => "least-confidence",
            Self::Margin => "margin",
            Self::Entropy => "entropy",
            Self::Bald => "bald",
            Self::VoteEntropy => "vote-entropy",
            Self::MinMargin => "min-margin",
            Self::ClusterMargin => "cluster-margin",
            Self::Typiclust => "typiclust",
            Self::Probcover => "probcover",
            Self::KCenter => "k-center",
            Self::KMeans => "k-means",
            Self::FacilityLocation => "facility-location",
            Self::StochasticFacilityLocation => "stochastic-facility-location",
            Self::Uherding => "uherding",
            Self::Badge => "badge",
            Self::Anchor => "anchor",
            Self::Activelab => "activelab",
        }
    }

    /// Whether it asks a model that tells classes apart.
    pub fn needs_classes(self) -> bool {
        match self {
            Self::LeastConfidence
            | Self::Margin
            | Self::Entropy
            | Self::Bald
            | Self::VoteEntropy
            | Self::MinMargin
            | Self::ClusterMargin
            | Self::Badge
            | Self::Anchor
            | Self::Activelab => true,
            Self::Auto
            | Self::Random
            | Self::Typiclust
            | Self::Probcover
            | Self::KCenter
            | Self::KMeans
            | Self::FacilityLocation
            | Self::StochasticFacilityLocation
            | Self::Uherding => false,
        }
    }

    /// Whether it asks a committee.
    pub fn asks_committee(self) -> bool {
        matches!(self, Self::Bald | Self::VoteEntropy | Self::MinMargin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_config() {
        for strategy in Strategy::ALL {
            assert_eq!(serde_json::to_value(strategy).unwrap(), strategy.name());
        }
    }
}
