"""The stages that choose a labelling batch, as data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from .scoring import with_scorer
from .stages import Kernels, one_per_task, wanted_rows
from .tables import CANDIDATES, CHOSEN, SEEN

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import DataFrame

GATHERED_UNITS = 64
"""Units, or so many such groups, of which one task joins what was seen."""


def seen(scored: DataFrame) -> DataFrame:
    """Records of what was seen of the rows of each unit."""
    return scored.where(F.col("kind").isin(SEEN, CANDIDATES))


def rounds(n_units: int) -> list[int]:
    """Units of a group in each round of `gather`, so that who chooses has little to read; no round for few units."""
    sizes, size = [], GATHERED_UNITS
    while size < n_units:
        sizes.append(size)
        size *= GATHERED_UNITS
    return sizes


def gather(kernels: Kernels, records: DataFrame, known: str, n_units: int, size: int) -> DataFrame:
    """Records of what was seen of groups of `size` units; `records` are of smaller ones."""
    groups = (F.col("unit") / size).cast("int")
    grouped = records.repartitionById(-(-n_units // size), groups)
    return kernels.apply("gather", grouped.sortWithinPartitions("kind", "unit", "a"), known=known)


def choose(kernels: Kernels, records: DataFrame, known: str) -> DataFrame:
    """Records of the chosen rows, and of what the manifest says of them."""
    return kernels.apply("choose", records.repartition(1).sortWithinPartitions("kind", "unit", "a"), known=known)


def pick(
    kernels: Kernels,
    chosen: DataFrame,
    decided: DataFrame,
    scorer: DataFrame | None,
    n_units: int,
    profile: ResourceProfile | None,
) -> DataFrame:
    """Records of the chosen rows, with all that the batch has of them. Only units that have such rows are read."""
    units = one_per_task(decided.join(wanted_rows(chosen, CHOSEN), "unit"), n_units)
    return kernels.apply("pick", with_scorer(units, scorer), profile)
