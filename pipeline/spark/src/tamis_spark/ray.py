"""The same bridge under Ray Data: one stage, to show what an engine needs to have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import ray.data

from .bridge import WATCHDOG_SECONDS, kernel
from .tables import FINGERPRINTS


def scan(
    units: pa.Table, job: str, args: Sequence[str] = (), watchdog_seconds: float = WATCHDOG_SECONDS
) -> ray.data.Dataset:
    """Fingerprints of the units, and a summary of each: a task for each unit.

    Settings that look at columns need a second scan, of units with their places: the first one gives no fingerprints.
    Rows with `error` say why trying again is in vain: look for them before anything else.
    """
    through = kernel("scan", job, args, output=FINGERPRINTS, watchdog_seconds=watchdog_seconds)

    def scan_units(table: pa.Table) -> Iterator[pa.Table]:
        for batch in through(iter(table.combine_chunks().to_batches())):
            yield pa.Table.from_batches([batch])

    one_each = ray.data.from_arrow([units.slice(row, 1) for row in range(units.num_rows)])
    return one_each.map_batches(scan_units, batch_format="pyarrow", batch_size=1)
