//! Which files the user means, in which format they are.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use url::Url;

use super::InputFile;
use super::fetch::StoredFile;
use super::format::{Compression, Format, SUPPORTED, SourceOptions, of_name};
use crate::context::Context;
use crate::store::{Stores, is_url, normalized, unreadable};
use crate::{Error, Result};

/// Name of standard input, as argument and in ids.
const STDIN: &str = "-";
/// Bytes that tell the format of a file without a known extension.
const SNIFF_BYTES: u64 = 64 << 10;
/// A glob matches within one folder level unless it says `**`, and hidden names only when it spells the dot.
const GLOB_OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The files of the inputs.
pub(super) struct Found {
    pub(super) files: Vec<InputFile>,
    pub(super) stored: Vec<Arc<StoredFile>>,
    pub(super) skipped: Vec<String>,
}

/// A file before its format is known.
struct Candidate {
    name: String,
    url: String,
    store: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
    /// Named by the user or a glob, not found in a folder.
    is_named: bool,
}

/// Finds the files that `arguments` stand for, sorted by name, each once.
pub(super) fn discover(
    arguments: &[String],
    options: &SourceOptions,
    stores: &Stores,
    context: &Context,
) -> Result<Found> {
    let mut search = Search { options, stores, context, found: BTreeMap::new() };
    for argument in arguments {
        match argument.as_str() {
            STDIN => search.add_stream(STDIN.into(), STDIN.into(), || Ok(std::io::stdin().lock()))?,
            url if is_url(url) && !url.starts_with("file:") => search.add_url(url)?,
            url if is_url(url) => search.add_local(&local_path_of(url)?)?,
            path => search.add_local(path)?,
        }
    }
    let mut candidates: Vec<Candidate> = search.found.into_values().collect();
    candidates.sort_by(|left, right| left.name.cmp(&right.name));
    let mut found = Found { files: Vec::new(), stored: Vec::new(), skipped: Vec::new() };
    for candidate in candidates {
        let stored = candidate.stored(context);
        let (by_name, compression) = of_name(&candidate.name);
        let format = match options.format.or(by_name) {
            Some(format) => format,
            None if candidate.is_named => sniff(&stored)?,
            None => {
                found.skipped.push(candidate.name);
                continue;
            }
        };
        if compression.is_some() && !format.is_text() {
            return Err(Error::Config {
                message: format!("`{}` is {} and compressed as a whole", candidate.name, format.name()),
                hint: Some("decompress it: the format compresses by itself".into()),
            });
        }
        found.files.push(candidate.into_file(format, compression));
        found.stored.push(Arc::new(stored));
    }
    if found.files.is_empty() {
        return Err(Error::NoInput { n_skipped: found.skipped.len(), supported: SUPPORTED.into() });
    }
    Ok(found)
}

impl Candidate {
    fn stored(&self, context: &Context) -> StoredFile {
        StoredFile {
            store: self.store.clone(),
            path: self.meta.location.clone(),
            location: self.name.clone(),
            offset: 0,
            size_bytes: self.meta.size,
            e_tag: self.meta.e_tag.clone(),
            handle: context.runtime.handle().clone(),
        }
    }

    fn into_file(self, format: Format, compression: Option<Compression>) -> InputFile {
        InputFile {
            name: self.name,
            url: self.url,
            size_bytes: self.meta.size,
            e_tag: self.meta.e_tag,
            version: self.meta.version,
            format,
            compression,
        }
    }
}

struct Search<'a> {
    options: &'a SourceOptions,
    stores: &'a Stores,
    context: &'a Context,
    /// By URL: a file given twice is one file, under the lesser of its names.
    found: BTreeMap<String, Candidate>,
}

impl Search<'_> {
    fn add(&mut self, candidate: Candidate) {
        match self.found.get_mut(&candidate.url) {
            None => {
                self.found.insert(candidate.url.clone(), candidate);
            }
            Some(known) => {
                known.is_named |= candidate.is_named;
                if candidate.name < known.name {
                    known.name = candidate.name;
                }
            }
        }
    }

    fn add_local(&mut self, argument: &str) -> Result<()> {
        let path = FilePath::new(argument);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.add_folder(path),
            Ok(_) => self.add_file(path, true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && has_glob(argument) => self.add_glob(argument),
            Err(error) => Err(unreadable_path(path, error)),
        }
    }

    fn add_glob(&mut self, argument: &str) -> Result<()> {
        let paths = glob::glob_with(argument, GLOB_OPTIONS)
            .map_err(|error| Error::config(format!("`{argument}` is not a glob: {error}")))?;
        let mut is_empty = true;
        for path in paths {
            let path = path.map_err(|error| {
                let location = error.path().display().to_string();
                Error::Unreadable { location, source: Box::new(error) }
            })?;
            is_empty = false;
            if path.is_dir() { self.add_folder(&path)? } else { self.add_file(&path, true)? }
        }
        if is_empty { Err(no_match(argument)) } else { Ok(()) }
    }

    /// Adds the files in a folder and below.
    fn add_folder(&mut self, folder: &FilePath) -> Result<()> {
        // Links may lead back up: a folder that is being listed is not listed again.
        let mut pending = vec![(folder.to_path_buf(), Vec::<PathBuf>::new())];
        while let Some((folder, mut parents)) = pending.pop() {
            let in_folder = |error| unreadable_path(&folder, error);
            let canonical = fs::canonicalize(&folder).map_err(in_folder)?;
            if parents.contains(&canonical) {
                continue;
            }
            parents.push(canonical);
            for entry in fs::read_dir(&folder).map_err(in_folder)? {
                let entry = entry.map_err(in_folder)?;
                let name = entry.file_name();
                if is_hidden(&name.to_string_lossy()) {
                    continue;
                }
                let path = folder.join(&name);
                let metadata = fs::metadata(&path).map_err(|error| unreadable_path(&path, error))?;
                if metadata.is_dir() {
                    pending.push((path, parents.clone()));
                } else {
                    self.add_file(&path, false)?;
                }
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: &FilePath, is_named: bool) -> Result<()> {
        let Some(name) = normalized(path).to_str().map(str::to_owned) else {
            let source = "its name is not UTF-8".into();
            return Err(Error::Unreadable { location: path.display().to_string(), source });
        };
        let absolute = std::path::absolute(path).map_err(|error| unreadable_path(path, error))?;
        let url = Url::from_file_path(normalized(&absolute)).map_or_else(|()| name.clone(), String::from);
        // Pipes and devices: `<(zcat a.gz)` of a shell is one. In a folder they are nobody's input, and may never end.
        if !fs::metadata(path).map_err(|error| unreadable_path(path, error))?.is_file() {
            if is_named {
                return self.add_stream(name, url, || fs::File::open(path));
            }
            return Err(Error::Unreadable { location: name, source: "it is neither a file nor a folder".into() });
        }
        let (store, location) = self.stores.resolve(&name)?;
        let meta = self.context.runtime.block_on(store.head(&location)).map_err(|error| unreadable(&name, &error))?;
        self.add(Candidate { name, url, store, meta, is_named });
        Ok(())
    }

    fn add_url(&mut self, argument: &str) -> Result<()> {
        let is_web = argument.starts_with("http://") || argument.starts_with("https://");
        if !is_web && has_glob(argument) {
            return self.add_url_glob(argument);
        }
        let (store, path) = self.stores.resolve(argument)?;
        if !argument.ends_with('/') && !path.is_root() {
            match self.context.runtime.block_on(store.head(&path)) {
                Ok(meta) => {
                    let (name, url) = (argument.to_owned(), argument.to_owned());
                    self.add(Candidate { name, url, store, meta, is_named: true });
                    return Ok(());
                }
                Err(object_store::Error::NotFound { .. }) if !is_web => {}
                Err(error) => return Err(unreadable(argument, &error)),
            }
        }
        let folder = argument.trim_end_matches('/');
        let mut is_empty = true;
        for (relative, meta) in self.list(argument, &store, &path)? {
            is_empty = false;
            if !relative.split('/').any(is_hidden) {
                self.add_object(folder, &relative, &store, meta, false);
            }
        }
        if is_empty {
            let source = "there is no such file or folder".into();
            return Err(Error::Unreadable { location: argument.to_owned(), source });
        }
        Ok(())
    }

    fn add_url_glob(&mut self, argument: &str) -> Result<()> {
        let glob_start = argument.find(GLOB_CHARACTERS).unwrap_or(argument.len());
        let folder_end = argument[..glob_start].rfind('/').unwrap_or(0);
        let (folder, pattern) = (&argument[..folder_end], &argument[folder_end + 1..]);
        let pattern =
            Pattern::new(pattern).map_err(|error| Error::config(format!("`{argument}` is not a glob: {error}")))?;
        let (store, path) = self.stores.resolve(folder)?;
        let mut is_empty = true;
        for (relative, meta) in self.list(argument, &store, &path)? {
            if pattern.matches_with(&relative, GLOB_OPTIONS) {
                is_empty = false;
                self.add_object(folder, &relative, &store, meta, true);
            }
        }
        if is_empty { Err(no_match(argument)) } else { Ok(()) }
    }

    /// The objects below a prefix, by what their path has beyond it.
    fn list(&self, argument: &str, store: &Arc<dyn ObjectStore>, prefix: &Path) -> Result<Vec<(String, ObjectMeta)>> {
        let listed: Vec<ObjectMeta> = self
            .context
            .runtime
            .block_on(store.list(Some(prefix)).try_collect())
            .map_err(|error| unreadable(argument, &error))?;
        let below = |meta: ObjectMeta| {
            let relative = meta.location.as_ref().strip_prefix(prefix.as_ref())?.trim_start_matches('/').to_owned();
            (!relative.is_empty()).then_some((relative, meta))
        };
        Ok(listed.into_iter().filter_map(below).collect())
    }

    fn add_object(
        &mut self,
        folder: &str,
        relative: &str,
        store: &Arc<dyn ObjectStore>,
        meta: ObjectMeta,
        is_named: bool,
    ) {
        let name = format!("{folder}/{relative}");
        self.add(Candidate { url: name.clone(), name, store: store.clone(), meta, is_named });
    }

    /// Adds what can be read only once: standard input, a pipe.
    fn add_stream<R: Read>(
        &mut self,
        name: String,
        url: String,
        open: impl FnOnce() -> std::io::Result<R>,
    ) -> Result<()> {
        if !self.found.contains_key(&url) {
            let input = open().map_err(|error| unreadable_path(FilePath::new(&name), error))?;
            let candidate = self.spool(input, name, url)?;
            self.add(candidate);
        }
        Ok(())
    }

    /// Copies a stream to a temporary file: every pass reads it again. Plain text is compressed on the way.
    fn spool(&self, mut input: impl Read, name: String, url: String) -> Result<Candidate> {
        let unusable = |error| unreadable_path(FilePath::new(&name), error);
        let mut head = Vec::new();
        input.by_ref().take(SNIFF_BYTES).read_to_end(&mut head).map_err(unusable)?;
        let format = self.options.format.or_else(|| Format::of_bytes(&head));
        let is_plain_text = format.is_some_and(Format::is_text) && Compression::of_bytes(&head).is_none();
        let path = self.context.spill.new_path();
        let in_spill = |error| self.context.spill.error(error);
        let mut input = head.as_slice().chain(input);
        let mut file = fs::File::create(&path).map_err(in_spill)?;
        if is_plain_text && !head.is_empty() {
            let mut encoder = zstd::Encoder::new(file, 1).map_err(in_spill)?;
            std::io::copy(&mut input, &mut encoder).map_err(unusable)?;
            encoder.finish().map_err(in_spill)?;
        } else {
            std::io::copy(&mut input, &mut file).map_err(unusable)?;
        }
        let (store, location) = self.stores.resolve(&path.to_string_lossy())?;
        let meta = self.context.runtime.block_on(store.head(&location)).map_err(|error| unreadable(&name, &error))?;
        Ok(Candidate { name, url, store, meta, is_named: true })
    }
}

/// Whether a file is what lies at its URL, and not a copy of a stream.
pub(super) fn is_of_url(file: &InputFile, stored: &StoredFile, stores: &Stores) -> Result<bool> {
    Ok(file.url != STDIN && stores.resolve(&file.url)?.1 == stored.path)
}

const GLOB_CHARACTERS: [char; 3] = ['*', '?', '['];

fn has_glob(argument: &str) -> bool {
    argument.contains(GLOB_CHARACTERS)
}

fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

fn local_path_of(url: &str) -> Result<String> {
    let path = crate::store::parse_url(url)?.to_file_path();
    let path = path.ok().and_then(|path| path.to_str().map(str::to_owned));
    path.ok_or_else(|| Error::config(format!("`{url}` is not the URL of a local file")))
}

fn no_match(argument: &str) -> Error {
    Error::Unreadable { location: argument.to_owned(), source: "no file matches".into() }
}

fn unreadable_path(path: &FilePath, error: std::io::Error) -> Error {
    Error::Unreadable { location: path.display().to_string(), source: Box::new(error) }
}

/// The format of a file by its first bytes.
fn sniff(file: &StoredFile) -> Result<Format> {
    let head = file.read(0..file.size_bytes.min(SNIFF_BYTES))?;
    if head.is_empty() {
        // No rows, whatever the format.
        return Ok(Format::Text);
    }
    let mut plain = Vec::new();
    let limit = SNIFF_BYTES;
    // The head may end in the middle of the compressed stream: what comes before the error is enough.
    let decompressed = match Compression::of_bytes(&head) {
        None => None,
        Some(Compression::Gzip) => flate2::bufread::GzDecoder::new(&*head).take(limit).read_to_end(&mut plain).err(),
        Some(Compression::Zstd) => {
            zstd::Decoder::with_buffer(&*head).and_then(|decoder| decoder.take(limit).read_to_end(&mut plain)).err()
        }
    };
    let is_plain = Compression::of_bytes(&head).is_none();
    let bytes = if is_plain { &*head } else { &*plain };
    let format = Format::of_bytes(bytes).filter(|format| is_plain || format.is_text());
    format.ok_or_else(|| Error::Config {
        message: match decompressed {
            Some(error) if plain.is_empty() => format!("the format of `{}` is not known: {error}", file.location),
            _ => format!("the format of `{}` is not known", file.location),
        },
        hint: Some(format!("name it with --input-format (input.format); supported are {SUPPORTED}")),
    })
}

#[cfg(test)]
mod tests;
