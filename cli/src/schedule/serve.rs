//! `/healthz` and `/metrics` over HTTP.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::status::Status;

/// Pause after a connection that could not be taken: too many files are open, most likely.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers at `address` on a thread of its own, as long as the process lives. Returns the address, whose port may have
/// been left to the system.
pub(crate) fn start(address: SocketAddr, status: Arc<Status>) -> anyhow::Result<SocketAddr> {
    let context = || format!("could not listen at {address}");
    let listener = TcpListener::bind(address).with_context(context)?;
    listener.set_nonblocking(true).with_context(context)?;
    let bound = listener.local_addr().with_context(context)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().with_context(context)?;
    let answer_all = move || runtime.block_on(accept(listener, status));
    std::thread::Builder::new().name("tamis-http".into()).spawn(answer_all).with_context(context)?;
    Ok(bound)
}

async fn accept(listener: TcpListener, status: Arc<Status>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "nobody answers over HTTP"),
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let status = Arc::clone(&status);
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = answer(request.method(), request.uri().path(), &status);
            async move { Ok::<_, Infallible>(answer) }
        });
        // The timer ends connections that send no request.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection failed");
            }
        });
    }
}

fn answer(method: &Method, path: &str, status: &Status) -> Response<String> {
    let (code, content_type, body) = match path {
        _ if method != Method::GET && method != Method::HEAD => (StatusCode::METHOD_NOT_ALLOWED, TEXT, String::new()),
        "/healthz" if status.is_alive() => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/healthz" => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "stuck\n".to_owned()),
        "/metrics" => (StatusCode::OK, METRICS, status.page()),
        _ => (StatusCode::NOT_FOUND, TEXT, "there are /healthz and /metrics\n".to_owned()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
