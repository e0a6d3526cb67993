"""The bridge, with kernels that do wrong what can be done wrong."""

import json
import os
import threading
import time
from types import SimpleNamespace

import pyarrow as pa
import pytest

from tamis_spark import KernelError, kernel
from tamis_spark.child import environment
from tamis_spark.errors import find
from tamis_spark.streams import END_MARKER

OUTPUT = pa.schema([("n", pa.int64())])


def batches(n_batches=3, n_rows=10):
    for _ in range(n_batches):
        yield pa.record_batch([pa.array(range(n_rows))], names=["n"])


def run(source, **options):
    function = kernel("scan", "the job", output=OUTPUT, **options)
    return [row for batch in function(source) for row in batch.to_pylist()]


def test_rows_go_through(fake):
    fake("sums")
    assert run(batches()) == [{"n": 45, "error": None, "used": None}] * 3


def test_what_a_kernel_used_comes_last(fake):
    fake("used")
    said = {"stage": "scan", "cpu_ns": 12}
    rows = run(batches())
    assert rows[:-1] == [{"n": 45, "error": None, "used": None}] * 3
    assert rows[-1] | {"used": None} == {"n": None, "error": None, "used": None}
    used = json.loads(rows[-1]["used"])
    engine = used.pop("engine")
    assert used == said
    assert 0 < engine["worker_cpu_ns"] < time.process_time_ns()
    assert "process" not in engine, "no JVM has started these tests"


def test_no_batches_start_nothing(fake):
    fake("crash")
    assert run(iter([])) == []


def test_large_batches_come_in_pieces(fake):
    fake("slow")
    assert [row["n"] for row in run(batches())] == list(range(1_000_000))


def test_a_child_that_nobody_reads_is_killed(fake, monkeypatch):
    monkeypatch.setattr("tamis_spark.bridge._GRACE_SECONDS", 1.0)
    fake("garbage")
    started = time.monotonic()
    with pytest.raises(KernelError, match="killed by signal 9"):
        run(batches(), watchdog_seconds=15.0)
    assert time.monotonic() - started < 12


def test_a_failure_upstream_is_no_end_of_input(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_RECORD", str(tmp_path / "input"))
    fake("record")

    def failing():
        yield from batches()
        raise OSError("upstream failed")

    with pytest.raises(OSError, match="upstream failed"):
        run(failing())
    data = (tmp_path / "input").read_bytes()
    assert len(data) > 3 * 80
    assert not data.endswith(END_MARKER)


@pytest.mark.parametrize(("n_batches", "n_rows"), [(1, 1), (3, 10), (100, 100_000)])
def test_an_end_before_that_of_the_input_is_an_error(fake, n_batches, n_rows):
    fake("early")
    with pytest.raises(KernelError, match="before it had read all its input"):
        run(batches(n_batches, n_rows))


@pytest.mark.parametrize("what", ["torn", "trailing"])
def test_an_output_that_is_not_whole_is_an_error(fake, what):
    fake(what)
    with pytest.raises(KernelError, match="not whole"):
        run(batches())


def test_wrong_columns_are_an_error(fake):
    fake("wrong_columns")
    with pytest.raises(KernelError, match="`n` must be int64"):
        run(batches())


@pytest.mark.parametrize("n_batches", [1, 200])
def test_what_is_in_vain_is_a_row(fake, n_batches):
    fake("refuse")
    source = batches(n_batches, 10_000)
    [row] = run(source)
    assert row["n"] is None
    assert json.loads(row["error"]) == {
        "message": "the config is wrong",
        "causes": ["a", "b"],
        "hint": "change it",
        "exit_code": 2,
        "kernel": "scan",
    }
    assert next(source, None) is None, "the engine's input is read to its end"


def test_other_failures_are_errors_in_the_words_of_the_kernel(fake):
    fake("unavailable")
    with pytest.raises(KernelError) as caught:
        run(batches())
    error = find(f"Traceback of Spark\n{caught.value}\nand more")
    assert error.message == "the store does not answer"
    assert error.causes[0] == "timeout"
    assert "a line that is no JSON" in error.causes
    assert error.hint == "try again later"
    assert error.exit_code == 69


def test_a_kernel_may_die_without_a_word(fake):
    fake("mute")
    with pytest.raises(KernelError, match=r"exit code 1(.|\n)*Segmentation something"):
        run(batches())
    fake("crash")
    with pytest.raises(KernelError, match="killed by signal 9"):
        run(batches())


def test_the_watchdog_kills_what_hangs(fake):
    fake("hang")
    with pytest.raises(KernelError, match="no progress for 1 s"):
        run(batches(), watchdog_seconds=1.0)


def test_the_watchdog_lets_live_what_gets_on(fake):
    fake("crawl")
    assert len(run(batches(), watchdog_seconds=6.0)) == 3


def test_the_watchdog_does_not_wait_for_others(fake):
    fake("sums")

    def slow_source():
        for batch in batches():
            yield batch
            time.sleep(7)

    # Long enough for a slow machine to start the fake kernel.
    function = kernel("scan", "the job", output=OUTPUT, watchdog_seconds=6.0)
    n_batches = 0
    for _ in function(slow_source()):
        n_batches += 1
        time.sleep(7)
    assert n_batches == 3


def test_what_a_kernel_is_told(fake):
    fake("environment")
    function = kernel("scan", "the job", ["--memory-limit", "1GiB"], output=OUTPUT, run="run-7")
    [batch] = function(batches())
    told = json.loads(json.loads(batch.to_pylist()[0]["error"])["message"])
    assert told["argv"] == ["kernel", "scan", "--threads", "1", "--no-progress", "--memory-limit", "1GiB"]
    assert told["metadata"] == {"tamis.protocol": "1", "tamis.job": "the job"}
    assert told["env"]["TAMIS_PARENT"] == str(os.getpid())
    assert told["env"]["TAMIS_ATTEMPT"].startswith("run-7-")
    assert told["env"]["TAMIS_LOG_FORMAT"] == "json"


def test_a_task_of_spark_names_its_try_and_its_gpus(monkeypatch):
    gpus = SimpleNamespace(addresses=["1", "3"])
    task = SimpleNamespace(taskAttemptId=lambda: 42, resources=lambda: {"gpu": gpus})
    monkeypatch.setattr("tamis_spark.child._task_context", lambda: task)
    env = environment("run-7")
    assert (env["TAMIS_ATTEMPT"], env["CUDA_VISIBLE_DEVICES"]) == ("run-7-42", "1,3")


def until(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def our_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("tamis-")]


def test_a_consumer_that_goes_away_leaves_nothing_behind(fake):
    fake("sums")
    # Threads of other tests may still be about to end.
    until(lambda: not our_threads())
    n_files = len(os.listdir("/proc/self/fd"))
    rows = kernel("scan", "the job", output=OUTPUT)(batches(1000, 10_000))
    next(rows)
    assert our_threads()
    rows.close()
    until(lambda: not our_threads() and len(os.listdir("/proc/self/fd")) == n_files)


def test_without_a_binary(monkeypatch, tmp_path):
    monkeypatch.setenv("TAMIS_BIN", str(tmp_path / "none"))
    with pytest.raises(KernelError, match="could not start"):
        run(batches())
