//! An S3 server on loopback that has objects to read only, made as they are read: many, or large ones, at no cost.

use std::fmt::Write as _;
use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::proxy::read_request;

/// Keys of a page of a listing, as on Amazon S3.
const PAGE_KEYS: usize = 1000;

/// Makes a range of the object of a key.
type Make = dyn Fn(&str, Range<u64>) -> Vec<u8> + Send + Sync;

/// See the module.
pub struct Objects {
    port: u16,
    is_over: Arc<AtomicBool>,
}

struct Shelf {
    /// Keys in their order, with the sizes of their objects.
    keys: Vec<(String, u64)>,
    make: Box<Make>,
}

impl Objects {
    /// Serves the objects of `keys`, which are sorted, in a bucket of any name.
    pub fn serve(keys: Vec<(String, u64)>, make: impl Fn(&str, Range<u64>) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let is_over = Arc::new(AtomicBool::new(false));
        let shelf = Arc::new(Shelf { keys, make: Box::new(make) });
        let ends = Arc::clone(&is_over);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let shelf = Arc::clone(&shelf);
                // A client that goes away is its own business.
                std::thread::spawn(move || client.and_then(|client| shelf.serve(&client)));
            }
        });
        Self { port, is_over }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shelf {
    fn serve(&self, mut client: &TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut reader = BufReader::new(client);
        while let Some((head, _)) = read_request(&mut reader)? {
            client.write_all(&self.answer(&head))?;
        }
        Ok(())
    }

    fn answer(&self, head: &str) -> Vec<u8> {
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if query.contains("list-type=2") {
            return answer("200 OK", "", self.page(query).as_bytes());
        }
        let key = path.splitn(3, '/').nth(2).unwrap_or_default();
        let Ok(at) = self.keys.binary_search_by(|(other, _)| other.as_str().cmp(key)) else {
            return answer("404 Not Found", "", b"<Error><Code>NoSuchKey</Code></Error>");
        };
        let size = self.keys[at].1;
        let of_object = "ETag: \"1\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
        if method == "HEAD" {
            return format!("HTTP/1.1 200 OK\r\n{of_object}Content-Length: {size}\r\n\r\n").into_bytes();
        }
        let range = head.lines().find_map(|line| {
            let (first, last) =
                line.to_ascii_lowercase().strip_prefix("range: bytes=")?.split_once('-').map(|(first, last)| {
                    (first.parse::<u64>().expect("a number"), last.trim().parse::<u64>().expect("a number"))
                })?;
            Some(first..(last + 1).min(size))
        });
        match range {
            Some(range) => {
                let of_range = format!("{of_object}Content-Range: bytes {}-{}/{size}\r\n", range.start, range.end - 1);
                answer("206 Partial Content", &of_range, &(self.make)(key, range))
            }
            None => answer("200 OK", of_object, &(self.make)(key, 0..size)),
        }
    }

    /// The next keys of a listing: the last one of the page before is its token.
    fn page(&self, query: &str) -> String {
        let value = |name: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            pair.unwrap_or_default().replace("%2F", "/")
        };
        let (prefix, token) = (value("prefix"), value("continuation-token"));
        let keys = self.keys.iter().filter(|(key, _)| key.starts_with(&prefix) && key.as_str() > token.as_str());
        let page: Vec<&(String, u64)> = keys.take(PAGE_KEYS + 1).collect();
        let mut text = String::from("<?xml version=\"1.0\"?><ListBucketResult>");
        for (key, size) in page.iter().take(PAGE_KEYS) {
            write!(
                text,
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"1\"</ETag>\
                 <Size>{size}</Size></Contents>"
            )
            .expect("a string takes all");
        }
        if page.len() > PAGE_KEYS {
            let token = &page[PAGE_KEYS - 1].0;
            write!(text, "<NextContinuationToken>{token}</NextContinuationToken>").expect("a string takes all");
        }
        write!(text, "<IsTruncated>{}</IsTruncated></ListBucketResult>", page.len() > PAGE_KEYS)
            .expect("a string takes all");
        text
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}
