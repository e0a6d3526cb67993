//! The decompressed bytes of a text file, up to its end or to where it is damaged.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use super::fetch::{RangeReader, store_error};
use super::format::Compression;
use crate::{Error, Result};

/// Largest window of a zstd file, as a power of two: what `zstd --long=27` writes, 128 MiB.
const MAX_WINDOW_LOG: u32 = 27;

/// A text file while it is decompressed.
pub(super) struct TextReader {
    decoder: Decoder,
    location: String,
    damage: Option<String>,
}

enum Decoder {
    Plain(RangeReader),
    Gzip(Box<MultiGzDecoder<RangeReader>>),
    Zstd(zstd::Decoder<'static, RangeReader>),
}

impl TextReader {
    /// Opens a file; `compression` is what its name promises, its first bytes may know better.
    pub(super) fn open(mut reader: RangeReader, location: &str, compression: Option<Compression>) -> Result<Self> {
        let location = location.to_owned();
        let head = reader.fill_buf().map_err(|error| foreign(&location, error))?;
        let compression = match compression {
            _ if head.is_empty() => None,
            None => Compression::of_bytes(head),
            promised => promised,
        };
        let decoder = match compression {
            None => Decoder::Plain(reader),
            Some(Compression::Gzip) => Decoder::Gzip(Box::new(MultiGzDecoder::new(reader))),
            Some(Compression::Zstd) => {
                let decoder = zstd::Decoder::with_buffer(reader).and_then(|mut decoder| {
                    decoder.window_log_max(MAX_WINDOW_LOG)?;
                    Ok(decoder)
                });
                Decoder::Zstd(decoder.map_err(|error| foreign(&location, error))?)
            }
        };
        Ok(Self { decoder, location, damage: None })
    }

    /// Reads a part of a plain file, whatever its first bytes look like.
    pub(super) fn plain(reader: RangeReader, location: &str) -> Self {
        Self { decoder: Decoder::Plain(reader), location: location.to_owned(), damage: None }
    }

    /// Appends the next `n_bytes` bytes to `out`, fewer only at the end. `false`: this was the end.
    pub(super) fn read(&mut self, out: &mut Vec<u8>, n_bytes: usize) -> Result<bool> {
        let target = out.len() + n_bytes;
        while out.len() < target {
            match self.read_some(out, target - out.len()) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) => {
                    self.damage = Some(self.explain(error)?);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn read_some(&mut self, out: &mut Vec<u8>, n_bytes: usize) -> io::Result<usize> {
        let decoder: &mut dyn Read = match &mut self.decoder {
            Decoder::Plain(reader) => {
                let bytes = reader.fill_buf()?;
                let n_bytes = bytes.len().min(n_bytes);
                out.extend_from_slice(&bytes[..n_bytes]);
                reader.consume(n_bytes);
                return Ok(n_bytes);
            }
            Decoder::Gzip(decoder) => decoder,
            Decoder::Zstd(decoder) => decoder,
        };
        let start = out.len();
        out.resize(start + n_bytes, 0);
        let read = decoder.read(&mut out[start..]);
        out.truncate(start + *read.as_ref().unwrap_or(&0));
        read
    }

    /// What is wrong with the compressed bytes. `Err`: it is not the bytes, the file cannot be read.
    fn explain(&self, error: io::Error) -> Result<String> {
        let (name, format) = match self.decoder {
            Decoder::Plain(_) => return Err(foreign(&self.location, error)),
            Decoder::Gzip(_) => ("gzip", "a gzip file"),
            Decoder::Zstd(_) => ("zstd", "a zstd file"),
        };
        let error = match store_error(error) {
            Ok(error) => return Err(error),
            Err(error) => error,
        };
        if matches!(self.decoder, Decoder::Zstd(_)) && error.to_string().contains("requires too much memory") {
            return Err(Error::Corrupt {
                location: self.location.clone(),
                format,
                message: format!(
                    "its window is larger than 2^{MAX_WINDOW_LOG} bytes; compress it with a smaller --long"
                ),
            });
        }
        Ok(match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("{name} stream ends early"),
            _ => format!("{name} stream is damaged ({error})"),
        })
    }

    /// Why the file ended before its end, if it did.
    pub(super) fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Compressed bytes that were used.
    pub(super) fn position(&self) -> u64 {
        match &self.decoder {
            Decoder::Plain(reader) => reader.position(),
            Decoder::Gzip(decoder) => decoder.get_ref().position(),
            Decoder::Zstd(decoder) => decoder.get_ref().position(),
        }
    }
}

fn foreign(location: &str, error: io::Error) -> Error {
    store_error(error)
        .unwrap_or_else(|error| Error::Unreadable { location: location.to_owned(), source: Box::new(error) })
}
