"""Arrow batches -> a `tamis kernel` process -> Arrow batches, for any engine that hands a task an iterator.

Where streams end is where rows get lost, silently. Four things are easy to get wrong here; `tests/test_bridge.py` has a
test for each:

- pyarrow does not go on after a short read: pipes are buffered;
- a child that is not read any more may never end: whoever waits for it does so for a while, then kills it;
- if what feeds the child fails, the child must not see a whole stream: it would write a short file;
- a child that ends well before it has read all its input has lost rows.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from .child import Stderr, environment, locate
from .errors import FAILED, KernelError
from .streams import Source
from .tables import ERROR, USED, of_task, small, to_metadata
from .usage import Worker

FLAGS = ("--threads", "1", "--no-progress")
"""What each kernel is started with, besides its own arguments: the engine decides how many tasks a machine has."""

WATCHDOG_SECONDS = 600.0

Batches = Iterator[pa.RecordBatch]

_BUFFER_BYTES = 1 << 20
_GRACE_SECONDS = 10.0


def kernel(
    name: str,
    job: str,
    args: Sequence[str] = (),
    *,
    output: pa.Schema,
    flags: Sequence[str] = FLAGS,
    run: str = "",
    watchdog_seconds: float = WATCHDOG_SECONDS,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[Batches], Batches]:
    """A function that sends batches through `tamis kernel NAME`, to be called in a task.

    `job` is `tamis.job` of the session, `output` what the kernel writes, `run` a name that no other run has, `metadata`
    what else the stream into the kernel says. The function gives rows of `output` with two more columns. The last row
    has nothing but `used`: what the kernel says that it has used, and what this process and its JVM have, in JSON. If
    the kernel ends with exit code 2, trying again is in vain, which an exception would make most engines do: then a row
    comes in which all is null but `error`, the error in JSON. Every other failure raises `KernelError`. For a task
    without batches no kernel is started.

    A kernel that says and writes nothing new for `watchdog_seconds`, though it is waited for, is killed.

    Call it in the main thread of the process: kernels are killed with the thread that started them.
    """
    command = ["kernel", name, *flags, *args]

    def through_kernel(batches: Batches) -> Batches:
        batches = iter(batches)
        first = next(batches, None)
        if first is None:
            return
        worker = Worker()
        child = _Child(name, [locate(), *command], run, watchdog_seconds)
        try:
            child.feed(first, batches, to_metadata(job) | dict(metadata))
            while (batch := child.read(output)) is not None:
                yield batch
            error = child.finish(batches)
        finally:
            child.abandon()
        if error is not None:
            yield _row(output, ERROR, json.dumps({"kernel": name} | json.loads(error.to_json())))
        elif child.used is not None:
            yield _row(output, USED, json.dumps({**child.used, "engine": worker.used()}))

    return through_kernel


class _Child:
    """A kernel, the thread that feeds it, the one that reads its stderr, and the one that kills it if it hangs."""

    def __init__(self, name: str, command: Sequence[str], run: str, watchdog_seconds: float) -> None:
        self._who = f"tamis kernel {name}"
        # Our own pipe, to keep its end for reading as well: it tells how much of the input nobody has read.
        self._unread_fd, stdin_fd = os.pipe()
        self._stdin = os.fdopen(stdin_fd, "wb", _BUFFER_BYTES)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=self._unread_fd,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(run),
                bufsize=_BUFFER_BYTES,
            )
        except OSError as error:
            self._close_unread()
            self._stdin.close()
            raise KernelError(f"could not start `{command[0]}`", [str(error)]) from error
        self._source = Source(self._process.stdout)
        self._reader: pa.RecordBatchStreamReader | None = None
        self._torn: Exception | None = None
        self._is_fed = False
        self._upstream_error: BaseException | None = None
        self._feeder: threading.Thread | None = None
        self._watchdog = _Watchdog(self._process, watchdog_seconds)
        self._stderr = Stderr(self._process.stderr, _warn, self._watchdog.touch)
        self._stderr.start()
        self._watchdog.start()

    def feed(self, first: pa.RecordBatch, rest: Batches, metadata: Mapping[str, str]) -> None:
        """Starts to send `first` and `rest` to the child."""
        arguments = (first, rest, metadata)
        self._feeder = threading.Thread(target=self._feed, args=arguments, name="tamis-feed", daemon=True)
        self._feeder.start()

    def _feed(self, batch: pa.RecordBatch | None, rest: Batches, metadata: Mapping[str, str]) -> None:
        schema = batch.schema.with_metadata(dict(metadata))
        try:
            # Not as a context manager: that writes the end marker after an exception, too.
            writer = pa.ipc.new_stream(self._stdin, schema)
            while batch is not None:
                if batch.num_rows:
                    writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
                with self._watchdog.paused():
                    batch = next(rest, None)
            writer.close()
            self._stdin.flush()
            self._is_fed = True
        except BrokenPipeError:
            pass  # The child is gone; its exit code tells whether it may be.
        except BaseException as error:
            self._upstream_error = error
        finally:
            with contextlib.suppress(OSError):
                self._stdin.close()
        if self._upstream_error is not None:
            self._end_soon()

    def _end_soon(self) -> int:
        """Waits for the child to end, but not for ever."""
        try:
            return self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def read(self, output: pa.Schema) -> pa.RecordBatch | None:
        """The next batch that the child wrote, `None` after the last one."""
        try:
            with self._watchdog.waiting():
                if self._reader is None:
                    self._reader = pa.ipc.open_stream(self._source)
                    self._check_schema(self._reader.schema, output)
                batch = self._reader.read_next_batch()
        except StopIteration:
            return None
        except (pa.ArrowInvalid, OSError) as error:
            self._torn = error
            return None
        columns = [batch.column(field.name) for field in output]
        columns = [
            column if column.type == field.type else column.cast(field.type)
            for column, field in zip(columns, output, strict=True)
        ]
        columns += [pa.nulls(batch.num_rows, pa.string())] * 2
        return pa.RecordBatch.from_arrays(columns, schema=of_task(output))

    def _check_schema(self, written: pa.Schema, output: pa.Schema) -> None:
        for field in output:
            index = written.get_field_index(field.name)
            found = "no such column" if index < 0 else written.field(index).type
            if index < 0 or small(found) != small(field.type):
                message = f"{self._who} wrote other columns than it must: `{field.name}` must be {field.type}"
                raise KernelError(message, [f"found: {found}"], "the driver and the binary must be of one version")

    def finish(self, rest: Batches) -> KernelError | None:
        """Says why trying again is in vain, if it is; raises whatever else went wrong."""
        with self._watchdog.waiting():
            has_rest = self._torn is None and bool(self._source.read(1))
            status = self._process.wait() if self._torn is None else self._end_soon()
        n_unread = self._count_unread()
        self._close_unread()
        if status == 0:
            self._feeder.join(_GRACE_SECONDS)
        self._stderr.join(_GRACE_SECONDS)
        if self._upstream_error is not None:
            raise self._upstream_error
        if self._watchdog.has_bitten:
            raise self._watchdog.error(self._who)
        if status == FAILED:
            # The task ends well: engines want all of its input read then, by one thread at a time.
            self._feeder.join()
            for _ in rest:
                pass
            return self._stderr.error(self._who, status)
        if status != 0:
            raise self._stderr.error(self._who, status)
        if self._torn is not None or has_rest or not self._source.is_at_marker:
            cause = str(self._torn or "its output has no end marker, or goes on after it")
            raise KernelError(f"{self._who} ended with exit code 0, but its output is not whole", [cause])
        if not self._is_fed or n_unread:
            raise KernelError(f"{self._who} ended with exit code 0 before it had read all its input")
        return None

    @property
    def used(self) -> Mapping[str, Any] | None:
        """What the child says that it has used."""
        return self._stderr.used

    def _count_unread(self) -> int:
        return struct.unpack("i", fcntl.ioctl(self._unread_fd, termios.FIONREAD, b"\0" * 4))[0]

    def abandon(self) -> None:
        """Leaves nothing behind, however far things went."""
        self._watchdog.stop()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._stderr.join(_GRACE_SECONDS)
        self._process.stdout.close()
        if not self._stderr.is_alive():
            self._process.stderr.close()
        self._close_unread()

    def _close_unread(self) -> None:
        if self._unread_fd >= 0:
            os.close(self._unread_fd)
            self._unread_fd = -1


class _Watchdog(threading.Thread):
    """Kills a child that does nothing for too long while we wait for it, and not for what feeds it."""

    def __init__(self, process: subprocess.Popen[bytes], limit_seconds: float) -> None:
        super().__init__(name="tamis-watchdog", daemon=True)
        self.has_bitten = False
        self._process = process
        self._limit = limit_seconds
        self._touched = time.monotonic()
        self._is_waiting = False
        self._is_paused = False
        self._stopped = threading.Event()

    def run(self) -> None:
        """Looks now and then."""
        while not self._stopped.wait(min(1.0, self._limit / 4)):
            is_idle = self._touched + self._limit < time.monotonic()
            if is_idle and self._is_waiting and not self._is_paused:
                self.has_bitten = True
                self._process.kill()
                return

    def touch(self) -> None:
        """Something happened."""
        self._touched = time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While the child is waited for."""
        self.touch()
        self._is_waiting = True
        try:
            yield
        finally:
            self._is_waiting = False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """While what feeds the child is waited for."""
        self._is_paused = True
        try:
            yield
        finally:
            self.touch()
            self._is_paused = False

    def stop(self) -> None:
        """Ends the watch."""
        self._stopped.set()

    def error(self, who: str) -> KernelError:
        """What to say of a child that was killed."""
        return KernelError(
            f"{who} made no progress for {self._limit:.0f} s and was killed",
            hint="if it waits for something that long, allow more: --watchdog of `python -m tamis_spark`",
        )


def _warn(record: Mapping[str, Any]) -> None:
    print(json.dumps(record), file=sys.stderr, flush=True)


def _row(output: pa.Schema, name: str, text: str) -> pa.RecordBatch:
    """A row in which all is null but one column."""
    schema = of_task(output)
    columns = [pa.array([text if field.name == name else None], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
