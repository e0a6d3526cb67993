"""What all child processes have in common: where the binary is, its environment, what it says on stderr."""

from __future__ import annotations

import collections
import importlib.util
import json
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import FAILED, KernelError

BINARY = "tamis"
GPU = "gpu"
"""What Spark calls what a CUDA device is to tasks."""

_LINES_KEPT = 20
_LONGEST_LINE = 2000


def locate() -> str:
    """Path of the binary: `TAMIS_BIN`, the one in this package, the one that Spark brought, or the one on the `PATH`.

    Raises `KernelError` if there is none.
    """
    path = os.environ.get("TAMIS_BIN") or _packaged() or _brought_by_spark() or shutil.which(BINARY)
    if path is None:
        raise KernelError(
            "there is no `tamis` binary here", hint="name it in TAMIS_BIN, or install a wheel that has it"
        )
    return path


def _packaged() -> str | None:
    # The source of this module may have come without its package: executors need no installation of it.
    try:
        package = importlib.util.find_spec("tamis_spark")
    except (ImportError, ValueError):
        return None
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder, "bin", BINARY)
        if path.is_file():
            return str(path)
    return None


def _brought_by_spark() -> str | None:
    try:
        from pyspark import SparkFiles

        path = SparkFiles.get(BINARY)
    except Exception:  # No Spark, no task of it, or no files: each has its own error.
        return None
    return path if os.path.isfile(path) else None


def environment(run: str) -> dict[str, str]:
    """Environment of a child that the calling process waits for; `run` is a name that no other run has."""
    attempt, gpus = uuid.uuid4().hex, None
    context = _task_context()
    if context is not None:
        attempt = str(context.taskAttemptId())
        gpus = context.resources().get(GPU)
    env = dict(
        os.environ,
        TAMIS_LOG_FORMAT="json",
        TAMIS_PARENT=str(os.getpid()),
        TAMIS_ATTEMPT=f"{run}-{attempt}" if run else attempt,
    )
    if gpus is not None:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus.addresses)
    return env


def _task_context() -> Any | None:
    try:
        from pyspark import TaskContext
    except ImportError:
        return None
    return TaskContext.get()


class Stderr(threading.Thread):
    """Reads what a child says: JSON objects, and whatever else comes.

    `on_progress` is called when a progress line differs from the one before, `on_warning` with each warning.
    """

    def __init__(
        self,
        pipe: Iterable[bytes],
        on_warning: Callable[[Mapping[str, Any]], None],
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name="tamis-stderr", daemon=True)
        self._pipe = pipe
        self._on_warning = on_warning
        self._on_progress = on_progress
        self._progress: Any = None
        self._last_words: Mapping[str, Any] | None = None
        self.used: Mapping[str, Any] | None = None
        """What the child says that it has used; known when it has ended."""
        self._other_lines: collections.deque[str] = collections.deque(maxlen=_LINES_KEPT)

    def run(self) -> None:
        """Reads to the end."""
        for line in self._pipe:
            self._hear(line.decode("utf-8", "replace").rstrip())

    def _hear(self, line: str) -> None:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            if line:
                self._other_lines.append(line[:_LONGEST_LINE])
            return
        if "progress" in record and record["progress"] != self._progress:
            self._progress = record["progress"]
            self._on_progress()
        if "used" in record and "level" not in record:
            self.used = record["used"]
        if "message" in record:
            self._last_words = record
            if record.get("level") == "WARN":
                self._on_warning(record)

    def error(self, who: str, status: int) -> KernelError:
        """Why the child ended with `status` (negative: the number of a signal), in its own words."""
        if status < 0:
            hint = "SIGKILL often means that the machine ran out of memory" if status == -signal.SIGKILL else None
            return KernelError(f"{who} was killed by signal {-status}", self._other_lines, hint)
        how = f"{who} ended with exit code {status}"
        words = self._last_words
        if words is None:
            return KernelError(how, self._other_lines, exit_code=status)
        causes = [*(words.get("causes") or ()), *self._other_lines]
        # If the input or the config is at fault, the process that found that out is of no interest.
        causes += [how] if status != FAILED else []
        return KernelError(str(words["message"]), causes, words.get("hint"), status)
