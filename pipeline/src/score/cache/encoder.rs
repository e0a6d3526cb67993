//! An encoder that asks the cache first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tamis_schemas::config::EmbeddingType;

use super::{Added, EmbeddingCache, Stored};
use crate::Result;
use crate::context::Context;
use crate::score::encoder::{Embedded, Encoder};
use crate::store::Stores;

/// An encoder, and what earlier runs have embedded with it.
#[derive(Debug)]
pub(crate) struct CachedEncoder {
    encoder: Encoder,
    cache: Option<EmbeddingCache>,
}

/// Embeddings of some texts.
#[derive(Debug)]
pub(crate) struct Found {
    /// Tokens are counted of those that the cache did not have.
    pub(crate) embedded: Embedded,
    /// Texts that the cache had.
    pub(crate) n_cached: u64,
    /// For the cache.
    pub(crate) fresh: Vec<(u128, Stored)>,
}

impl CachedEncoder {
    /// With the cache at a URL, for embeddings of a type; there need not be one.
    pub(crate) fn open(
        encoder: Encoder,
        cache: Option<&str>,
        item: EmbeddingType,
        stores: &Stores,
        context: &Context,
    ) -> Result<Self> {
        let open = |url| EmbeddingCache::open(url, encoder.fingerprint(), item, encoder.dimensions(), stores, context);
        Ok(Self { cache: cache.map(open).transpose()?, encoder })
    }

    /// The encoder.
    pub(crate) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Embeds what the cache does not have, equal texts once.
    pub(crate) fn embed(&self, texts: &[&str], context: &Context) -> Result<Found> {
        let Some(cache) = &self.cache else {
            return Ok(Found { embedded: self.encoder.embed(texts, context)?, n_cached: 0, fresh: Vec::new() });
        };
        let keys: Vec<u128> = texts.iter().map(|text| EmbeddingCache::key(text)).collect();
        let found = context.pool.install(|| cache.find(&keys));
        let (mut missing, mut places) = (Vec::new(), HashMap::new());
        for ((text, key), _) in texts.iter().zip(&keys).zip(&found).filter(|(_, found)| found.is_none()) {
            places.entry(*key).or_insert_with(|| {
                missing.push((*key, *text));
                missing.len() - 1
            });
        }
        let missing_texts: Vec<&str> = missing.iter().map(|(_, text)| *text).collect();
        let computed = self.encoder.embed(&missing_texts, context)?;
        let of_missing = computed.vectors.chunks_exact(self.encoder.dimensions()).zip(&computed.is_truncated);
        let fresh: Vec<Stored> =
            of_missing.map(|(vector, &is_truncated)| Stored { vector: vector.to_vec(), is_truncated }).collect();
        let mut embedded = Embedded { n_tokens: computed.n_tokens, ..Embedded::default() };
        for (found, key) in found.iter().zip(&keys) {
            let stored = found.as_ref().unwrap_or_else(|| &fresh[places[key]]);
            embedded.vectors.extend_from_slice(&stored.vector);
            embedded.is_truncated.push(stored.is_truncated);
            embedded.n_truncated += u64::from(stored.is_truncated);
        }
        let n_cached = found.iter().flatten().count() as u64;
        Ok(Found { embedded, n_cached, fresh: missing.iter().map(|(key, _)| *key).zip(fresh).collect() })
    }

    /// Adds embeddings to the cache, if there is one.
    pub(crate) fn add(&self, added: &mut Added, fresh: Vec<(u128, Stored)>) -> Result<()> {
        self.cache.as_ref().map_or(Ok(()), |cache| cache.add(added, fresh))
    }

    /// Writes what is left for the cache.
    pub(crate) fn flush(&self, added: &mut Added) -> Result<()> {
        self.cache.as_ref().map_or(Ok(()), |cache| cache.flush(added))
    }
}

/// An encoder with a cache, shared by several threads, which adds what they embed.
#[derive(Debug, Clone)]
pub struct SharedEncoder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    encoder: CachedEncoder,
    added: Mutex<Added>,
    n_cached: AtomicU64,
}

impl SharedEncoder {
    /// With the cache at a URL. It holds single precision: what is computed from embeddings is the same with and without one.
    pub(crate) fn open(encoder: Encoder, cache: Option<&str>, stores: &Stores, context: &Context) -> Result<Self> {
        let encoder = CachedEncoder::open(encoder, cache, EmbeddingType::F32, stores, context)?;
        let added = Mutex::new(EmbeddingCache::adding(context));
        Ok(Self(Arc::new(Shared { encoder, added, n_cached: AtomicU64::new(0) })))
    }

    /// The encoder.
    pub(crate) fn encoder(&self) -> &Encoder {
        self.0.encoder.encoder()
    }

    /// Embeds texts.
    pub(crate) fn embed(&self, texts: &[&str], context: &Context) -> Result<Embedded> {
        let Found { embedded, n_cached, fresh } = self.0.encoder.embed(texts, context)?;
        self.0.n_cached.fetch_add(n_cached, Ordering::Relaxed);
        if !fresh.is_empty() {
            let mut added = self.0.added.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.encoder.add(&mut added, fresh)?;
        }
        Ok(embedded)
    }

    /// Does some work; what it finds in the cache is not counted.
    pub(crate) fn uncounted<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let n_cached = self.0.n_cached.load(Ordering::Relaxed);
        let done = work();
        self.0.n_cached.store(n_cached, Ordering::Relaxed);
        done
    }

    /// Writes what is left for the cache; how many texts it had.
    pub(crate) fn finish(&self) -> Result<u64> {
        self.0.encoder.flush(&mut self.0.added.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(self.0.n_cached.load(Ordering::Relaxed))
    }
}
