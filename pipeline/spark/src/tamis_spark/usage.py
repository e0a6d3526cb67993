"""What an engine uses besides the kernels that it starts: the process of a task, and the JVM above it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

_JVM = "java"
_GENERATIONS = 4
"""Processes between a task and its JVM, at most: Spark has one."""


class Worker:
    """Measures the process of a task, from now on."""

    def __init__(self) -> None:
        self._cpu_ns = time.process_time_ns()
        self._jvm = _find_jvm()
        self._jvm_cpu_ns = None if self._jvm is None else _cpu_ns(self._jvm)

    def used(self) -> dict[str, Any]:
        """CPU time of this process since then, and of the JVM since that was started: then and now, nanoseconds."""
        used: dict[str, Any] = {"worker_cpu_ns": time.process_time_ns() - self._cpu_ns}
        if self._jvm is not None and self._jvm_cpu_ns is not None:
            used["process"] = {
                "id": f"{self._jvm} {_start_ticks(self._jvm)}",
                "started_at": _started_at(self._jvm),
                "cpu_ns": [self._jvm_cpu_ns, _cpu_ns(self._jvm)],
                "rss_peak_bytes": _rss_peak_bytes(self._jvm),
            }
        return used


def _find_jvm() -> int | None:
    process = os.getppid()
    try:
        for _ in range(_GENERATIONS):
            name, fields = _stat(process)
            if name == _JVM:
                return process
            process = int(fields[1])
    except OSError:
        # No Linux, or none above us is one.
        pass
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
