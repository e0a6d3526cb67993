//! `tamis schedule`: what is printed, read by others; the daemon.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use chrono::{DateTime, Datelike, Utc};
use serde_json::Value;

use crate::metrics::families;
use crate::support::python::python;
use crate::support::{command, files, finish, root, sample, tamis};

fn config(dir: &Path, schedule: &str) {
    let laws = sample("laws.jsonl");
    let config = format!("[input]\npaths = [{laws:?}]\n[deduplicate]\n[output]\npath = \"out\"\n{schedule}");
    fs::write(dir.join("night ly.toml"), config).unwrap();
}

fn print(dir: &Path, schedule: &str, target: &str) -> String {
    config(dir, schedule);
    let args = ["schedule", "print", "night ly.toml", "--overwrite", "--threads", "2", "--target", target];
    finish(command(dir).args(args)).expect_code(0).stdout
}

const SCHEDULE: &str =
    "[schedule]\ncron = \"30 3 1,15 * mon-fri\"\ntimezone = \"Europe/Berlin\"\njitter = \"5m\"\ndeadline = \"2h\"\n";
const UTC: &str = "[schedule]\ncron = \"*/20 1-3 * jan,feb sun\"\njitter = \"1m\"\ndeadline = \"90s\"\n";

#[test]
fn a_schedule_changes_no_output() {
    let dir = tempfile::tempdir().unwrap();
    let out = |schedule: &str| {
        config(dir.path(), schedule);
        finish(command(dir.path()).args(["run", "night ly.toml", "--overwrite"])).expect_code(0);
        files(&dir.path().join("out"))
    };
    let plain = out("");
    assert_eq!(out(SCHEDULE), plain);
    let manifest: Value = serde_json::from_slice(&plain["manifest.json"]).unwrap();
    assert!(manifest["config"]["deduplicate"].is_object() && manifest["config"]["schedule"].is_null(), "{manifest}");
}

#[test]
fn systemd_gets_a_service_and_a_timer() {
    let dir = tempfile::tempdir().unwrap();
    let text = print(dir.path(), SCHEDULE, "systemd");
    let folder = dir.path().canonicalize().unwrap();
    let exec =
        format!("{} run \"{}/night ly.toml\" --threads 2 --overwrite", env!("CARGO_BIN_EXE_tamis"), folder.display());
    for line in [
        "# /etc/systemd/system/tamis-night-ly.service",
        "# /etc/systemd/system/tamis-night-ly.timer",
        "Type=oneshot",
        &format!("WorkingDirectory={}", folder.display()),
        &format!("ExecStart={exec}"),
        "SuccessExitStatus=75",
        "TimeoutStartSec=7200",
        "TimeoutStopSec=25",
        "OnCalendar=*-*-01,15 03:30:00 Europe/Berlin",
        "OnCalendar=Mon..Fri *-*-* 03:30:00 Europe/Berlin",
        "Persistent=true",
        "RandomizedDelaySec=300",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let plain = print(dir.path(), "[schedule]\ncron = \"@daily\"\n", "systemd");
    assert!(
        plain.contains("OnCalendar=*-*-* 00:00:00 UTC\n") && plain.contains("TimeoutStartSec=infinity\n"),
        "{plain}"
    );
    assert!(!plain.contains("RandomizedDelaySec"), "{plain}");
}

#[test]
fn scheduled_runs_that_are_added_to_others_wait_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let text = |flags: &str| {
        print(dir.path(), SCHEDULE, "crontab");
        let path = dir.path().join("night ly.toml");
        let config = fs::read_to_string(&path).unwrap().replace("path = \"out\"", "path = \"out\"\nmode = \"append\"");
        fs::write(path, config).unwrap();
        let args = ["schedule", "print", "night ly.toml", "--target", "systemd"];
        finish(command(dir.path()).args(args).args(flags.split_whitespace())).expect_code(0).stdout
    };
    assert!(text("").contains("night ly.toml\" --if-locked wait:10m\n"), "{}", text(""));
    assert!(text("--if-locked skip").contains(" --if-locked skip\n"));
    assert!(text("--if-locked wait:90s").contains(" --if-locked wait:90s\n"));
}

const YAML: &str = "import json, sys, yaml
print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1]))), default=str))";

fn yaml(dir: &Path, text: &str) -> Value {
    fs::write(dir.join("printed.yml"), text).unwrap();
    python(YAML, &[&dir.join("printed.yml")])
}

#[test]
fn kubernetes_gets_a_cron_job() {
    let dir = tempfile::tempdir().unwrap();
    let documents = yaml(dir.path(), &print(dir.path(), SCHEDULE, "k8s"));
    let written = fs::read_to_string(dir.path().join("night ly.toml")).unwrap();
    assert_eq!(documents[0]["data"]["tamis.toml"], written.as_str());
    let spec = &documents[1]["spec"];
    assert_eq!(
        (&documents[1]["kind"], &documents[1]["metadata"]["name"]),
        (&"CronJob".into(), &"tamis-night-ly".into())
    );
    assert_eq!(spec["schedule"], "30 3 1,15 * 1-5");
    assert_eq!(spec["timeZone"], "Europe/Berlin");
    assert_eq!(spec["concurrencyPolicy"], "Forbid");
    assert_eq!(spec["startingDeadlineSeconds"], 3600);
    let job = &spec["jobTemplate"]["spec"];
    assert_eq!(job["activeDeadlineSeconds"], 7500, "the deadline and the delay before it");
    assert_eq!(job["backoffLimit"], 2);
    let rule = &job["podFailurePolicy"]["rules"][0];
    assert_eq!(
        (&rule["action"], &rule["onExitCodes"]["values"]),
        (&"FailJob".into(), &serde_json::json!([1, 2, 3, 4, 77]))
    );
    let pod = &job["template"]["spec"];
    assert_eq!((&pod["restartPolicy"], &pod["terminationGracePeriodSeconds"]), (&"Never".into(), &30.into()));
    let container = &pod["containers"][0];
    let script = "sleep \"$(shuf -i 0-300 -n 1)\" && exec tamis run /etc/tamis/tamis.toml --threads 2 --overwrite";
    assert_eq!(container["command"], serde_json::json!(["sh", "-c", script]));
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/etc/tamis");
    let plain = yaml(dir.path(), &print(dir.path(), "[schedule]\ncron = \"@daily\"\n", "k8s"));
    let container = &plain[1]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    let words = ["tamis", "run", "/etc/tamis/tamis.toml", "--threads", "2", "--overwrite"];
    assert_eq!(container["command"], serde_json::json!(words));
    assert!(plain[1]["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"].is_null());
}

/// A config map would hold the forecast of the day on which it was printed.
#[test]
fn kubernetes_is_told_of_the_files_that_a_run_reads() {
    let dir = tempfile::tempdir().unwrap();
    let schedule = "[schedule]\ncron = \"@daily\"\nwindow = \"8h\"\nforecast = \"data/forecast.json\"\n";
    let text = print(dir.path(), schedule, "k8s");
    let mentions = |text: &str| text.lines().filter(|line| line.contains("# the command reads ")).count();
    assert!(text.contains("# the command reads \"data/forecast.json\": mount a volume"), "{text}");
    let container = &yaml(dir.path(), &text)[1]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    assert!(container["command"].as_array().unwrap().contains(&"data/forecast.json".into()), "{container}");
    assert_eq!((mentions(&text), mentions(&print(dir.path(), SCHEDULE, "k8s"))), (1, 0));
    let lone = "[schedule]\ncron = \"@daily\"\nforecast = \"forecast.json\"\n";
    config(dir.path(), lone);
    let args = ["schedule", "print", "night ly.toml", "--target", "k8s"];
    let refused = finish(command(dir.path()).args(args)).expect_code(2);
    assert!(refused.stderr.contains("schedule.window"), "{}", refused.stderr);
}

#[test]
fn github_gets_a_workflow_in_utc() {
    let dir = tempfile::tempdir().unwrap();
    let workflow = &yaml(dir.path(), &print(dir.path(), UTC, "github"))[0];
    // YAML 1.1 reads `on` as true.
    assert_eq!(workflow["true"]["schedule"][0]["cron"], "*/20 1-3 * 1,2 0");
    assert_eq!(workflow["concurrency"], serde_json::json!({"group": "tamis-night-ly", "cancel-in-progress": false}));
    let job = &workflow["jobs"]["run"];
    assert_eq!(job["timeout-minutes"], 3);
    let steps: Vec<&str> = job["steps"].as_array().unwrap().iter().filter_map(|step| step["run"].as_str()).collect();
    let run = "tamis run 'night ly.toml' --threads 2 --overwrite || [ $? -eq 75 ]";
    assert_eq!(steps, ["sleep \"$(shuf -i 0-60 -n 1)\"", run]);

    config(dir.path(), SCHEDULE);
    let args = ["schedule", "print", "night ly.toml", "--target", "github"];
    let ended = finish(command(dir.path()).args(args)).expect_code(2);
    assert!(ended.stderr.contains("Europe/Berlin") && ended.stderr.contains("hint: "), "{}", ended.stderr);
}

/// Airflow as far as the printed file knows it.
const AIRFLOW: &str = "
import json, sys, types
seen = {}
class DAG:
    def __init__(self, **settings): seen['dag'] = settings
    def __enter__(self): return self
    def __exit__(self, *why): pass
def module(name, **what):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(what)
module('airflow', DAG=DAG)
module('airflow.operators')
module('airflow.operators.bash', BashOperator=lambda **settings: seen.update(task=settings))
module('pendulum', datetime=lambda *when, tz: [*when, tz])
exec(compile(open(sys.argv[1]).read(), 'dag.py', 'exec'))
print(json.dumps(seen, default=lambda value: value.total_seconds()))
";

#[test]
fn airflow_gets_a_dag() {
    let dir = tempfile::tempdir().unwrap();
    let dag = |text: &str| {
        fs::write(dir.path().join("dag.py"), text).unwrap();
        python(AIRFLOW, &[&dir.path().join("dag.py")])
    };
    let seen = dag(&print(dir.path(), SCHEDULE, "airflow"));
    assert_eq!(seen["dag"]["schedule"], "30 3 1,15 * 1-5");
    assert_eq!(seen["dag"]["start_date"][3], "Europe/Berlin");
    assert!(seen["dag"]["max_active_runs"] == 1 && seen["dag"]["catchup"] == false, "{seen}");
    let task = &seen["task"];
    assert_eq!((&task["execution_timeout"], &task["skip_on_exit_code"]), (&7500.0.into(), &75.into()));
    let folder = dir.path().canonicalize().unwrap();
    let program = env!("CARGO_BIN_EXE_tamis");
    let expect = format!(
        "{{% raw %}}sleep \"$(shuf -i 0-300 -n 1)\" && exec {program} run '{}/night ly.toml' --threads 2 --overwrite{{% endraw %}} ",
        folder.display()
    );
    assert_eq!((&task["bash_command"], &task["cwd"]), (&expect.into(), &folder.display().to_string().into()));
    let plain = dag(&print(dir.path(), "[schedule]\ncron = \"@daily\"\n", "airflow"));
    assert!(plain["task"]["execution_timeout"].is_null(), "{plain}");
}

#[test]
fn a_crontab_line_runs() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("100% it's");
    fs::create_dir(&inner).unwrap();
    let text = print(&inner, SCHEDULE, "crontab");
    assert!(text.contains("\nCRON_TZ=Europe/Berlin\n30 3 1,15 * 1-5 cd "), "{text}");
    assert!(text.contains("sleep \"$(shuf -i 0-300 -n 1)\" && timeout --kill-after=25s 7200s "), "{text}");
    let text = print(&inner, "[schedule]\ncron = \"@daily\"\ndeadline = \"1h\"\n", "crontab");
    let line = text.lines().last().unwrap();
    assert!(!line.replace(r"\%", "").contains('%'), "cron ends a line at a percent sign: {line}");
    let script = line.strip_prefix("0 0 * * * ").unwrap().replace(r"\%", "%");
    let ended = finish(Command::new("sh").current_dir("/").args(["-c", &script])).expect_code(0);
    assert!(inner.join("out/manifest.json").exists(), "{}", ended.stdout);
}

#[test]
fn what_a_target_cannot_express_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |cron: &str, target: &str, expect: &str| {
        config(dir.path(), &format!("[schedule]\ncron = \"{cron}\"\n"));
        let args = ["schedule", "print", "night ly.toml", "--target", target];
        let ended = finish(command(dir.path()).args(args)).expect_code(2);
        assert!(ended.stderr.contains(expect) && ended.stdout.is_empty(), "{cron} {target}: {}", ended.stderr);
    };
    for target in ["systemd", "k8s", "github", "airflow", "crontab"] {
        refused("0 3 L * *", target, "`0 3 L * *` uses L, W or #");
        refused("0 3 * * fri#2", target, "`0 3 * * fri#2` uses L, W or #");
    }
    for target in ["k8s", "github", "airflow", "crontab"] {
        refused("0 3 1-7 * +mon", target, "`0 3 1-7 * +mon`");
    }
    assert!(
        print(dir.path(), "[schedule]\ncron = \"0 3 1-7 * +mon\"\n", "systemd")
            .contains("=Mon *-*-01..07 03:00:00 UTC")
    );
    config(dir.path(), "");
    for args in [&["print", "night ly.toml", "--target", "k8s"][..], &["run", "night ly.toml"]] {
        let ended = finish(command(dir.path()).arg("schedule").args(args)).expect_code(2);
        assert!(ended.stderr.contains("has no schedule") && ended.stderr.contains("[schedule]"), "{}", ended.stderr);
    }
}

#[test]
fn the_documentation_works() {
    let text = fs::read_to_string(root().join("docs/scheduling.md")).unwrap();
    let section = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let laws = sample("laws.jsonl");
    let config = format!("[input]\npaths = [{laws:?}]\n[deduplicate]\n[output]\npath = \"out\"\n{section}");
    fs::write(dir.path().join("tamis.toml"), config).unwrap();
    tamis(dir.path(), "config check tamis.toml").expect_code(0);
    let mut n_commands = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("tamis ")) {
        // What has no end is run elsewhere.
        if !line.starts_with("schedule run") {
            tamis(dir.path(), line.split('#').next().unwrap()).expect_code(0);
            n_commands += 1;
        }
    }
    assert_eq!(n_commands, 6);
}

/// A running daemon, killed at the end if it still runs.
struct Daemon {
    child: Child,
    log: BufReader<ChildStderr>,
    seen: Vec<Value>,
}

impl Daemon {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let args = [&["schedule", "run", "night ly.toml", "--log-format", "json"], args].concat();
        let mut child =
            command(dir).args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the daemon starts");
        let log = BufReader::new(child.stderr.take().expect("it has a log"));
        Self { child, log, seen: Vec::new() }
    }

    /// Reads the log up to a line with this message.
    fn wait_for(&mut self, message: &str) -> Value {
        loop {
            let mut line = String::new();
            self.log.read_line(&mut line).expect("the log reads");
            assert!(!line.is_empty(), "the daemon ended without `{message}`: {:?}", self.seen);
            let line: Value = serde_json::from_str(&line).expect("a line is JSON");
            self.seen.push(line.clone());
            if line["message"] == message {
                return line;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
    }

    /// Exit code, and what the log still said.
    fn end(mut self) -> (Option<i32>, Vec<Value>) {
        let code = self.child.wait().expect("the daemon ends").code();
        let rest = (&mut self.log).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        (code, rest.collect())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn state(dir: &Path, done_until: &str) {
    fs::write(dir.join("night ly.toml.schedule.json"), format!("{{\"done_until\":\"{done_until}\"}}")).unwrap();
}

fn done_until(dir: &Path) -> DateTime<Utc> {
    let text = fs::read_to_string(dir.join("night ly.toml.schedule.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["done_until"].as_str().unwrap().parse().unwrap()
}

fn get(address: &str, path: &str) -> (String, String) {
    let url = format!("http://{address}{path}");
    let output = Command::new("curl").args(["-s", "-w", "%{http_code}", &url]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, code) = text.split_at(text.len() - 3);
    (code.to_owned(), body.to_owned())
}

const YEARLY: &str = "[schedule]\ncron = \"0 0 1 1 *\"\n";

#[test]
fn the_daemon_makes_up_for_missed_times_once_and_waits() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), YEARLY);
    state(dir.path(), "2020-06-01T00:00:00Z");
    let before = Utc::now();
    let mut daemon = Daemon::start(dir.path(), &["--listen", "127.0.0.1:0", "--overwrite"]);
    let address = daemon.wait_for("listening")["address"].as_str().unwrap().to_owned();
    let started = daemon.wait_for("run started");
    assert_eq!(started["scheduled"], "2021-01-01T00:00:00Z", "the first one that was missed");
    let finished = daemon.wait_for("run finished");
    assert!(finished["exit_code"] == 0 && finished["run_id"] == started["run_id"], "{finished}");
    let waiting = daemon.wait_for("waiting for the next start");
    let next: DateTime<Utc> = waiting["at"].as_str().unwrap().parse().unwrap();
    assert!(before < next && (next.month(), next.day()) == (1, 1) && (next - before).num_days() <= 366, "{next}");
    assert_ne!(waiting["run_id"], started["run_id"]);
    assert!(dir.path().join("out/manifest.json").exists());
    let done = done_until(dir.path());
    assert!((before..=Utc::now()).contains(&(done + chrono::TimeDelta::milliseconds(1))), "{done}");

    assert_eq!(get(&address, "/healthz"), ("200".into(), "ok\n".into()));
    assert_eq!(get(&address, "/elsewhere").0, "404");
    let (code, page) = get(&address, "/metrics");
    assert_eq!(code, "200");
    fs::write(dir.path().join("page"), &page).unwrap();
    let families = families(&dir.path().join("page"));
    let sample = |name: &str| families[name]["samples"][0].clone();
    // The parser of counters takes the ending for its own.
    let runs = sample("tamis_schedule_runs");
    assert_eq!((&runs[0], &runs[1]["exit_code"]), (&"tamis_schedule_runs_total".into(), &"0".into()));
    assert_eq!(runs[2].as_f64(), Some(1.0));
    assert_eq!(sample("tamis_schedule_running")[2].as_f64(), Some(0.0));
    assert_eq!(sample("tamis_schedule_next_start_timestamp_seconds")[2].as_f64(), Some(next.timestamp() as f64));
    assert!(sample("tamis_run_docs_read")[2].as_f64().unwrap() > 100.0, "{page}");

    daemon.signal("TERM");
    assert_eq!(daemon.end().0, Some(143));
    // Nothing was missed since: the next daemon waits at once.
    let mut daemon = Daemon::start(dir.path(), &[]);
    assert_eq!(daemon.wait_for("waiting for the next start")["at"], waiting["at"]);
    assert_eq!(daemon.seen.len(), 1, "{:?}", daemon.seen);
    daemon.signal("INT");
    assert_eq!(daemon.end().0, Some(130));
    assert_eq!(done_until(dir.path()), done);
}

#[test]
fn a_run_that_fails_ends_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), YEARLY);
    fs::create_dir(dir.path().join("out")).unwrap();
    fs::write(dir.path().join("out/mine.txt"), "mine").unwrap();
    state(dir.path(), "2020-06-01T00:00:00Z");
    let mut daemon = Daemon::start(dir.path(), &["--listen", "127.0.0.1:0", "--metrics-file", "kept.prom"]);
    let address = daemon.wait_for("listening")["address"].as_str().unwrap().to_owned();
    assert_eq!(daemon.wait_for("run failed")["exit_code"], 2);
    assert!(
        daemon.seen.iter().any(|line| line["message"].as_str().unwrap().contains("not empty")),
        "{:?}",
        daemon.seen
    );
    daemon.wait_for("waiting for the next start");
    assert!(get(&address, "/metrics").1.contains("tamis_schedule_runs_total{exit_code=\"2\"} 1\n"));
    assert!(
        fs::read_to_string(dir.path().join("kept.prom")).unwrap().contains("tamis_run_exit_code{run=\"kept\"} 2\n")
    );
    daemon.signal("TERM");
    assert_eq!(daemon.end().0, Some(143));
}

#[test]
fn the_end_of_the_daemon_is_the_end_of_its_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = fs::File::create(dir.path().join("in.jsonl")).unwrap();
    for row in 0..400_000u64 {
        let text: Vec<String> = (0..20).map(|word| (row * 31 + word * word * 7919).to_string()).collect();
        writeln!(file, "{{\"id\":{row},\"text\":\"{}\"}}", text.join(" ")).unwrap();
    }
    drop(file);
    let text = format!("[input]\npaths = [\"in.jsonl\"]\n[deduplicate]\n[output]\npath = \"out\"\n{YEARLY}");
    fs::write(dir.path().join("night ly.toml"), text).unwrap();
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        state(dir.path(), "2020-06-01T00:00:00Z");
        let mut daemon = Daemon::start(dir.path(), &[]);
        daemon.wait_for("run started");
        while !dir.path().join("out/_tamis_staging/process").exists() {
            assert!(daemon.child.try_wait().unwrap().is_none(), "the daemon ended");
            std::thread::yield_now();
        }
        daemon.signal(signal);
        let (ended, log) = daemon.end();
        assert_eq!(ended, Some(code), "{log:?}");
        // Whatever the daemon got, its run gets SIGTERM.
        assert!(log.iter().any(|line| line["message"] == "run failed" && line["exit_code"] == 143), "{log:?}");
        assert!(!dir.path().join("out").exists(), "the run goes on, or left something");
    }
}

#[test]
fn a_run_that_does_not_stop_at_its_deadline_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("in.jsonl");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let text = format!("[input]\npaths = [\"in.jsonl\"]\n[output]\npath = \"out\"\n{YEARLY}deadline = \"1d\"\n");
    fs::write(dir.path().join("night ly.toml"), text).unwrap();
    state(dir.path(), "2020-06-01T00:00:00Z");
    // A pipe that nobody writes to: the run waits for it, and looks at no signal.
    let mut daemon = Daemon::start(dir.path(), &["--deadline", "1s"]);
    daemon.wait_for("the run is stopped: it is at its deadline");
    daemon.wait_for("the run is killed: it does not stop");
    let failed = daemon.wait_for("run failed");
    assert_eq!(failed["exit_code"], 137);
    assert!(failed["seconds"].as_f64().unwrap() >= 26.0, "one second, and 25 to stop: {failed}");
    daemon.wait_for("waiting for the next start");
    daemon.signal("TERM");
    assert_eq!(daemon.end().0, Some(143));
}
