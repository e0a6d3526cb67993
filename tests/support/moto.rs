//! moto on loopback: an S3 server with archives, which is what the other one lacks.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::python::boto3;
use super::s3::{S3Server, free_ports};

/// A start takes half a second; a busy machine ten times that.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// How objects come back from an archive.
#[derive(Debug, Clone, Copy)]
pub enum Thawing {
    /// As soon as they are asked for.
    AtOnce,
    /// Not before something else is set.
    Never,
}

/// A server with one bucket, in memory.
#[derive(Debug)]
pub struct Moto {
    child: Child,
    port: u16,
    bucket: String,
}

impl Moto {
    /// Starts the server and makes the bucket.
    pub fn start(bucket: &str) -> Self {
        let peers = std::env::var("TAMIS_TEST_PEERS")
            .expect("run the tests with `bash tests/run.sh`, which brings an S3 server with archives");
        let port = free_ports(1)[0];
        let mut server = Command::new("python3");
        server.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]).env("PYTHONPATH", peers);
        let child = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("python3 is installed");
        let mut server = Self { child, port, bucket: bucket.to_owned() };
        let (started, url) = (Instant::now(), format!("http://127.0.0.1:{port}/{bucket}"));
        while Self::curl(&["-X", "PUT", &url]).is_none() {
            assert!(server.child.try_wait().expect("the server can be asked").is_none(), "the S3 server ended");
            assert!(started.elapsed() < READY_WITHIN, "the S3 server makes no bucket");
            std::thread::yield_now();
        }
        server
    }

    /// What a command needs in its environment to reach the server.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        S3Server::environment_at(self.port)
    }

    /// A URL in the bucket.
    pub fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    /// How archived objects come back from now on.
    pub fn set_thawing(&self, thawing: Thawing) {
        let asked = |transition: Value| {
            let body = json!({"model_name": "s3::keyrestore", "transition": transition}).to_string();
            let url = format!("http://127.0.0.1:{}/moto-api/state-manager/set-transition", self.port);
            Self::curl(&["-H", "Content-Type: application/json", "-d", &body, &url]).expect("the server is told");
        };
        match thawing {
            Thawing::AtOnce => asked(json!({"progression": "immediate"})),
            Thawing::Never => {
                // From the next request for it on, an object that was asked for is on its way; then for a million requests.
                asked(json!({"progression": "manual", "times": 1}));
                self.asked_for();
                asked(json!({"progression": "manual", "times": 1_000_000}));
            }
        }
    }

    /// Keys that the bucket was asked to bring back from an archive, with what is said of them.
    pub fn asked_for(&self) -> Vec<(String, String)> {
        let script = "heads = {x['Key']: s3.head_object(Bucket=sys.argv[1], Key=x['Key']).get('Restore') \
             for x in s3.list_objects_v2(Bucket=sys.argv[1])['Contents']}\n\
             print(json.dumps([[key, restore] for key, restore in heads.items() if restore]))";
        serde_json::from_value(boto3(script, &[&self.bucket], &self.environment())).expect("pairs of strings")
    }

    fn curl(args: &[&str]) -> Option<String> {
        let output = Command::new("curl").args(["-s", "--fail"]).args(args).output().expect("curl is installed");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
