"""The `tamis kernel session` process: it lives as long as the run, on the driver's machine, and holds the output."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .child import Stderr, environment, locate
from .errors import KernelError
from .streams import Source, read_table, write_table
from .tables import PLACES, RECORDS, to_metadata

REJECTED = 1
"""Exit code of a session that ended well, but for rows that could not be read."""

_BUFFER_BYTES = 1 << 20
_CLOSE_SECONDS = 60.0
_TERMINATE_SECONDS = 10.0


class Session:
    """A run, from its units to its manifest.

    Use it as a context manager, in one thread that lives as long: the process is killed with the thread that started
    it. What was written is taken back unless :meth:`commit` has returned. All methods raise `KernelError` with the
    words of the process.
    """

    def __init__(
        self,
        config: str,
        is_overwriting: bool = False,
        run: str = "",
        on_warning: Callable[[Mapping[str, Any]], None] = lambda record: None,
        if_locked: str = "fail",
        args: Sequence[str] = (),
    ) -> None:
        self.units = pa.table({})
        """What a task reads, in the order of the rows."""
        self.job = ""
        """Text that every kernel gets."""
        self.run = ""
        """A name that is the same for the same config and inputs."""
        self.stages: list[str] = []
        """Which stages this run has besides `scan` and `write`."""
        self.ended = ""
        """Why there is nothing to do, in JSON, if that is so."""
        self.exit_code: int | None = None
        """How the process ended, once it has."""
        flags = ["--if-locked", if_locked, *(["--overwrite"] if is_overwriting else []), *args]
        self._command = ["kernel", "session", config, *flags]
        self._attempt = run
        self._on_warning = on_warning
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ending = threading.Lock()
        self._is_waited_for = False

    def __enter__(self) -> Session:
        binary = locate()
        try:
            self._process = subprocess.Popen(
                [binary, *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(self._attempt),
                bufsize=_BUFFER_BYTES,
                # Ctrl-C is for the driver: it ends the session when no task writes any more.
                start_new_session=True,
            )
        except OSError as error:
            raise KernelError(f"could not start `{binary}`", [str(error)]) from error
        self._source = Source(self._process.stdout)
        self._stderr = Stderr(self._process.stderr, self._on_warning)
        self._stderr.start()
        try:
            self._read_units()
        except BaseException:
            self._close()
            raise
        return self

    def _read_units(self) -> None:
        self.units = self._read()
        metadata = self.units.schema.metadata or {}
        self.ended = metadata.get(b"tamis.ended", b"").decode()
        if self.ended:
            self.exit_code = self._wait()
            return
        try:
            self.job = metadata[b"tamis.job"].decode()
            self.run = metadata[b"tamis.run"].decode()
            self.stages = json.loads(metadata[b"tamis.stages"])
        except (KeyError, ValueError) as error:
            message = "the units of tamis kernel session lack what the protocol says"
            raise KernelError(message, [repr(error)], "the driver and the binary must be of one version") from error

    def places(self, summaries: pa.Table) -> pa.Table:
        """Where the rows of each unit lie in the whole input; `summaries` are those of all units, in their order."""
        self._write(summaries)
        places = self._read()
        self.job = (places.schema.metadata or {}).get(b"tamis.job", self.job.encode()).decode()
        return places

    def commit(self, records: Iterable[pa.Table]) -> str:
        """Makes the run visible; `records` are what the protocol names. Gives the manifest, in JSON."""
        self._write(pa.concat_tables([RECORDS.empty_table(), *records]))
        manifest = self._read().column("manifest")[0].as_py()
        status = self._wait()
        if status not in (0, REJECTED):
            raise self._stderr.error("tamis kernel session", status)
        return manifest

    def cancel(self) -> None:
        """Asks the process to end if a thread waits for its answer; may be called in any other.

        If none does, tasks may be at work: they must end first, and :meth:`__exit__` then ends the process.
        """
        if self._process is not None and self._is_waited_for and self._process.poll() is None:
            self._process.terminate()

    def _read(self) -> pa.Table:
        self._is_waited_for = True
        try:
            return read_table(self._source)
        except (pa.ArrowInvalid, OSError) as error:
            raise self._failure(error) from error
        finally:
            self._is_waited_for = False

    def _write(self, table: pa.Table) -> None:
        try:
            write_table(self._process.stdin, table, to_metadata(self.job))
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> KernelError:
        status = self._wait()
        if status in (0, REJECTED):
            return KernelError("tamis kernel session ended in the middle of the run", [str(error)])
        return self._stderr.error("tamis kernel session", status)

    def _wait(self) -> int:
        """Closes its input and waits for the process, which ends soon then; helps if it does not."""
        with self._is_ending:
            if self.exit_code is None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()
                self.exit_code = self._end()
                self._stderr.join(_TERMINATE_SECONDS)
        return self.exit_code

    def _end(self) -> int:
        for seconds, end in ((_CLOSE_SECONDS, self._process.terminate), (_TERMINATE_SECONDS, self._process.kill)):
            try:
                return self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                end()
        return self._process.wait()

    def _close(self) -> None:
        self._wait()
        self._process.stdout.close()
        if not self._stderr.is_alive():
            self._process.stderr.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()


def place(units: pa.Table, places: pa.Table) -> pa.Table:
    """The units with their places.

    Raises `KernelError` if a unit has none.
    """
    of_unit = pc.index_in(units.column("unit"), value_set=places.column("unit").combine_chunks())
    if of_unit.null_count:
        raise KernelError("tamis kernel session gave no place for some units")
    for name in PLACES:
        units = units.append_column(name, places.column(name).take(of_unit))
    return units
