"""Arrow IPC streams through pipes. A stream is whole only with its end marker, which libraries do not insist on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

import pyarrow as pa

END_MARKER = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class Source:
    """A buffered pipe to read streams from, one after another; remembers the last bytes read.

    The pipe must be buffered: pyarrow does not go on after a short read.
    """

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._last = b""

    @property
    def closed(self) -> bool:
        """Whether nothing can be read any more."""
        return self._pipe.closed

    @property
    def is_at_marker(self) -> bool:
        """Whether what was read last is the end marker of a stream."""
        return self._last == END_MARKER

    def read(self, n_bytes: int = -1) -> bytes:
        """So many bytes, fewer only at the end."""
        data = self._pipe.read(n_bytes)
        self._last = (self._last + data[-len(END_MARKER) :])[-len(END_MARKER) :]
        return data


def read_table(source: Source) -> pa.Table:
    """Reads one stream.

    Raises `pa.ArrowInvalid` if it is not whole.
    """
    table = pa.ipc.open_stream(source).read_all()
    if not source.is_at_marker:
        raise pa.ArrowInvalid("the stream ended without its end marker")
    return table


def write_table(pipe: BinaryIO, table: pa.Table, metadata: Mapping[str, str]) -> None:
    """Writes one stream, with its end marker only if all went well."""
    table = table.replace_schema_metadata(dict(metadata))
    # Not as a context manager: that writes the end marker after an exception, too.
    writer = pa.ipc.new_stream(pipe, table.schema)
    writer.write_table(table)
    writer.close()
    pipe.flush()
