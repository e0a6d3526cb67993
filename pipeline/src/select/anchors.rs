//! Labelled rows of each class, and which rows of the pool are near to them.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float16Type};
use half::f16;
use serde::{Deserialize, Serialize};
use tamis_schemas::columns;

use super::scores::{list_items, list_length};
use crate::points::dot;
use crate::{Error, Result};

/// Labelled rows of a class that stand for it, at most.
pub(crate) const MAX_ANCHORS: usize = 10;

/// Embeddings of labelled rows, class by class.
///
/// # Source
/// Lesci, Vlachos: `AnchorAL`, NAACL 2024; Coleman et al.: Similarity Search for Efficient Active Learning and Search of Rare Concepts (SEALS), AAAI 2022.
/// Where we differ: a class's anchors are the first ones given, and every row of the pool is compared with them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Anchors {
    dimensions: usize,
    #[serde(with = "bits")]
    of_class: Vec<(String, Vec<f32>)>,
}

/// Numbers by their bits: JSON has none that are not finite, as a component of half precision can be.
mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ptr_arg, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(of_class: &Vec<(String, Vec<f32>)>, to: S) -> Result<S::Ok, S::Error> {
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect();
        let of_class: Vec<(&str, Vec<u32>)> = of_class.iter().map(|(name, values)| (&**name, bits(values))).collect();
        of_class.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, Vec<f32>)>, D::Error> {
        let of_class = Vec::<(String, Vec<u32>)>::deserialize(from)?;
        let values = |bits: Vec<u32>| bits.into_iter().map(f32::from_bits).collect();
        Ok(of_class.into_iter().map(|(name, bits)| (name, values(bits))).collect())
    }
}

/// The embeddings of a scored batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Embeddings<'a> {
    values: &'a [f16],
    dimensions: usize,
}

impl<'a> Embeddings<'a> {
    /// # Errors
    /// `Error::Column` if the scorer makes none.
    pub(crate) fn of(scored: &'a RecordBatch) -> Result<Self> {
        let dimensions = scored.column_by_name(columns::EMBEDDING).map_or(0, list_length);
        if dimensions == 0 {
            return Err(Error::Column { message: "the scorer makes no embeddings".into(), hint: None });
        }
        let values = list_items(scored, columns::EMBEDDING, dimensions, &DataType::Float16)?;
        Ok(Self { values: values.as_primitive::<Float16Type>().values(), dimensions })
    }

    /// That of a row.
    pub(crate) fn get(&self, row: usize) -> &'a [f16] {
        &self.values[row * self.dimensions..][..self.dimensions]
    }
}

impl Anchors {
    /// Takes up to 10 embeddings for each label, in the order given.
    pub(crate) fn new<'a>(labelled: impl Iterator<Item = (&'a str, &'a [f16])>) -> Self {
        let mut anchors = Self::default();
        for (label, embedding) in labelled {
            anchors.dimensions = embedding.len();
            let found = anchors.of_class.binary_search_by(|(name, _)| name.as_str().cmp(label));
            let place = found.unwrap_or_else(|place| {
                anchors.of_class.insert(place, (label.to_owned(), Vec::new()));
                place
            });
            let values = &mut anchors.of_class[place].1;
            if values.len() < MAX_ANCHORS * embedding.len() {
                values.extend(embedding.iter().map(|x| x.to_f32()));
            }
        }
        anchors
    }

    /// Number of classes.
    pub(super) fn n_classes(&self) -> usize {
        self.of_class.len()
    }

    /// For each class the largest inner product of a row's embedding and an anchor's.
    pub(super) fn similarities(&self, embedding: &[f16]) -> impl Iterator<Item = f32> {
        let embedding: Vec<f32> = embedding.iter().map(|x| x.to_f32()).collect();
        self.of_class.iter().map(move |(_, anchors)| {
            let each = anchors.chunks_exact(self.dimensions.max(1)).map(|anchor| dot(anchor, &embedding));
            each.fold(f32::NEG_INFINITY, f32::max)
        })
    }
}
