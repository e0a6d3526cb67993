"""Command line: `python -m tamis_spark CONFIG`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import cluster as clusters
from . import gpus
from .bridge import WATCHDOG_SECONDS
from .errors import FAILED, TamisError, explain
from .progress import Progress, Stop
from .session import Session
from .tables import PART_BYTES

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_STOP_SECONDS = 90.0
_TICK_SECONDS = 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the command line says and gives the exit code."""
    arguments = _parse(argv)
    stop = Stop()
    run = _Run(arguments, stop)
    for number in SIGNALS:
        # Whoever started this process may not want it to stop: `nohup` does that.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: run.stop(number))
    # In a thread of its own: a signal must not break into a conversation with the JVM.
    run.start()
    while run.is_alive():
        run.join(_TICK_SECONDS)
        if stop.signal is not None and not run.is_ending_well():
            # The session and all kernels are killed with this process.
            os._exit(128 + stop.signal)
    if run.error is not None:
        _print_error(run.error)
        return run.error.exit_code
    if arguments.print_manifest:
        print(run.manifest)
    if arguments.manifest is not None:
        Path(arguments.manifest).write_text(run.manifest)
    return run.exit_code


class _Run(threading.Thread):
    """The run, in a thread that the main thread can stop."""

    def __init__(self, arguments: argparse.Namespace, stop: Stop) -> None:
        super().__init__(name="tamis-run", daemon=True)
        self.manifest = ""
        self.exit_code = FAILED
        self.error: TamisError | None = None
        self._arguments = arguments
        self._stop_request = stop
        self._cluster: clusters.Cluster | None = None
        self._progress = Progress(stop, is_shown=not arguments.no_progress and not _is_json())
        self._attempt = uuid.uuid4().hex
        self._session = Session(
            arguments.config,
            arguments.overwrite,
            self._attempt,
            self._warn_of_record,
            arguments.if_locked,
            arguments.session_arg,
        )
        self._give_up_at = 0.0
        self._cancel_at = 0.0

    def run(self) -> None:
        """Runs to the end, and keeps the error if there is one."""
        try:
            self._run()
        except Exception as error:
            self.error = explain(error)
            if os.environ.get("TAMIS_LOG") in ("debug", "trace"):
                traceback.print_exception(error)
        if self._stop_request.signal is not None and self.error is not None:
            self.error = _interrupted(self._stop_request)

    def _run(self) -> None:
        arguments = self._arguments
        with contextlib.ExitStack() as stack:
            with self._progress.stage("units"):
                session = stack.enter_context(self._session)
            if session.ended:
                self.manifest, self.exit_code = session.ended, session.exit_code
                # Otherwise whoever reads the file says so.
                if arguments.manifest is None and not _is_json():
                    self._progress.say(_explain_end(session.ended))
                return
            checkpoint = arguments.checkpoint or stack.enter_context(_temporary_folder())
            self._stop_request.check()
            conf = dict(arguments.conf)
            connection = clusters.connect(arguments.master, conf, arguments.parallelism, f"tamis-{self._attempt}")
            with self._progress.stage("spark"):
                self._cluster = stack.enter_context(connection)
            self.manifest = self._drive(session, self._cluster, checkpoint)
        self.exit_code = session.exit_code

    def _drive(self, session: Session, cluster: clusters.Cluster, checkpoint: str) -> str:
        # Not before it is known that pyspark is there.
        from . import driver

        options = driver.Options(
            checkpoint=checkpoint if "://" in checkpoint else f"file://{os.path.abspath(checkpoint)}",
            keeps_checkpoint=self._arguments.keep_checkpoint,
            watchdog_seconds=self._arguments.watchdog,
            kernel_args=("--memory-limit", self._arguments.memory_limit),
            score_gpus=self._arguments.score_gpus,
            part_bytes=self._arguments.part_bytes or part_bytes_of_environment(),
            attempt=self._attempt,
        )
        return driver.run(session, cluster, options, self._progress, self._warn)

    def stop(self, number: int) -> None:
        """Stops the run as soon as it can be done cleanly; at the second time at once."""
        if self._stop_request.signal is not None:
            os._exit(128 + number)
        self._give_up_at = time.monotonic() + _STOP_SECONDS
        self._stop_request.signal = number

    def is_ending_well(self) -> bool:
        """Cancels what is at work, now and then; whether there still is hope that the run ends of itself."""
        now = time.monotonic()
        if self._cancel_at <= now:
            self._cancel_at = now + 1.0
            self._session.cancel()
            if self._cluster is not None:
                # A session that is being stopped knows its jobs no more.
                with contextlib.suppress(Exception):
                    self._cluster.cancel()
        return now < self._give_up_at

    def _warn(self, message: str) -> None:
        self._warn_of_record({"level": "WARN", "message": message})

    def _warn_of_record(self, record: Mapping[str, Any]) -> None:
        hint = f"\nhint: {record['hint']}" if record.get("hint") else ""
        self._progress.say(_json_line(record) if _is_json() else f"warning: {record['message']}{hint}")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tamis-spark",
        description="Does on Apache Spark what `tamis run CONFIG` does on one machine: the same rows come out.",
    )
    parser.add_argument("config", metavar="CONFIG", help="the run's tamis.toml")
    parser.add_argument(
        "--master",
        metavar="URL",
        help=f"local[N,TRIES], spark://..., k8s://..., yarn; sc://... or `remote` for Spark Connect "
        f"(default: that of spark-submit, or {clusters.DEFAULT_MASTER})",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is in the output")
    parser.add_argument(
        "--if-locked",
        metavar="ACTION",
        default="fail",
        help="while another run adds to the output: fail, skip or wait:TIME (default: %(default)s)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="URL",
        help="where to keep what stages gave, so that a run goes on where it stopped: a folder that all machines "
        "reach (default with a local master: a temporary one)",
    )
    parser.add_argument(
        "--session-arg",
        metavar="=ARG",
        action="append",
        default=[],
        help="a further argument of the process that leads the run, such as --session-arg=--region=FRA or "
        "--session-arg=--footprint=off; may be repeated",
    )
    parser.add_argument("--keep-checkpoint", action="store_true", help="do not delete it when the run is done")
    parser.add_argument("--parallelism", metavar="N", type=_positive(int), help="partitions of Spark's shuffles")
    parser.add_argument(
        "--watchdog",
        metavar="SECONDS",
        type=_positive(float),
        default=WATCHDOG_SECONDS,
        help="kill a kernel that makes no progress for so long (default: %(default)g)",
    )
    parser.add_argument(
        "--memory-limit",
        metavar="BYTES",
        default="1GiB",
        help="of each kernel, of which a machine has as many as tasks; beyond it they spill (default: %(default)s)",
    )
    parser.add_argument(
        "--score-gpus",
        metavar="AMOUNT",
        type=_gpus,
        help="GPUs that Spark is to give each task that scores: 1, or 0.25 if four tasks may share one "
        "(default: tasks ask for none, and see all GPUs of their machine)",
    )
    parser.add_argument(
        "--part-bytes",
        metavar="BYTES",
        type=_positive(int),
        help="of pairs that one task decides about; several decide if there are more (default: that of "
        "TAMIS_PART_BYTES, or 1 GiB)",
    )
    parser.add_argument("--no-progress", action="store_true", help="no bars on the terminal")
    parser.add_argument(
        "--manifest", metavar="FILE", help="write the run's manifest to this file, too, or why there was nothing to do"
    )
    parser.add_argument("--print-manifest", action="store_true", help="print the run's manifest to stdout")
    parser.add_argument(
        "--conf",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=_pair,
        help="a setting of Spark; may be repeated",
    )
    arguments = parser.parse_args(argv)
    if arguments.master is None and "PYSPARK_GATEWAY_PORT" not in os.environ:
        arguments.master = clusters.DEFAULT_MASTER
    if arguments.checkpoint is None and not clusters.is_local(arguments.master):
        parser.error("--checkpoint is needed, but with a local master: a folder or URL that all machines reach")
    if arguments.checkpoint is None and arguments.keep_checkpoint:
        parser.error("--keep-checkpoint needs --checkpoint")
    return arguments


def _positive(kind: type) -> Any:
    def parse(text: str) -> Any:
        number = kind(text)
        if number <= 0:
            raise argparse.ArgumentTypeError("must be more than 0")
        return number

    parse.__name__ = kind.__name__  # What argparse calls it.
    return parse


def part_bytes_of_environment() -> int:
    """Bytes of pairs that one task decides about, as the environment says or by default.

    Raises `TamisError` for what is no number of bytes.
    """
    text = os.environ.get("TAMIS_PART_BYTES")
    if not text:
        return PART_BYTES
    if not text.isdecimal() or not int(text):
        raise TamisError(f"TAMIS_PART_BYTES is `{text}`, but must be a number of bytes", hint="such as 1073741824")
    return int(text)


def _gpus(text: str) -> float:
    try:
        return gpus.amount(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("must be KEY=VALUE")
    return key, value


@contextlib.contextmanager
def _temporary_folder() -> Any:
    with tempfile.TemporaryDirectory(prefix="tamis-checkpoint-", ignore_cleanup_errors=True) as folder:
        yield folder


def _explain_end(ended: str) -> str:
    reasons = json.loads(ended)
    if "skipped" in reasons:
        return f"skipped: {reasons['skipped']} is at work"
    return "nothing new: earlier runs have read all inputs"


def _interrupted(stop: Stop) -> TamisError:
    try:
        stop.check()
    except TamisError as error:
        return error
    raise AssertionError("only called when a signal came")


def _is_json() -> bool:
    return os.environ.get("TAMIS_LOG_FORMAT") == "json"


def _json_line(fields: Mapping[str, Any]) -> str:
    head = {"timestamp": datetime.now(timezone.utc).isoformat(), "target": "tamis_spark"}
    return json.dumps(head | dict(fields))


def _print_error(error: TamisError) -> None:
    if _is_json():
        print(_json_line({"level": "ERROR"} | json.loads(error.to_json())), file=sys.stderr)
        return
    print(f"error: {error.message}", file=sys.stderr)
    for cause in error.causes:
        print(f"  caused by: {cause}", file=sys.stderr)
    if error.hint:
        print(f"\nhint: {error.hint}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
