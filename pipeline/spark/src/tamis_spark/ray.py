"""The same bridge under Ray Data: the stages of a task for each unit that need no shuffle, `scan` and `score`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from .bridge import WATCHDOG_SECONDS, kernel
from .tables import FINGERPRINTS, RECORDS, USED


def scan(
    units: pa.Table, job: str, args: Sequence[str] = (), watchdog_seconds: float = WATCHDOG_SECONDS
) -> ray.data.Dataset:
    """Fingerprints of the units, and a summary of each: a task for each unit.

    Settings that look at columns need a second scan, of units with their places: the first one gives no fingerprints.
    Rows with `error` say why trying again is in vain: look for them before anything else.
    """
    return _through("scan", FINGERPRINTS, units, job, args, watchdog_seconds)


def score(
    units: pa.Table,
    job: str,
    args: Sequence[str] = (),
    watchdog_seconds: float = WATCHDOG_SECONDS,
    num_gpus: float | None = None,
) -> ray.data.Dataset:
    """Records of the scores of the units, and of how each was scored: a task for each unit.

    `units` have their places, `dropped`, `rules` and `scorer`, which is null for all if nothing has been learnt; `job`
    is that of the places. Each task asks Ray for `num_gpus`, or a share of one, and its kernel sees no others. Rows
    with `error` say why trying again is in vain.
    """
    return _through("score", RECORDS, units, job, args, watchdog_seconds, num_gpus)


def _through(
    name: str,
    output: pa.Schema,
    units: pa.Table,
    job: str,
    args: Sequence[str],
    watchdog_seconds: float,
    num_gpus: float | None = None,
) -> ray.data.Dataset:
    """Units through `tamis kernel NAME`, one process for each."""
    through = kernel(name, job, args, output=output, watchdog_seconds=watchdog_seconds)

    def through_kernel(table: pa.Table) -> Iterator[pa.Table]:
        for batch in through(iter(table.combine_chunks().to_batches())):
            made = pa.Table.from_batches([batch])
            yield made.filter(pc.is_null(made.column(USED))).drop_columns(USED)

    one_each = ray.data.from_arrow([units.slice(row, 1) for row in range(units.num_rows)])
    return one_each.map_batches(through_kernel, batch_format="pyarrow", batch_size=1, num_gpus=num_gpus)
