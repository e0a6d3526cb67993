"""A run on a cluster of processes of this machine, whose executors are killed."""

import os
import signal

import runs
from faults import DRIVER, SPARK_HOME, STAGES, Kernels, Process, check_nothing_runs, executor_of


def test_executors_killed_in_each_stage(corpus, tmp_path):
    kernels = Kernels(tmp_path)
    kernels.stop_in(*STAGES)
    settings = ("--master", "local-cluster[2,1,2048]", "--conf", "spark.shuffle.io.retryWait=100ms")
    command = runs.command(corpus, "cluster", *settings, near_duplicates=runs.SCORING, driver=DRIVER)
    with Process(command, corpus, kernels.env | {"SPARK_HOME": spark_home(tmp_path)}) as driver:
        for stage in STAGES:
            os.kill(executor_of(kernels.wait_for(stage, driver)), signal.SIGKILL)
        assert driver.wait(300) == runs.REJECTED, driver.words()
        check_nothing_runs(tmp_path)
    runs.check_same(corpus, "cluster", "scored-local")


def spark_home(folder):
    """Spark as it is installed, but workers write beside it."""
    home = folder / "spark"
    home.mkdir()
    for name in ("bin", "jars", "python"):
        (home / name).symlink_to(SPARK_HOME / name)
    return str(home)
