"""The Spark session: how it is set up, how its jobs are named, followed and stopped."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .child import BINARY, locate
from .errors import KernelError, TamisError

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

DEFAULT_MASTER = "local[*,3]"
"""All cores of this machine; what fails twice may be tried once more, which `local[*]` does not."""

_DEFAULTS = {
    # The driver collects what grows with the number of units and of dropped rows.
    "spark.driver.maxResultSize": "0",
    # We have a bar of our own.
    "spark.ui.showConsoleProgress": "false",
}

_INSTALL = "pip install 'pyspark>=4.1,<5' pyarrow"
_INSTALL_CONNECT = "pip install 'pyspark[connect]>=4.1,<5' pyarrow"

_CONNECT_PORT = 15002
"""Where servers of Spark Connect listen unless they are told otherwise."""
_CONNECT_SECONDS = 20.0
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
"""What the client reaches a server by, if any is set."""
_UNAVAILABLE = 69
"""Exit code: what the run needs does not answer."""

_LOCAL_DEFAULTS = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    # Scorers of 100 MB, which Spark copies several times, are too much for the default of 1 GB.
    "spark.driver.memory": "3g",
    # Kernels do the work: compiling what the JVM does as well as it can be costs more than it saves here.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    # What matters of a failure is in our own error; Spark repeats it for each try.
    "spark.log.level": "FATAL",
}


def is_local(master: str | None) -> bool:
    """Whether the tasks of this master run on this machine and see its files and environment."""
    return master is not None and (master == "local" or master.startswith(("local[", "local-cluster[")))


def is_connect(master: str | None) -> bool:
    """Whether the master is a server of Spark Connect."""
    return master is not None and (master.startswith("sc://") or master == "remote")


class Cluster:
    """A Spark session, classic or of Spark Connect."""

    def __init__(self, spark: SparkSession, group: str) -> None:
        self.spark = spark
        self._group = group
        self._context = _context_of(spark)
        self._tag: str | None = None

    def name_jobs(self, name: str) -> None:
        """Names the jobs that this thread starts from here on."""
        if self._context is not None:
            self._context.setJobGroup(self._group, f"tamis: {name}", interruptOnCancel=True)
            return
        if self._tag is not None:
            self.spark.removeTag(self._tag)
        self._tag = f"tamis-{name}"
        self.spark.addTag(self._tag)

    def n_tasks(self) -> tuple[int, int] | None:
        """How many tasks of the stages at work are done, and how many there are; `None` if nobody knows."""
        if self._context is None:
            return None
        tracker = self._context.statusTracker()
        n_done, n_all = 0, 0
        for job_id in tracker.getJobIdsForGroup(self._group):
            job = tracker.getJobInfo(job_id)
            for stage_id in job.stageIds if job is not None and job.status == "RUNNING" else ():
                stage = tracker.getStageInfo(stage_id)
                if stage is not None:
                    n_done += stage.numCompletedTasks
                    n_all += stage.numTasks
        return n_done, n_all

    def cancel(self) -> None:
        """Cancels the jobs at work; may be called in any thread."""
        if self._context is not None:
            self._context.cancelJobGroup(self._group)
        else:
            self.spark.interruptAll()


@contextlib.contextmanager
def connect(master: str | None, conf: Mapping[str, str], n_partitions: int | None, group: str) -> Iterator[Cluster]:
    """A session of the master; `None` leaves the choice to whoever started this process, as `spark-submit` does.

    Raises `TamisError` if what it takes is not installed.
    """
    _check_installed(master)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # Else executors run the `python3` of their PATH.
    if is_local(master):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        os.environ.setdefault("SPARK_LOCAL_HOSTNAME", "localhost")
    _lift_pandas_check()
    _ship_modules()
    with tempfile.TemporaryDirectory(prefix="tamis-spark-") as warehouse:
        spark = _build(master, conf, n_partitions, warehouse)
        try:
            yield Cluster(spark, group)
        finally:
            spark.stop()


def _build(master: str | None, conf: Mapping[str, str], n_partitions: int | None, warehouse: str) -> SparkSession:
    from pyspark.sql import SparkSession

    settings = {} if is_connect(master) else dict(_DEFAULTS)
    if is_local(master):
        settings |= _LOCAL_DEFAULTS | {"spark.sql.warehouse.dir": warehouse}
    if n_partitions is not None:
        settings["spark.sql.shuffle.partitions"] = str(n_partitions)
    settings |= conf
    binary = None if is_local(master) else _binary_to_ship()
    builder = SparkSession.builder.appName("tamis")
    for key, value in settings.items():
        builder = builder.config(key, value)
    if not is_connect(master):
        spark = (builder if master is None else builder.master(master)).getOrCreate()
        if binary is not None:
            # Not by `spark.files`: that would take the place of what spark-submit was given with --files.
            spark.sparkContext.addFile(binary)
        return spark
    server = os.environ.get("SPARK_REMOTE", "local[*]") if master == "remote" else str(master)
    _check_reachable(server)
    spark = builder.remote(server).getOrCreate()
    if binary is not None:
        spark.addArtifacts(binary, file=True)
    return spark


def _check_reachable(server: str) -> None:
    """Raises `TamisError` if nobody listens there: the client would try again for minutes, without a word."""
    if not server.startswith("sc://") or any(os.environ.get(name) for name in _PROXIES):
        return
    parts = urllib.parse.urlsplit(server)
    host, port = parts.hostname or "localhost", parts.port or _CONNECT_PORT
    try:
        socket.create_connection((host, port), _CONNECT_SECONDS).close()
    except OSError as error:
        message = f"no server of Spark Connect answers at {host}, port {port}"
        hint = "look whether it runs, and whether this machine reaches it"
        raise TamisError(message, [str(error)], hint, exit_code=_UNAVAILABLE) from error


def _check_installed(master: str | None) -> None:
    if importlib.util.find_spec("pyspark") is None:
        raise TamisError("pyspark is not installed", hint=_INSTALL)
    from pyspark.sql import DataFrame

    if not hasattr(DataFrame, "repartitionById"):
        raise TamisError("this pyspark is too old", hint=_INSTALL)
    if is_connect(master):
        try:
            importlib.import_module("pyspark.sql.connect")
        except ImportError as error:
            raise TamisError("what Spark Connect needs is not installed", [str(error)], _INSTALL_CONNECT) from error
    is_server_elsewhere = master is not None and master.startswith("sc://")
    has_java = bool(os.environ.get("JAVA_HOME")) or shutil.which("java") is not None
    if not has_java and not is_server_elsewhere and "PYSPARK_GATEWAY_PORT" not in os.environ:
        raise TamisError("there is no Java here, which Spark needs", hint="install Java 17, or set JAVA_HOME")


def _lift_pandas_check() -> None:
    """Lets `mapInArrow` run without pandas.

    pyspark asks for pandas there because it shares a function with what is about pandas; no batch ever meets it. The
    client of Spark Connect has a check of its own.
    """
    if importlib.util.find_spec("pandas") is None:
        from pyspark.sql.pandas import functions

        functions.require_minimum_pandas_version = lambda: None


def _ship_modules() -> None:
    """Sends this package with the tasks, so that executors need none."""
    from pyspark import cloudpickle

    import tamis_spark

    cloudpickle.register_pickle_by_value(tamis_spark)


def _binary_to_ship() -> str | None:
    try:
        binary = locate()
    except KernelError:
        return None
    return binary if os.path.basename(binary) == BINARY else None


def _context_of(spark: Any) -> SparkContext | None:
    from pyspark.errors import PySparkAttributeError

    try:
        return spark.sparkContext
    except PySparkAttributeError:
        return None
