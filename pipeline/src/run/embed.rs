//! Embeddings of the rows that stay, out of the cache where it has them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, FixedSizeListArray, Float16Array, Float32Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use half::f16;
use tamis_schemas::columns;
use tamis_schemas::config::EmbeddingType;
use tamis_schemas::manifest::EmbeddingRecord;
use tamis_schemas::tables::embeddings_schema;

use super::Run;
use super::ids::{column, ids_of};
use super::plan::EmbedPlan;
use crate::context::Context;
use crate::score::cache::{Added, CachedEncoder, EmbeddingCache, Found, Stored};
use crate::score::device::resolve;
use crate::score::encoder::Encoder;
use crate::store::Stores;
use crate::{Error, Result};

/// An encoder, and what earlier runs have embedded with it.
#[derive(Debug)]
pub(super) struct Embedder {
    encoder: CachedEncoder,
    item: EmbeddingType,
    schema: SchemaRef,
    record: EmbeddingRecord,
}

/// # Errors
/// `Error::Config` if the output has embeddings of another encoder: `earlier` is the fingerprint of that.
pub(super) fn check_encoder(model: &str, fingerprint: &str, earlier: Option<&str>) -> Result<()> {
    match earlier.filter(|earlier| *earlier != fingerprint) {
        None => Ok(()),
        Some(earlier) => Err(Error::Config {
            message: format!(
                "the output has embeddings of another encoder: its fingerprint is {earlier}, that of `{model}` is {fingerprint}"
            ),
            hint: Some("use the same model and settings, or write to a new output".into()),
        }),
    }
}

/// Embeddings of a batch.
#[derive(Debug)]
pub(super) struct EmbeddedRows {
    pub(super) table: RecordBatch,
    n_truncated: u64,
    n_cached: u64,
    /// For the cache.
    fresh: Vec<(u128, Stored)>,
}

impl Embedder {
    /// What a plan describes; `None` if there is none.
    ///
    /// # Errors
    /// `Error::Config` if the output has embeddings of another encoder than the plan's: `earlier` is the fingerprint of that.
    pub(super) fn open(
        run: Run<'_>,
        plan: Option<&EmbedPlan>,
        earlier: Option<&str>,
        stores: &Stores,
    ) -> Result<Option<Self>> {
        let Some(plan) = plan else { return Ok(None) };
        run.begin("opening the encoder");
        let device = resolve(plan.device)?;
        let encoder = Encoder::open(&plan.model, &plan.options, &device, stores, run.context)?;
        check_encoder(&plan.model, encoder.fingerprint(), earlier)?;
        let dimensions = encoder.dimensions();
        let record = EmbeddingRecord {
            fingerprint: encoder.fingerprint().to_owned(),
            dimensions: dimensions as u64,
            device: device.description,
            device_note: device.fallback_reason,
            ..EmbeddingRecord::default()
        };
        let schema = embeddings_schema(plan.embedding_type, dimensions);
        let cache = plan.cache.as_deref();
        let encoder = CachedEncoder::open(encoder, cache, plan.embedding_type, stores, run.context)?;
        Ok(Some(Self { encoder, item: plan.embedding_type, schema, record }))
    }

    /// Hash of the encoder.
    pub(super) fn fingerprint(&self) -> &str {
        self.encoder.encoder().fingerprint()
    }

    /// Schema of the table.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Components of an embedding.
    pub(super) fn dimensions(&self) -> usize {
        self.encoder.encoder().dimensions()
    }

    /// Whether the encoder knows any of the words of `text`.
    pub(super) fn knows(&self, text: &str) -> Result<bool> {
        self.encoder.encoder().knows(text)
    }

    /// Embeds the texts of `batch`.
    pub(super) fn embed(&self, batch: &RecordBatch, context: &Context) -> Result<EmbeddedRows> {
        let texts = column(batch, columns::TEXT)?.as_string::<i32>();
        let texts: Vec<&str> = texts.iter().map(Option::unwrap_or_default).collect();
        let Found { embedded, n_cached, fresh } = self.encoder.embed(&texts, context)?;
        let n_truncated = embedded.n_truncated;
        Ok(EmbeddedRows { table: self.table(batch, embedded.vectors)?, n_truncated, n_cached, fresh })
    }

    /// The rows of the table.
    fn table(&self, batch: &RecordBatch, vectors: Vec<f32>) -> Result<RecordBatch> {
        let values: ArrayRef = match self.item {
            EmbeddingType::F16 => Arc::new(Float16Array::from_iter_values(vectors.into_iter().map(f16::from_f32))),
            EmbeddingType::F32 => Arc::new(Float32Array::from(vectors)),
        };
        let DataType::FixedSizeList(field, length) = self.schema.field(1).data_type() else {
            return Err(Error::Invariant("an embedding is a list".into()));
        };
        let list = FixedSizeListArray::try_new(Arc::clone(field), *length, values, None)?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), vec![Arc::new(ids_of(batch)?.clone()), Arc::new(list)])?)
    }
}

/// Counts what was embedded, and adds it to the cache.
#[derive(Debug)]
pub(super) struct EmbeddingTally<'a> {
    embedder: &'a Embedder,
    record: EmbeddingRecord,
    added: Added,
}

impl<'a> EmbeddingTally<'a> {
    pub(super) fn new(embedder: &'a Embedder, context: &Context) -> Self {
        Self { embedder, record: embedder.record.clone(), added: EmbeddingCache::adding(context) }
    }

    /// Takes the embeddings of a batch.
    pub(super) fn observe(&mut self, rows: EmbeddedRows) -> Result<()> {
        self.record.rows += rows.table.num_rows() as u64;
        self.record.truncated_rows += rows.n_truncated;
        self.record.cached_rows += rows.n_cached;
        self.embedder.encoder.add(&mut self.added, rows.fresh)
    }

    /// Writes what is left for the cache.
    pub(super) fn finish(mut self) -> Result<EmbeddingRecord> {
        self.embedder.encoder.flush(&mut self.added)?;
        Ok(self.record)
    }
}
