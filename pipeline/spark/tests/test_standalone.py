"""A run on a standalone master and two workers, which get the package and the binary from the driver."""

import contextlib
import os
import signal
import sys

import runs
from faults import SPARK_HOME, Process, check_nothing_runs, environment, executor_of, processes, until

SETTINGS = """
spark.shuffle.io.retryWait 100ms
spark.sql.shuffle.partitions 2
spark.ui.enabled false
"""


def test_an_executor_killed_in_the_middle(corpus, tmp_path):
    (tmp_path / "spark-defaults.conf").write_text(SETTINGS)
    env = environment(tmp_path) | {
        "PYTHONPATH": str(SPARK_HOME.parent),
        "SPARK_CONF_DIR": str(tmp_path),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",
        "TAMIS_BIN": "",
        "TAMIS_PYTHON": sys.executable,
    }
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(start_daemon(tmp_path, env, "master.Master"))
        url = master.wait_for_words(r"Starting Spark master at (spark://\S+)")
        daemons = [master]
        for number in range(2):
            arguments = ("--cores", "1", "--memory", "2g", "--work-dir", str(tmp_path / f"worker-{number}"), url)
            daemons.append(stack.enter_context(start_daemon(tmp_path, env, "worker.Worker", *arguments)))
        for worker in daemons[1:]:
            worker.wait_for_words("Successfully registered with master")
        command = [runs.binary(), "run", runs.write_config(corpus, "standalone"), "--engine", "spark"]
        command += ["--master", url, "--checkpoint", str(tmp_path / "checkpoint")]
        run = stack.enter_context(Process(command, corpus, env))
        os.kill(busy_executor(tmp_path, run), signal.SIGKILL)
        assert run.poll() is None
        assert run.wait(300) == runs.REJECTED, run.words()
        master.wait_for_words(r"Launching executor \S+/2 ")
        check_nothing_runs(tmp_path, but=daemons)
    runs.check_same(corpus, "standalone")


def start_daemon(folder, env, name, *arguments):
    """Starts one on a free port of this machine."""
    command = [str(SPARK_HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}"]
    command += ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0", *arguments]
    return Process(command, folder, env)


def busy_executor(folder, run):
    """Waits for an executor that has had tasks of Python."""
    until(lambda: processes(folder, "pyspark.daemon") or run.poll() is not None)
    assert run.poll() is None, run.words()
    return executor_of(processes(folder, "pyspark.daemon")[0])
