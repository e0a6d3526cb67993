//! Spans by OpenTelemetry's protocol, as a collector gets them. Only with the feature `otel`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Ended, command, finish, sample};

/// A collector: the bodies of the requests that it gets, with their path and content type.
struct Collector {
    endpoint: String,
    requests: Receiver<(String, String, Vec<u8>)>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (to_test, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut path, mut content_type, mut length) = (String::new(), String::new(), 0);
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).unwrap();
                    let line = line.trim_end();
                    if line.is_empty() {
                        break;
                    }
                    match line.to_ascii_lowercase().split_once(": ") {
                        Some(("content-type", value)) => value.clone_into(&mut content_type),
                        Some(("content-length", value)) => length = value.parse().unwrap(),
                        None if path.is_empty() => line.split(' ').nth(1).unwrap().clone_into(&mut path),
                        _ => {}
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                if !path.is_empty() && to_test.send((path, content_type, body)).is_err() {
                    break;
                }
            }
        });
        Self { endpoint, requests }
    }

    /// All spans so far, with their attributes by name.
    fn spans(&self) -> Vec<(Value, BTreeMap<String, Value>)> {
        let mut spans = Vec::new();
        while let Ok((path, content_type, body)) = self.requests.recv_timeout(Duration::from_millis(200)) {
            assert_eq!((path.as_str(), content_type.as_str()), ("/v1/traces", "application/json"));
            let sent: Value = serde_json::from_slice(&body).unwrap();
            for resource in sent["resourceSpans"].as_array().unwrap() {
                assert_eq!(attributes(&resource["resource"])["service.name"], "tamis");
                for scope in resource["scopeSpans"].as_array().unwrap() {
                    let found = scope["spans"].as_array().unwrap().iter();
                    spans.extend(found.map(|span| (span.clone(), attributes(span))));
                }
            }
        }
        spans
    }
}

/// Attributes by name; 64-bit numbers are text in this protocol's JSON.
fn attributes(of: &Value) -> BTreeMap<String, Value> {
    let value = |value: &Value| match value.as_object().unwrap().iter().next().unwrap() {
        (kind, Value::String(number)) if kind == "intValue" => number.parse::<i64>().unwrap().into(),
        (_, value) => value.clone(),
    };
    let all = of["attributes"].as_array().unwrap().iter();
    all.map(|attribute| (attribute["key"].as_str().unwrap().to_owned(), value(&attribute["value"]))).collect()
}

fn tamis(dir: &Path, endpoint: &str, protocol: &str, args: &[&str]) -> Ended {
    let mut command = command(dir);
    command.args(args).env("TAMIS_RUN_ID", "run-7").env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
    finish(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint))
}

#[test]
fn a_run_and_its_steps_are_spans_with_counts() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::start();
    let input = sample("licences.jsonl");
    let args = ["dedup", &input, "-o", "out", "--format", "json"];
    let ended = tamis(dir.path(), &collector.endpoint, "http/json", &args).expect_code(0);
    assert_eq!(ended.stderr, "");
    let spans = collector.spans();
    let (run, counts) = spans.iter().find(|(span, _)| span["name"] == "tamis dedup").expect("the run is a span");
    let manifest = &ended.json()["manifest"];
    let bytes: u64 = manifest["tables"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|table| table["files"].as_array().unwrap())
        .map(|file| file["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(counts["tamis.run_id"], "run-7");
    assert_eq!(counts["tamis.exit_code"], 0);
    for (name, rows) in
        [("rows_in", "rows_in"), ("rows_kept", "kept"), ("rows_dropped", "dropped"), ("rows_rejected", "rejected")]
    {
        assert_eq!(counts[&format!("tamis.{name}")], manifest["rows"][rows], "{name}");
    }
    assert_eq!(counts["tamis.output_bytes"], bytes);
    assert_eq!(counts["tamis.input_bytes"], std::fs::metadata(&input).unwrap().len());
    assert_eq!(run["parentSpanId"].as_str().unwrap_or_default(), "");

    let time = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
    let mut steps: Vec<_> = spans.iter().filter(|(span, _)| span["name"] != "tamis dedup").collect();
    steps.sort_by_key(|(span, _)| time(span, "startTimeUnixNano"));
    let names: Vec<&str> = steps.iter().map(|(span, _)| span["name"].as_str().unwrap()).collect();
    assert_eq!((names.first(), names.last()), (Some(&"reading"), Some(&"writing")), "{names:?}");
    for (step, counts) in &steps {
        assert_eq!((&step["parentSpanId"], &step["traceId"]), (&run["spanId"], &run["traceId"]));
        assert!(time(step, "startTimeUnixNano") <= time(step, "endTimeUnixNano"));
        assert!(time(step, "endTimeUnixNano") <= time(run, "endTimeUnixNano"));
        assert!(counts.contains_key("tamis.rows") && counts.contains_key("tamis.bytes_read"), "{counts:?}");
    }
    assert_eq!(steps.last().unwrap().1["tamis.rows"], manifest["rows"]["rows_in"].to_string());
}

#[test]
fn what_fails_is_sent_as_failed() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::start();
    tamis(dir.path(), &collector.endpoint, "http/json", &["dedup", "none.jsonl", "-o", "out"]).expect_code(2);
    let spans = collector.spans();
    let (span, counts) = spans.iter().find(|(span, _)| span["name"] == "tamis dedup").unwrap();
    assert_eq!(counts["tamis.exit_code"], 2);
    assert!(!counts.contains_key("tamis.rows_in"));
    assert!(span["status"]["message"].as_str().unwrap().contains("none.jsonl"), "{span}");
    assert_eq!(span["status"]["code"], 2, "{span}");
}

#[test]
fn without_a_collector_a_run_is_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let input = sample("licences.jsonl");
    // A port that nobody listens at, one where nobody answers, and what is no URL at all.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = silent.local_addr().unwrap();
    for endpoint in [format!("http://{nobody}"), format!("http://{silent_address}"), "not a url".to_owned()] {
        let args = ["dedup", &input, "-o", "out", "--overwrite"];
        let started = Instant::now();
        let ended = tamis(dir.path(), &endpoint, "http/protobuf", &args).expect_code(0);
        assert!(started.elapsed() < Duration::from_secs(9), "{endpoint}: {:?}", started.elapsed());
        assert!(ended.stderr.contains("spans"), "{endpoint}: {}", ended.stderr);
        assert_eq!(ended.stderr.matches("warning").count(), 1, "{endpoint}: {}", ended.stderr);
    }
}

#[test]
fn protobuf_is_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::start();
    let mut convert = command(dir.path());
    convert.args(["convert", &sample("licences.jsonl"), "-o", "out"]);
    finish(convert.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)).expect_code(0);
    let (path, content_type, body) = collector.requests.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!((path.as_str(), content_type.as_str()), ("/v1/traces", "application/x-protobuf"));
    assert!(body.windows(13).any(|bytes| bytes == b"tamis convert"));
}

#[test]
fn a_run_that_stops_halfway_sends_its_steps() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::start();
    let input = sample("licences.jsonl");
    let args = ["dedup", &input, "-o", "out", "--max-dropped-ratio", "0.01"];
    tamis(dir.path(), &collector.endpoint, "http/json", &args).expect_code(2);
    let spans = collector.spans();
    let (run, counts) = spans.iter().find(|(span, _)| span["name"] == "tamis dedup").unwrap();
    assert_eq!((&counts["tamis.run_id"], &counts["tamis.exit_code"]), (&"run-7".into(), &2.into()));
    assert_eq!(run["status"]["code"], 2, "{run}");
    let (reading, counts) = spans.iter().find(|(span, _)| span["name"] == "reading").unwrap();
    assert_eq!(reading["parentSpanId"], run["spanId"]);
    assert_eq!(counts["tamis.rows"], "329", "{counts:?}");
}

#[test]
fn nothing_is_sent_unless_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::start();
    let input = sample("licences.jsonl");
    // Whoever sent to the default address would be told that nobody is there.
    let mut unasked = command(dir.path());
    unasked.args(["dedup", &input, "-o", "out"]).env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
    assert_eq!(finish(&mut unasked).expect_code(0).stderr, "");
    let mut disabled = command(dir.path());
    disabled.args(["dedup", &input, "-o", "out-2"]).env("OTEL_SDK_DISABLED", "true");
    let ended = finish(disabled.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)).expect_code(0);
    assert_eq!(ended.stderr, "");
    assert!(collector.spans().is_empty());
}
