"""Progress on a terminal: a line for each stage, with a bar where Spark tells how many tasks are done."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from .cluster import Cluster
from .errors import Interrupted

_TICK_SECONDS = 0.5
_BAR_WIDTH = 30
_ERASE = "\r\x1b[K"


class Stop:
    """Whether somebody asked the run to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def check(self) -> None:
        """Raises `Interrupted` if somebody has."""
        if self.signal is not None:
            raise Interrupted("interrupted; nothing was written", exit_code=128 + self.signal)


class Progress:
    """Names stages, to Spark and to whoever looks at the terminal; between them a run may be stopped."""

    def __init__(self, stop: Stop, is_shown: bool) -> None:
        self._stop = stop
        self._is_shown = is_shown and sys.stderr.isatty()

    @contextlib.contextmanager
    def stage(self, name: str, cluster: Cluster | None = None) -> Iterator[None]:
        """While the stage runs; `cluster` is where, if not in this process."""
        self._stop.check()
        if cluster is not None:
            cluster.name_jobs(name)
        if not self._is_shown:
            yield
            return
        is_over = threading.Event()
        show = threading.Thread(target=_show, args=(name, cluster, is_over), daemon=True)
        show.start()
        try:
            yield
        finally:
            is_over.set()
            show.join()

    def say(self, line: str) -> None:
        """Writes a line to stderr, above the bar if there is one."""
        print((_ERASE if self._is_shown else "") + line, file=sys.stderr, flush=True)


def _show(name: str, cluster: Cluster | None, is_over: threading.Event) -> None:
    started = time.monotonic()
    while not is_over.wait(_TICK_SECONDS):
        sys.stderr.write(f"{_ERASE}{_line(name, cluster, time.monotonic() - started)}")
        sys.stderr.flush()
    sys.stderr.write(f"{_ERASE}{name:<8} done in {time.monotonic() - started:.1f} s\n")
    sys.stderr.flush()


def _line(name: str, cluster: Cluster | None, seconds: float) -> str:
    n_done, n_all = (cluster.n_tasks() if cluster is not None else None) or (0, 0)
    if not n_all:
        return f"{name:<8} {seconds:.0f} s"
    n_filled = _BAR_WIDTH * n_done // n_all
    bar = "#" * n_filled + "-" * (_BAR_WIDTH - n_filled)
    return f"{name:<8} [{bar}] {n_done:,} of {n_all:,} tasks, {seconds:.0f} s"
