//! For tests: a store that does not do what it is asked.

use std::sync::Mutex;

use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What becomes of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is done, and the answer is lost.
    AnswerLost,
    /// It is not done, and is said to be refused.
    Conflict,
    /// It is not done.
    Down,
}

/// A store in memory that ignores one kind of condition, and whose next puts go wrong.
#[derive(Debug)]
pub(crate) struct Careless {
    store: InMemory,
    ignores: fn(&PutMode) -> bool,
    faults: Mutex<Vec<Fault>>,
}

impl Careless {
    pub(crate) fn new(ignores: fn(&PutMode) -> bool) -> Self {
        Self { store: InMemory::new(), ignores, faults: Mutex::default() }
    }

    /// What becomes of the next puts, the last one first.
    pub(crate) fn fail(&self, faults: &[Fault]) {
        *self.faults.lock().unwrap() = faults.to_vec();
    }
}

impl std::fmt::Display for Careless {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.store.fmt(formatter)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Careless {
    async fn put_opts(&self, path: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if (self.ignores)(&options.mode) {
            options.mode = PutMode::Overwrite;
        }
        let fault = self.faults.lock().unwrap().pop();
        let broken = || object_store::Error::Generic { store: "careless", source: "connection reset".into() };
        match fault {
            Some(Fault::Down) => Err(broken()),
            Some(Fault::Conflict) => {
                Err(object_store::Error::AlreadyExists { path: path.to_string(), source: "409".into() })
            }
            Some(Fault::AnswerLost) => self.store.put_opts(path, payload, options).await.and(Err(broken())),
            None => self.store.put_opts(path, payload, options).await,
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
