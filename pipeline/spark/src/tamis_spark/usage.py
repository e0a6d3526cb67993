"""What an engine uses besides the kernels that it starts: the process of a task, and the JVM above it."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

_JVM = "java"
_GENERATIONS = 4
"""Processes between a task and its JVM, at most: Spark has one."""
_UNREADABLE = (OSError, ValueError, IndexError)
"""No Linux, or no such process."""


class Worker:
    """Measures the process of a task, from now on."""

    def __init__(self) -> None:
        self._cpu_ns = time.process_time_ns()
        self._jvm = _find_jvm()

    def used(self) -> dict[str, Any]:
        """CPU time of this process since then, and of the JVM since that was started: then and now, nanoseconds."""
        used: dict[str, Any] = {"worker_cpu_ns": time.process_time_ns() - self._cpu_ns}
        if self._jvm is not None:
            process, cpu_ns = self._jvm
            # What is not there any more is not told of; the kernel has done its work.
            with contextlib.suppress(*_UNREADABLE):
                used["process"] = {
                    "id": f"{process} {_start_ticks(process)}",
                    "started_at": _started_at(process),
                    "cpu_ns": [cpu_ns, _cpu_ns(process)],
                    "rss_peak_bytes": _rss_peak_bytes(process),
                }
        return used


def _find_jvm() -> tuple[int, int] | None:
    """Its id, and its CPU time so far."""
    process = os.getppid()
    with contextlib.suppress(*_UNREADABLE):
        for _ in range(_GENERATIONS):
            name, fields = _stat(process)
            if name == _JVM:
                return process, _cpu_ns(process)
            process = int(fields[1])
    return None


def _stat(process: int) -> tuple[str, list[str]]:
    """Its name, and what `/proc/PID/stat` says after it."""
    text = Path(f"/proc/{process}/stat").read_text()
    start, end = text.index("("), text.rindex(")")
    return text[start + 1 : end], text[end + 2 :].split()


def _cpu_ns(process: int) -> int:
    fields = _stat(process)[1]
    return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // _ticks_per_second()


def _start_ticks(process: int) -> int:
    return int(_stat(process)[1][19])


def _started_at(process: int) -> float:
    """Seconds since 1970."""
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME) - _start_ticks(process) / _ticks_per_second()
    return time.time() - since_boot


def _rss_peak_bytes(process: int) -> int | None:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _ticks_per_second() -> int:
    return os.sysconf("SC_CLK_TCK")
