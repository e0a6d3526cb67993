"""The stages that decide by the quality of rows, as data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from .scoring import with_scorer
from .stages import Kernels, one_per_task
from .tables import CONTROL, JUDGED, JUDGED_UNIT, UNFIT

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import DataFrame

SECTION = {"section": "quality"}
"""Metadata of streams of kernels that others use, too."""


def judge(
    kernels: Kernels, decided: DataFrame, scorer: DataFrame | None, n_units: int, profile: ResourceProfile | None
) -> DataFrame:
    """Records of rows of the table `quality`, and of the scores of all rows that stay so far."""
    return kernels.apply("judge", with_scorer(one_per_task(decided, n_units), scorer), profile)


def sift(kernels: Kernels, judged: DataFrame) -> DataFrame:
    """Records of the rows that go, of control rows, and of what the manifest says."""
    scores = judged.where(F.col("kind").isin(JUDGED_UNIT, JUDGED))
    return kernels.apply("sift", scores.repartition(1).sortWithinPartitions("kind", "unit", "a"))


def decide(decided: DataFrame, sifted: DataFrame) -> DataFrame:
    """The units, also with the payloads of `unfit` and `control`, each null in a unit without such rows."""
    for kind, name in ((UNFIT, "unfit"), (CONTROL, "control")):
        rows = sifted.where(F.col("kind") == kind).select("unit", F.col("payload").alias(name))
        decided = decided.join(rows, "unit", "left")
    return decided
