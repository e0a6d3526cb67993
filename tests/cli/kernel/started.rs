//! Kernels and sessions that a test starts, and the streams that go in and come out.

use std::cell::RefCell;
use std::io::{BufReader, Cursor, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde_json::Value;

use crate::support::command;

/// Where kernels run, and what they have in their environment.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub dir: &'a Path,
    pub environment: &'a [(&'static str, String)],
    /// Takes what kernels say that they have used, if somebody accounts for it.
    pub used: Option<&'a RefCell<Vec<String>>>,
}

impl<'a> Place<'a> {
    pub fn at(dir: &'a Path) -> Self {
        Self { dir, environment: &[], used: None }
    }

    fn command(self, args: &[&str]) -> Command {
        self.command_in(self.dir, args)
    }

    fn command_in(self, folder: &Path, args: &[&str]) -> Command {
        let mut command = command(folder);
        command.args(args).args(["--log-format", "json"]);
        command.env("TAMIS_FOOTPRINT", if self.used.is_some() { "on" } else { "off" });
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A stream that came in.
pub struct Stream {
    pub batch: RecordBatch,
    pub job: Option<String>,
    pub stages: Vec<String>,
    pub run: Option<String>,
    /// Why there is nothing to do, in JSON.
    pub ended: Option<String>,
}

impl Stream {
    fn read(reader: StreamReader<impl std::io::Read>) -> Self {
        let schema = reader.schema();
        let says = |key: &str| schema.metadata().get(key).cloned();
        let stages = says("tamis.stages").map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default();
        let (job, run, ended) = (says("tamis.job"), says("tamis.run"), says("tamis.ended"));
        assert_eq!(says("tamis.protocol").as_deref(), Some("1"));
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        Self { batch: concat_batches(&schema, &batches).unwrap(), job, stages, run, ended }
    }
}

/// The bytes of a stream of one batch.
pub fn stream(batch: &RecordBatch, job: &str) -> Vec<u8> {
    stream_with(batch, job, &[])
}

pub fn stream_with(batch: &RecordBatch, job: &str, metadata: &[(&str, &str)]) -> Vec<u8> {
    let always = [("tamis.protocol", "1"), ("tamis.job", job)];
    let metadata = always.iter().chain(metadata).map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let schema = Schema::new_with_metadata(batch.schema().fields().clone(), metadata);
    let batch = RecordBatch::try_new(Arc::new(schema), batch.columns().to_vec()).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    for start in (0..batch.num_rows()).step_by(1000) {
        writer.write(&batch.slice(start, 1000.min(batch.num_rows() - start))).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

/// What a kernel left.
pub struct Done {
    pub code: Option<i32>,
    pub output: Vec<u8>,
    pub stderr: String,
}

/// Runs a kernel on the bytes of a stream.
pub fn kernel(place: Place<'_>, name: &str, input: Vec<u8>, attempt: &str) -> Done {
    // Tasks begin wherever they are put.
    let mut command = place.command_in(Path::new("/"), &["kernel", name]);
    command.env("TAMIS_ATTEMPT", attempt).env("TAMIS_PARENT", std::process::id().to_string());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        // Who has heard enough closes the pipe.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Done { code: output.status.code(), output: output.stdout, stderr }
}

pub fn run(place: Place<'_>, name: &str, input: &RecordBatch, job: &str, attempt: &str) -> RecordBatch {
    run_on(place, name, stream(input, job), attempt)
}

pub fn run_on(place: Place<'_>, name: &str, input: Vec<u8>, attempt: &str) -> RecordBatch {
    let done = kernel(place, name, input, attempt);
    assert_eq!(done.code, Some(0), "{name}: {}", done.stderr);
    assert!(done.output.ends_with(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), "{name} does not end its stream");
    if let Some(used) = place.used {
        let last: Value = serde_json::from_str(done.stderr.lines().last().unwrap()).unwrap();
        used.borrow_mut().push(last["used"].to_string());
    }
    Stream::read(StreamReader::try_new(Cursor::new(done.output), None).unwrap()).batch
}

/// The process that plans and commits.
pub struct Session {
    child: Option<Child>,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Session {
    pub fn start(place: Place<'_>, config: &Path, unit_bytes: u64) -> Self {
        Self::start_with(place, config, unit_bytes, &[])
    }

    pub fn start_with(place: Place<'_>, config: &Path, unit_bytes: u64, flags: &[&str]) -> Self {
        let mut command = place.command(&[&["kernel", "session"], flags].concat());
        let mut child = command.arg(config).env("TAMIS_UNIT_BYTES", unit_bytes.to_string()).spawn().expect("it starts");
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child: Some(child), stdin, stdout }
    }

    pub fn read(&mut self) -> Stream {
        self.try_read().unwrap_or_else(|stderr| panic!("{stderr}"))
    }

    /// What it said on stderr if it has ended instead.
    pub fn try_read(&mut self) -> Result<Stream, String> {
        if let Ok(reader) = StreamReader::try_new(&mut self.stdout, None) {
            return Ok(Stream::read(reader));
        }
        let mut stderr = String::new();
        self.child.as_mut().unwrap().stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Err(stderr)
    }

    pub fn write(&mut self, batch: &RecordBatch) {
        self.stdin.as_mut().unwrap().write_all(&stream(batch, "")).unwrap();
    }

    /// Exit code, and what it said on stderr.
    pub fn end(mut self) -> (Option<i32>, String) {
        self.stdin.take();
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Session {
    /// Of a driver that gave up: as long as its session is there, the next one would find the output taken.
    fn drop(&mut self) {
        self.stdin.take();
        if let Some(mut child) = self.child.take() {
            let _ = self.stdout.read_to_end(&mut Vec::new());
            let _ = child.wait();
        }
    }
}
