"""The session process, and how the driver ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from tamis_spark import KernelError
from tamis_spark.session import Session

TESTS = Path(__file__).parent
SUMMARIES = pa.table({"unit": [0, 1, 2], "summary": [b"of 0", b"of 1", b"of 2"]})


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Makes a shell script the binary."""
    binary = tmp_path / "tamis"
    monkeypatch.setenv("TAMIS_BIN", str(binary))
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    fake = f'"{sys.executable}" "{TESTS / "fake_tamis.py"}" "$@"'

    def write(text):
        binary.write_text("#!/bin/sh\n" + text.replace("@FAKE", fake) + "\n")
        binary.chmod(0o755)
        return tmp_path

    return write


def whole_run():
    with Session("tamis.toml") as session:
        session.places(SUMMARIES)
        session.commit([])


def test_from_units_to_manifest(script, monkeypatch):
    script("exec @FAKE")
    monkeypatch.setenv("FAKE_EXIT", "1")
    with Session("tamis.toml") as session:
        assert session.units["unit"].to_pylist() == [0, 1, 2]
        assert (session.job, session.run) == ("first", "run-1")
        assert session.stages == ["ids", "compare", "prove", "assign"]
        assert session.places(SUMMARIES)["first_row"].to_pylist() == [0, 4, 8]
        assert session.job == "second"
        assert session.commit([]) == '{"rows": 12}'
    assert session.exit_code == 1


def test_a_failure_in_the_words_of_the_process(script):
    script("""echo '{"message": "another run is writing", "causes": ["7"], "hint": "wait"}' >&2; exit 75""")
    session = Session("tamis.toml")
    with pytest.raises(KernelError) as caught, session:
        pass
    assert (caught.value.message, caught.value.hint, caught.value.exit_code) == ("another run is writing", "wait", 75)
    assert session.exit_code == 75


def test_a_failure_after_the_manifest(script):
    script("@FAKE; exit 69")
    with pytest.raises(KernelError) as caught:
        whole_run()
    assert caught.value.exit_code == 69


def test_an_error_closes_its_input(script):
    folder = script("exec @FAKE")
    session = Session("tamis.toml")

    def fail():
        with session:
            session.places(SUMMARIES)
            raise ValueError("of the driver")

    with pytest.raises(ValueError, match="of the driver"):
        fail()
    assert session.exit_code == 130
    assert "taken back" in (folder / "log").read_text()


def test_a_process_that_does_not_end_is_killed(script, monkeypatch):
    monkeypatch.setattr("tamis_spark.session._CLOSE_SECONDS", 0.5)
    monkeypatch.setattr("tamis_spark.session._TERMINATE_SECONDS", 0.5)
    script("trap '' TERM; @FAKE; while true; do sleep 0.1; done")
    with pytest.raises(KernelError, match="killed by signal 9"):
        whole_run()


def start(folder, *arguments, **env):
    command = [sys.executable, "-m", "tamis_spark", "tamis.toml", *arguments]
    env = dict(os.environ, **env)
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def running(marker):
    """Command lines of processes that have `marker` in theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if marker in line and int(path.parent.name) != os.getpid():
            found.append(line)
    return found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_behind(script, number, code):
    folder = script('if [ "$2" = session ]; then exec @FAKE; fi; exec sleep 600.125')
    with start(folder, "--master", "local[2,2]") as driver:
        try:
            check_signal(driver, folder, number, code)
        finally:
            driver.kill()


def check_signal(driver, folder, number, code):
    deadline = time.monotonic() + 120
    while not running("600.125"):
        assert driver.poll() is None, driver.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    driver.send_signal(number)
    stderr = driver.communicate(timeout=100)[1]
    assert driver.returncode == code, stderr
    assert "error: interrupted; nothing was written" in stderr
    assert "taken back" in (folder / "log").read_text()
    deadline = time.monotonic() + 15
    while running("600.125") or running(str(folder)):
        assert time.monotonic() < deadline, running("600.125") + running(str(folder))
        time.sleep(0.2)


def test_errors_are_told_once(script):
    folder = script("exec @FAKE")
    driver = start(folder, "--master", "local[2,2]", FAULT="compare:unavailable")
    stdout, stderr = driver.communicate(timeout=200)
    assert (driver.returncode, stdout) == (69, "")
    assert stderr.count("the store does not answer") == 1
    assert "error: the store does not answer" in stderr


def test_errors_may_be_json(script):
    folder = script("exec @FAKE")
    driver = start(folder, "--master", "local[2,2]", FAULT="scan:refuse", TAMIS_LOG_FORMAT="json")
    _, stderr = driver.communicate(timeout=200)
    assert driver.returncode == 2
    record = json.loads(stderr.splitlines()[-1])
    assert (record["level"], record["message"], record["hint"]) == (
        "ERROR",
        "scan finds the config wrong",
        "change it",
    )


def test_without_java(script):
    folder = script("exec @FAKE")
    driver = start(folder, PATH="", JAVA_HOME="")
    _, stderr = driver.communicate(timeout=60)
    assert driver.returncode == 2
    assert "error: there is no Java here" in stderr
    assert "hint: install Java" in stderr


def test_without_what_spark_connect_needs(script):
    folder = script("exec @FAKE")
    (folder / "grpc.py").write_text("raise ImportError")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    driver = start(folder, "--master", "sc://127.0.0.1", "--checkpoint", "checkpoint", PYTHONPATH=path)
    _, stderr = driver.communicate(timeout=60)
    assert driver.returncode == 2
    assert "error: what Spark Connect needs is not installed" in stderr
    assert "caused by: [PACKAGE_NOT_INSTALLED] grpcio" in stderr
    assert "hint: pip install 'pyspark[connect]" in stderr
