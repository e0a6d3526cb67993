//! A real S3 server on loopback, for as long as a test holds it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::python::boto3;

const ACCESS_KEY: &str = "tamisaccess";
const SECRET_KEY: &str = "tamissecretkey";
/// A cold start takes a second or two; a busy machine ten times that.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// `SeaweedFS` with one bucket, in a temporary folder, on free ports.
#[derive(Debug)]
pub struct S3Server {
    child: Child,
    port: u16,
    ports: Vec<u16>,
    bucket: String,
    folder: TempDir,
}

impl S3Server {
    /// Starts the server and waits until it takes an object.
    pub fn start(bucket: &str) -> Self {
        Self::start_for(bucket, "")
    }

    /// The same, and requests that are not signed are answered too.
    pub fn start_for_all(bucket: &str) -> Self {
        Self::start_for(bucket, r#",{"name":"anonymous","actions":["Admin","Read","Write","List"]}"#)
    }

    fn start_for(bucket: &str, others: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let identities = format!(
            r#"{{"identities":[{{"name":"t","credentials":[{{"accessKey":"{ACCESS_KEY}","secretKey":"{SECRET_KEY}"}}],"actions":["Admin","Read","Write","List","Tagging"]}}{others}]}}"#
        );
        std::fs::write(folder.path().join("s3.json"), identities).expect("the config is written");
        std::fs::create_dir(folder.path().join("data")).expect("the folder is made");
        let ports = free_ports(8);
        let child = Self::spawn(folder.path(), bucket, &ports);
        let mut server = Self { child, port: ports[0], ports, bucket: bucket.to_owned(), folder };
        server.wait_until_ready();
        server
    }

    /// Kills the server, and starts it again at the same ports with what it had; waits until it takes an object.
    pub fn kill_and_start_again(&mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server ends");
        self.child = Self::spawn(self.folder.path(), &self.bucket, &self.ports);
        self.wait_until_ready();
    }

    fn spawn(folder: &Path, bucket: &str, ports: &[u16]) -> Child {
        let peers = std::env::var("TAMIS_TEST_PEERS")
            .expect("run the tests with `bash tests/run.sh`, which brings an S3 server");
        let mut command = Command::new(Path::new(&peers).join("bin/weed"));
        command.arg("mini").current_dir(folder);
        command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false"]);
        let (data, config) = (folder.join("data"), folder.join("s3.json"));
        command.arg(format!("-dir={}", data.display())).arg(format!("-s3.config={}", config.display()));
        command.arg(format!("-bucket={bucket}"));
        let flags =
            ["s3.port", "master.port", "volume.port", "filer.port", "admin.port", "s3.port.iceberg", "s3.port.lance"];
        command.args(flags.iter().zip(ports).map(|(flag, port)| format!("-{flag}={port}")));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server starts")
    }

    /// What a command needs in its environment to reach the server.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        Self::environment_at(self.port)
    }

    /// The same, with something before the server that listens at `port`.
    pub fn environment_at(port: u16) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{port}")),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same for what a config names by `env:PREFIX_`: keys alone.
    pub fn keys_below(prefix: &str) -> Vec<(String, String)> {
        [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]
            .map(|(name, value)| (format!("{prefix}{name}"), value.to_owned()))
            .into()
    }

    /// URL of the server.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A URL in the bucket.
    pub fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    /// Keys under a prefix with their storage class, as another client lists them.
    pub fn list(&self, prefix: &str) -> Vec<(String, String)> {
        // curl signs the query as it stands: a slash must come encoded.
        let prefix = prefix.replace('/', "%2F");
        let url = format!("http://127.0.0.1:{}/{}?list-type=2&prefix={prefix}", self.port, self.bucket);
        let listing = Self::curl(&["-s", "--fail", &url]).expect("the server lists");
        listing
            .split("<Contents>")
            .skip(1)
            .map(|entry| {
                let field = |name: &str| {
                    let from = entry.split_once(&format!("<{name}>"))?.1;
                    from.split_once("</").map(|(value, _)| value.to_owned())
                };
                (field("Key").unwrap_or_default(), field("StorageClass").unwrap_or_default())
            })
            .collect()
    }

    /// The bytes of an object.
    pub fn get(&self, key: &str, to: &Path) {
        let url = format!("http://127.0.0.1:{}/{}/{key}", self.port, self.bucket);
        Self::curl(&["-s", "--fail", "-o", &to.display().to_string(), &url]).expect("the object is there");
    }

    /// Uploads a file.
    pub fn put(&self, key: &str, from: &Path) {
        let url = format!("http://127.0.0.1:{}/{}/{key}", self.port, self.bucket);
        Self::curl(&["-s", "--fail", "-T", &from.display().to_string(), &url]).expect("the object is taken");
    }

    fn curl(args: &[&str]) -> Option<String> {
        let sign = ["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &format!("{ACCESS_KEY}:{SECRET_KEY}")];
        let output = Command::new("curl").args(sign).args(args).output().expect("curl is installed");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn wait_until_ready(&mut self) {
        let started = Instant::now();
        let probe = self.folder.path().join("s3.json");
        let url = format!("http://127.0.0.1:{}/{}/ready", self.port, self.bucket);
        while Self::curl(&["-s", "--fail", "--max-time", "2", "-T", &probe.display().to_string(), &url]).is_none() {
            assert!(self.child.try_wait().expect("the server can be asked").is_none(), "the S3 server ended");
            assert!(started.elapsed() < READY_WITHIN, "the S3 server takes no object");
            std::thread::yield_now();
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives a bucket the rules in `file` as the AWS command line would, and returns those that it then has.
pub fn put_lifecycle(bucket: &str, file: &Path, environment: &[(&'static str, String)]) -> Value {
    let script = "rules = json.load(open(sys.argv[2]))\n\
        s3.put_bucket_lifecycle_configuration(Bucket=sys.argv[1], LifecycleConfiguration=rules)\n\
        print(json.dumps(s3.get_bucket_lifecycle_configuration(Bucket=sys.argv[1])['Rules']))";
    boto3(script, &[bucket, &file.display().to_string()], environment)
}

/// Ports that are free now, and whose number plus 10,000 (where the server puts gRPC) is too.
pub(super) fn free_ports(n: usize) -> Vec<u16> {
    let mut held = Vec::new();
    while held.len() < n {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it has an address").port();
        if let Some(grpc) = port.checked_add(10_000).and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok()) {
            held.push((port, listener, grpc));
        }
    }
    held.iter().map(|(port, ..)| *port).collect()
}
