"""Runs on a server of Spark Connect, which gets the package and the binary from the driver."""

import signal
import socket

import runs
from faults import SPARK_HOME, Kernels, Process, check_nothing_runs, environment, processes, until

CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
SETTINGS = {
    "spark.connect.grpc.binding.address": "127.0.0.1",
    "spark.connect.grpc.binding.port": "0",
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
}


def test_interrupted_and_started_again(corpus, tmp_path):
    server_folder = tmp_path / "server"
    server_folder.mkdir()
    kernels = Kernels(tmp_path)
    kernels.stop_in("bucket")
    with start_server(server_folder) as server:
        port = server.wait_for_words(r"Successfully started service '\S+SparkConnectService' on port (\d+)")
        checkpoint = str(tmp_path / "checkpoint")
        command = runs.command(corpus, "connect", "--master", f"sc://127.0.0.1:{port}", "--checkpoint", checkpoint)
        with Process(command, corpus, kernels.env) as driver:
            kernels.wait_for("bucket", driver)
            driver.send_signal(signal.SIGINT)
            assert driver.wait(100) == 128 + signal.SIGINT, driver.words()
            check_nothing_runs(tmp_path)
            until(lambda: not processes(server_folder, "\0kernel\0"))
        assert not (corpus / "connect").exists()
        assert kernels.started() == {"session", "scan", "bucket"}
        with Process(command, corpus, kernels.env) as driver:
            assert driver.wait(300) == runs.REJECTED, driver.words()
            check_nothing_runs(tmp_path)
        assert kernels.started() == {"session", "bucket", "prune", "prove", "assign", "write"}
        assert not processes(server_folder, "\0kernel\0")
        assert server.poll() is None
    runs.check_same(corpus, "connect")


def test_nobody_listens(corpus):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    ended = runs.run(corpus, "nobody", "--master", f"sc://127.0.0.1:{port}", "--checkpoint", "unused")
    assert ended.returncode == 69, ended.stderr
    assert f"error: no server of Spark Connect answers at 127.0.0.1, port {port}" in ended.stderr
    assert not (corpus / "nobody").exists()


def start_server(folder):
    command = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", "local[2,3]", "--class", CLASS]
    command += [word for key, value in SETTINGS.items() for word in ("--conf", f"{key}={value}")]
    env = {"PYTHONPATH": str(SPARK_HOME.parent), "SPARK_HOME": str(SPARK_HOME), "TAMIS_BIN": ""}
    return Process([*command, "spark-internal"], folder, environment(folder) | env)
