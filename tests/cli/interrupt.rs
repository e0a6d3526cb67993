//! A run that is stopped leaves nothing behind.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{command, files};

#[test]
fn sigterm_and_ctrl_c_end_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::create(dir.path().join("in.jsonl")).unwrap();
    for row in 0..400_000u64 {
        let text: Vec<String> = (0..20).map(|word| (row * 31 + word * word * 7919).to_string()).collect();
        writeln!(file, "{{\"id\":{row},\"text\":\"{}\"}}", text.join(" ")).unwrap();
    }
    drop(file);
    let temp = dir.path().join("temp");
    std::fs::create_dir(&temp).unwrap();
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let mut child = command(dir.path())
            .args(["dedup", "in.jsonl", "-o", "out", "--temp-dir", "temp"])
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        while !dir.path().join("out/_tamis_staging").exists() {
            assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
            std::thread::yield_now();
        }
        let kill = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains("interrupted"), "{stderr}");
        assert!(!dir.path().join("out").exists(), "{:?}", files(&dir.path().join("out")).keys());
        assert!(files(&temp).is_empty(), "temporary files stay behind");
    }
}
