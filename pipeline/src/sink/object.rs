//! A file of a table on its way into an object store: parts are sent while the rest is still written.

use std::io::{self, Write};
use std::sync::Arc;

use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt, PutMultipartOptions, WriteMultipart};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

/// Bytes of a part.
const PART_BYTES: usize = 8 << 20;
/// Parts on their way at once.
const PARTS_IN_FLIGHT: usize = 3;

/// A `Write` that ends in an object. Nothing is visible before [`finish`](Self::finish).
pub(crate) struct ObjectWriter {
    upload: WriteMultipart,
    runtime: Handle,
    digest: Sha256,
    bytes: u64,
}

impl ObjectWriter {
    /// Begins an upload in `storage_class`, in the provider's words.
    pub(crate) fn create(
        store: &Arc<dyn ObjectStore>,
        path: &Path,
        storage_class: Option<&str>,
        runtime: &Handle,
    ) -> object_store::Result<Self> {
        let mut attributes = Attributes::new();
        if let Some(class) = storage_class {
            attributes.insert(Attribute::StorageClass, class.to_owned().into());
        }
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let upload = runtime.block_on(store.put_multipart_opts(path, options))?;
        let upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        Ok(Self { upload, runtime: runtime.clone(), digest: Sha256::new(), bytes: 0 })
    }

    /// Ends the upload: the object is there. Returns its size and SHA-256.
    pub(crate) fn finish(self) -> object_store::Result<(u64, String)> {
        self.runtime.block_on(self.upload.finish())?;
        Ok((self.bytes, hex(&self.digest.finalize())))
    }
}

impl Write for ObjectWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.runtime.block_on(self.upload.wait_for_capacity(PARTS_IN_FLIGHT)).map_err(io::Error::other)?;
        let _guard = self.runtime.enter();
        self.upload.write(bytes);
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes a small object at once.
pub(crate) fn put_small(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    bytes: Vec<u8>,
    runtime: &Handle,
) -> object_store::Result<()> {
    runtime.block_on(store.put(path, bytes.into())).map(|_| ())
}
