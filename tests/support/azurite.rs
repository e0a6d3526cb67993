//! Azurite on loopback: Azure's blob storage, for as long as a test holds it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::root;
use super::s3::free_ports;

const ACCOUNT: &str = "tamistest";
/// `tamis secret key` in Base64.
const KEY: &str = "dGFtaXMgc2VjcmV0IGtleQ==";
/// A start takes two seconds; a busy machine ten times that.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// A server with one container, in memory.
#[derive(Debug)]
pub struct Azurite {
    child: Child,
    port: u16,
    container: String,
}

impl Azurite {
    /// Starts the server and makes the container.
    pub fn start(container: &str) -> Self {
        let peers = std::env::var("TAMIS_TEST_PEERS")
            .expect("run the tests with `bash tests/run.sh`, which brings a server of Azure's interface");
        let port = free_ports(1)[0];
        let mut server = Command::new("node");
        server.arg(Path::new(&peers).join("node_modules/azurite/dist/src/blob/main.js"));
        server.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--silent"]);
        server.args(["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]);
        server.env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"));
        let child = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("node is installed");
        let mut server = Self { child, port, container: container.to_owned() };
        let started = Instant::now();
        while server.ask("PUT", "?restype=container").is_none() {
            assert!(server.child.try_wait().expect("the server can be asked").is_none(), "Azurite ended");
            assert!(started.elapsed() < READY_WITHIN, "Azurite makes no container");
        }
        server
    }

    /// What a command needs in its environment to reach the server.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AZURE_STORAGE_ENDPOINT", format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)),
            ("AZURE_ALLOW_HTTP", "true".to_owned()),
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
        ]
    }

    /// A URL in the container.
    pub fn url(&self, name: &str) -> String {
        format!("az://{}/{name}", self.container)
    }

    /// Names of blobs with their tier, as another client lists them.
    pub fn list(&self) -> Vec<(String, String)> {
        let listing = self.ask("GET", "?restype=container&comp=list").expect("the server lists");
        let field = |blob: &str, name: &str| {
            let from = blob.split_once(&format!("<{name}>"))?.1;
            from.split_once("</").map(|(value, _)| value.to_owned())
        };
        let blobs = listing.split("<Blob>").skip(1);
        blobs
            .map(|blob| (field(blob, "Name").unwrap_or_default(), field(blob, "AccessTier").unwrap_or_default()))
            .collect()
    }

    fn ask(&self, method: &str, rest: &str) -> Option<String> {
        let mut python = Command::new("python3");
        python.arg(root().join("tests/support/azure_request.py")).args([method, &format!("/{}{rest}", self.container)]);
        let output = python.envs(self.environment()).output().expect("python3 is installed");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
