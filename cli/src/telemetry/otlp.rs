//! Spans on their way to a collector, by OTLP over HTTP.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Runtime;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use super::TARGET;
use crate::diagnostic;

/// Variables of which one must name a collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// Variables that say how spans are written.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
/// Variables that say how many milliseconds a request may take; the first one that is there.
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Sends what is left when dropped. A collector that does not answer costs a warning and five seconds, after which
/// [`SdkTracerProvider::force_flush`] gives up; a shutdown would wait as long again.
#[derive(Debug)]
pub(crate) struct Exporter(SdkTracerProvider);

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.0.force_flush() {
            diagnostic::warn(&format!("spans could not be sent: {error}"), "the work itself is not affected");
        }
    }
}

/// Starts to collect spans, if a collector is named.
pub(crate) fn start<S>() -> Option<(impl Layer<S> + Send + Sync, Exporter)>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    ENDPOINTS.iter().find_map(|name| variable(name))?;
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    match provider() {
        Ok(provider) => {
            let layer = tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("tamis"))
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_filter(Targets::new().with_targets([
                    (TARGET, LevelFilter::INFO),
                    ("tamis", LevelFilter::INFO),
                    ("tamis_pipeline", LevelFilter::INFO),
                ]));
            Some((layer, Exporter(provider)))
        }
        Err(error) => {
            diagnostic::warn(&format!("spans are not sent: {error:#}"), "look at the variables OTEL_EXPORTER_OTLP_*");
            None
        }
    }
}

fn provider() -> anyhow::Result<SdkTracerProvider> {
    let mut exporter = SpanExporter::builder().with_http().with_http_client(Client::new()?);
    // Of the protocols that are built in, the exporter would take JSON.
    if PROTOCOLS.iter().all(|name| variable(name).is_none()) {
        exporter = exporter.with_protocol(Protocol::HttpBinary);
    }
    let exporter = exporter.build()?;
    let mut resource = Resource::builder();
    let is_named = variable("OTEL_SERVICE_NAME").is_some()
        || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
    if !is_named {
        resource = resource.with_service_name("tamis");
    }
    Ok(SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter).build())
}

/// Requests from the exporter's thread, which has no runtime of its own.
#[derive(Debug)]
struct Client {
    runtime: Runtime,
    client: reqwest::Client,
}

impl Client {
    fn new() -> anyhow::Result<Self> {
        let timeout = TIMEOUTS.iter().find_map(|name| variable(name)?.parse().ok());
        let client = reqwest::Client::builder().timeout(timeout.map_or(DEFAULT_TIMEOUT, Duration::from_millis));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).thread_name("tamis-otlp").enable_all();
        let runtime = runtime.build().context("could not start a thread")?;
        Ok(Self { runtime, client: client.build()? })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), reqwest::Request::try_from(request)?);
        let answer = self.runtime.spawn(async move {
            let answer = client.execute(request).await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.bytes().await?))
        });
        let (status, body) = answer.await??;
        Ok(Response::builder().status(status).body(body)?)
    }
}
