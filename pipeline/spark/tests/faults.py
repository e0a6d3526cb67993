"""Kernels that stand still in a stage of one's choice, and what to do to processes meanwhile."""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pyspark
import runs

WRITERS = ("tabulate", "write")
"""Stages that write to the output, and are done again in any case."""

STAGES = (
    *("scan", "identical", "bucket", "prune", "prove", "assign", "divide", "hold"),
    *("texts", "learn", "score", "choose", "pick", *WRITERS),
)
"""Those of `runs.SCORING`, in their order. `identical` has no kernel of its own: `DRIVER` gives it one."""

DRIVER = (str(Path(__file__).parent / "driver_with_one_more_kernel.py"),)

SPARK_HOME = Path(pyspark.__file__).parent

_MARK = "TAMIS_TEST_RUN"
_SECONDS = 300

# A kernel that stands still has begun and waits for input that never comes; one of `WRITERS` has written all it must,
# but nobody knows yet. None of them ends unless it is killed.
_SCRIPT = """#!/bin/sh
folder='{folder}' binary='{binary}'
echo "$2" >> "$folder/started"
if mv "$folder/stop-in/$2" "$folder/stopped/$2.tmp" 2> /dev/null; then
  case $2 in
    {writers}) TAMIS_PARENT=$$ "$binary" "$@" > /dev/null ;;
  esac
  echo $$ > "$folder/stopped/$2.tmp"
  mv "$folder/stopped/$2.tmp" "$folder/stopped/$2"
  case $2 in
    identical | {writers}) read -r _ 0<> "$folder/never" ;;
    *) exec "$binary" "$@" 0<> "$folder/never" ;;
  esac
fi
[ "$2" = identical ] || exec "$binary" "$@"
"""


def environment(folder):
    """What all processes of a run have in their environment: its mark, and where to put what they do not clean up."""
    return {
        _MARK: str(folder),
        "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={folder} -XX:TieredStopAtLevel=1",
        "SPARK_LOCAL_DIRS": str(folder),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "TAMIS_UNIT_BYTES": "50000",
        "TMPDIR": str(folder),
    }


class Kernels:
    """A binary of which the first kernel of some stages stands still."""

    def __init__(self, folder):
        self._folder = folder
        for name in ("stop-in", "stopped"):
            (folder / name).mkdir()
        os.mkfifo(folder / "never")
        script = folder / "tamis"
        script.write_text(_SCRIPT.format(folder=folder, binary=runs.binary(), writers=" | ".join(WRITERS)))
        script.chmod(0o755)
        self.env = environment(folder) | {"TAMIS_BIN": str(script)}

    def stop_in(self, *stages):
        for stage in stages:
            (self._folder / "stop-in" / stage).touch()

    def wait_for(self, stage, driver):
        """Waits until a kernel of the stage stands still; gives its process."""
        path = self._folder / "stopped" / stage
        until(lambda: path.exists() or driver.poll() is not None)
        assert path.exists(), f"the driver ended before {stage} with {driver.returncode}: {driver.words()}"
        kernel = int(path.read_text())
        if stage not in ("identical", *WRITERS):
            until(lambda: os.path.samefile(f"/proc/{kernel}/exe", runs.binary()))
        return kernel

    def started(self):
        """The stages of which kernels were started since this was asked last."""
        log = self._folder / "started"
        names = set(log.read_text().split())
        log.unlink()
        return names


class Process(subprocess.Popen):
    """A process that says what it has to say into a file; it and all of its run end with the `with` block."""

    def __init__(self, command, folder, env):
        self._stderr = Path(env[_MARK], f"{len(list(Path(env[_MARK]).glob('*.err')))}.err")
        self._run = env[_MARK]
        with open(self._stderr, "wb") as stderr:
            super().__init__(
                command, cwd=folder, env={**os.environ, **env}, stdout=stderr, stderr=stderr, stdin=subprocess.DEVNULL
            )

    def words(self):
        return self._stderr.read_text()

    def wait_for_words(self, pattern):
        """Waits until it has said so; gives what is in the parentheses of the pattern, if it has some."""
        until(lambda: re.search(pattern, self.words()) or self.poll() is not None)
        found = re.search(pattern, self.words())
        assert found, self.words()
        return found[found.re.groups]

    def __exit__(self, *error):
        for process in processes(self._run):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        super().__exit__(*error)


def processes(run, part=""):
    """Processes of a run that have `part` in their command line."""
    found = []
    mark = f"\0{_MARK}={run}\0".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        # It may have ended, or be of somebody else.
        with contextlib.suppress(OSError):
            if mark in b"\0" + (folder / "environ").read_bytes() and part.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def executor_of(kernel):
    """The executor that a kernel works for."""
    process = kernel
    while b"CoarseGrainedExecutorBackend" not in Path(f"/proc/{process}/cmdline").read_bytes():
        status = Path(f"/proc/{process}/status").read_text()
        process = int(status.partition("\nPPid:")[2].split()[0])
    return process


def until(condition):
    """Waits until it holds."""
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.02)


def check_nothing_runs(run, but=()):
    """All processes of a run end, of themselves."""
    until(lambda: set(processes(run)) <= {process.pid for process in but})
