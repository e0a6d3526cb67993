"""The stages that look for paragraphs or lines which several rows have, as data frames."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from . import audits
from .fate import Fate
from .stages import one_per_task
from .tables import DIVIDED_ROW, DIVIDED_UNIT, DROP, ERROR, GRAIN, HOLDER, PARAGRAPH, RECORDS
from .work import Work


def run(work: Work, fate: Fate) -> Fate:
    """What becomes of rows, also for what others hold."""
    kernels, units = work.kernels, fate.units()
    divided = work.stage("divide", lambda: kernels.apply("divide", one_per_task(units, work.n_units)))
    audits.check_divided(divided, units)
    to_hold = work.stage("shared", lambda: shared(divided, fate.drops))
    held = work.stage("hold", lambda: kernels.apply_in_one_task("hold", to_hold, ("kind", "a", "b")))
    audits.check_read("hold", to_hold.count(), held, GRAIN)
    names_rows = F.col("kind").isin(DROP, GRAIN) | ((F.col("kind") == HOLDER) & (F.col("b") == 0))
    fate = replace(fate, held=held).and_drops(held.where(names_rows))
    audits.check_drops(fate.drops)
    return fate


def shared(divided: DataFrame, drops: DataFrame | None) -> DataFrame:
    """What `hold` reads: the paragraphs that several rows have, these rows, and who rows are dropped for already."""
    paragraphs = divided.where(F.col("kind") == PARAGRAPH)
    of_several = paragraphs.groupBy("payload").agg(F.min("a").alias("first"), F.max("a").alias("last"))
    of_several = of_several.where(F.col("first") < F.col("last")).select("payload")
    paragraphs = paragraphs.join(of_several, "payload", "left_semi")
    rows = divided.where(F.col("kind") == DIVIDED_ROW).join(paragraphs.select("a").distinct(), "a", "left_semi")
    parts = [divided.where(F.col("kind") == DIVIDED_UNIT), rows, paragraphs]
    if drops is not None:
        parts.append(drops.where(F.col("kind") == DROP))
    together = reduce(DataFrame.unionByName, [part.select(*RECORDS.names) for part in parts])
    return together.withColumn(ERROR, F.lit(None).cast("string"))
