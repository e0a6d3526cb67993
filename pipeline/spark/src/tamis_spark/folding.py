"""The stages that look for rows which say the same in other words, as data frames."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from . import audits
from .fate import Fate
from .stages import one_per_task
from .tables import DROP, EMBEDDED, EMBEDDED_UNIT, FOLDED, HOLDER, RECORDS
from .work import Work


def run(work: Work, fate: Fate) -> Fate:
    """What becomes of rows, also for what others say."""
    kernels, units = work.kernels, fate.units()
    embedded = work.stage("embed", lambda: kernels.apply("embed", one_per_task(units, work.n_units), work.profile))
    audits.check_embedded(embedded, units)
    parts = [embedded.where(F.col("kind").isin(EMBEDDED_UNIT, EMBEDDED))]
    if fate.drops is not None:
        parts.append(fate.drops.where(F.col("kind") == DROP))
    if fate.held is not None:
        parts.append(fate.held.where(F.col("kind") == HOLDER))
    to_fold = reduce(DataFrame.unionByName, [part.select(*RECORDS.names) for part in parts])
    folded = work.stage("fold", lambda: kernels.apply_in_one_task("fold", to_fold, ("kind", "unit", "a")))
    audits.check_read("fold", to_fold.count(), folded, FOLDED)
    fate = fate.and_drops(folded.where(F.col("kind").isin(DROP, HOLDER, FOLDED)))
    audits.check_drops(fate.drops)
    return fate
