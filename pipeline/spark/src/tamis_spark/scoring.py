"""The stages that learn a scorer and score rows, as data frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from .stages import Kernels, one_per_task
from .tables import DROP, NAMED_ROW, TABLE_ROWS

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile


def texts(kernels: Kernels, decided: DataFrame, n_units: int, **metadata: str) -> DataFrame:
    """Records of the texts to learn from, and of the ids of rows that labels may name."""
    return kernels.apply("texts", one_per_task(decided, n_units), **metadata)


def drops_of_named(drops: DataFrame, found: DataFrame) -> DataFrame:
    """Records of drops of rows that labels speak of."""
    named = found.where(F.col("kind") == NAMED_ROW).select(F.col("a").alias("b"))
    return drops.where(F.col("kind") == DROP).join(named, "b", "left_semi").select(*found.columns)


def learn(kernels: Kernels, found: DataFrame, profile: ResourceProfile | None, **metadata: str) -> DataFrame:
    """Records of the scorer, of what the manifest says of it, and of what is known before rows are chosen."""
    return kernels.apply_in_one_task("learn", found, ("kind", "a", "b"), profile, **metadata)


def score(
    kernels: Kernels,
    decided: DataFrame,
    scorer: DataFrame | None,
    known: str | None,
    n_units: int,
    profile: ResourceProfile | None,
) -> DataFrame:
    """Records of rows of the tables, of how each unit was scored, and of what was seen of rows to choose from."""
    units = with_scorer(one_per_task(decided, n_units), scorer)
    return kernels.apply("score", units, profile, **({} if known is None else {"known": known}))


def with_scorer(units: DataFrame, scorer: DataFrame | None) -> DataFrame:
    """`units` with the payload of the record of a scorer, or null; last, so that it is not shuffled with each unit."""
    if scorer is None:
        return units.withColumn("scorer", F.lit(None).cast("binary"))
    return units.crossJoin(F.broadcast(scorer.select(F.col("payload").alias("scorer"))))


def tabulate(kernels: Kernels, made: Sequence[DataFrame], n_units: int) -> DataFrame:
    """Records of the files of the tables. It writes to the output: each try leaves files of its own."""
    rows = reduce(DataFrame.unionByName, made).where(F.col("kind") == TABLE_ROWS)
    return kernels.apply("tabulate", one_per_task(rows, n_units).sortWithinPartitions("unit", "b", "a"))
