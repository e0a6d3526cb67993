"""The stages that learn a scorer and score rows, as data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from .stages import Kernels, one_per_task
from .tables import RECORDS, SCORER, TABLE_ROWS

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import DataFrame


def texts(kernels: Kernels, decided: DataFrame, n_units: int) -> DataFrame:
    """Records of the texts to learn from, and of the ids of rows that labels may name."""
    return kernels.apply("texts", one_per_task(decided, n_units))


def learn(kernels: Kernels, found: DataFrame, profile: ResourceProfile | None) -> DataFrame:
    """Records of the scorer, and of what the manifest says of it."""
    if found.isEmpty():
        return kernels.apply_to_nothing("learn", found.sparkSession, RECORDS, profile)
    return kernels.apply("learn", found.repartition(1).sortWithinPartitions("kind", "a", "b"), profile)


def score(
    kernels: Kernels, decided: DataFrame, learned: DataFrame | None, n_units: int, profile: ResourceProfile | None
) -> DataFrame:
    """Records of rows of the tables, and of how each unit was scored."""
    units = one_per_task(decided, n_units)
    if learned is None:
        units = units.withColumn("scorer", F.lit(None).cast("binary"))
    else:
        # Last, so that the scorer is not shuffled with each unit.
        scorer = learned.where(F.col("kind") == SCORER).select(F.col("payload").alias("scorer"))
        units = units.crossJoin(F.broadcast(scorer))
    return kernels.apply("score", units, profile)


def tabulate(kernels: Kernels, scored: DataFrame, n_units: int) -> DataFrame:
    """Records of the files of the tables. It writes to the output: each try leaves files of its own."""
    rows = scored.where(F.col("kind") == TABLE_ROWS)
    return kernels.apply("tabulate", one_per_task(rows, n_units).sortWithinPartitions("unit", "b", "a"))
