//! A proxy before an HTTP server that does harm to some requests.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The server never sees it: `503 SlowDown`.
    SlowDown,
    /// The server never sees it: `500 InternalError`.
    Internal,
    /// The server never sees it: `403 AccessDenied`.
    Denied,
    /// The server never sees it: `403 ExpiredToken`.
    Expired,
    /// The server never sees it: `403 RequestTimeTooSkewed`.
    Skewed,
    /// The server never sees it: the connection is cut.
    Reset,
    /// The server does what it asks; the connection is cut instead of the answer.
    AnswerLost,
    /// The server does what it asks; the answer is cut in half.
    CutBody,
    /// The server does what it asks; the answer is `500`.
    DoneButFailed,
    /// The server does what it asks, whatever its conditions. Such a request must not be signed.
    Unconditional,
}

/// Decides what becomes of a request, by its number, its method and its path.
pub type Plan = dyn Fn(u32, &str, &str) -> Option<Fault> + Send + Sync;

/// A proxy on loopback, for as long as a test holds it.
pub struct Proxy {
    port: u16,
    is_over: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<Fault>>>,
}

impl Proxy {
    /// Starts a proxy before the server at `port`.
    pub fn start(port: u16, plan: impl Fn(u32, &str, &str) -> Option<Fault> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let proxy = Self {
            port: listener.local_addr().expect("it has an address").port(),
            is_over: Arc::default(),
            done: Arc::default(),
        };
        let plan: Arc<Plan> = Arc::new(plan);
        let (is_over, done) = (Arc::clone(&proxy.is_over), Arc::clone(&proxy.done));
        let n_requests = Arc::new(AtomicU32::new(0));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (plan, n_requests, done) = (Arc::clone(&plan), Arc::clone(&n_requests), Arc::clone(&done));
                // A client that goes away is its own business.
                std::thread::spawn(move || client.and_then(|client| serve(&client, port, &*plan, &n_requests, &done)));
            }
        });
        proxy
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The faults that were done.
    pub fn done(&self) -> Vec<Fault> {
        self.done.lock().expect("no test panicked here").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(
    client: &TcpStream,
    port: u16,
    plan: &Plan,
    n_requests: &AtomicU32,
    done: &Mutex<Vec<Fault>>,
) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_mins(1)))?;
    let mut reader = BufReader::new(client);
    // One request for each connection: the server closes its side after the answer, and says so in it.
    if let Some((head, body)) = read_request(&mut reader)? {
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let fault = plan(n_requests.fetch_add(1, Ordering::Relaxed), method, path);
        done.lock().expect("no test panicked here").extend(fault);
        let answer = match fault {
            Some(Fault::SlowDown) => error(503, "SlowDown"),
            Some(Fault::Internal) => error(500, "InternalError"),
            Some(Fault::Denied) => error(403, "AccessDenied"),
            Some(Fault::Expired) => error(403, "ExpiredToken"),
            Some(Fault::Skewed) => error(403, "RequestTimeTooSkewed"),
            Some(Fault::Reset) => return client.shutdown(Shutdown::Both),
            _ => forward(port, &head, &body, fault == Some(Fault::Unconditional))?,
        };
        let answer = match fault {
            Some(Fault::AnswerLost) => return client.shutdown(Shutdown::Both),
            Some(Fault::DoneButFailed) => error(500, "InternalError"),
            _ => answer,
        };
        let n_bytes = if fault == Some(Fault::CutBody) { answer.len() / 2 } else { answer.len() };
        (&mut &*client).write_all(&answer[..n_bytes])?;
        client.shutdown(Shutdown::Write)?;
    }
    Ok(())
}

/// Head and body of the next request; `None`: there is no other.
pub(super) fn read_request(reader: &mut impl BufRead) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut head = String::new();
    let mut n_body_bytes = 0;
    loop {
        let start = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        let line = head[start..].to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            n_body_bytes = value.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; n_body_bytes];
    reader.read_exact(&mut body)?;
    Ok(Some((head, body)))
}

/// The whole answer of the server, which closes the connection after it.
fn forward(port: u16, head: &str, body: &[u8], is_unconditional: bool) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    server.set_read_timeout(Some(Duration::from_mins(1)))?;
    let is_left_out = |line: &str| {
        let line = line.to_ascii_lowercase();
        let is_condition = ["if-match:", "if-none-match:"].iter().any(|name| line.starts_with(name));
        line.is_empty() || line.starts_with("connection:") || is_unconditional && is_condition
    };
    let lines = head.lines().filter(|line| !is_left_out(line));
    let head: String = lines.map(|line| format!("{line}\r\n")).collect();
    server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    server.write_all(body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}

fn error(status: u16, code: &str) -> Vec<u8> {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>");
    let head = format!(
        "HTTP/1.1 {status} {code}\r\nConnection: close\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}
