"""What becomes of the rows of units, as far as it is decided."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from .stages import decide
from .tables import CUTS


@dataclass(frozen=True)
class Fate:
    """See the module."""

    placed: DataFrame
    drops: DataFrame | None = None
    """Records of all that decide who is dropped for whom, if anything does."""
    held: DataFrame | None = None
    """Records of what is cut, and of who keeps that, if anything may be."""

    def and_drops(self, records: DataFrame) -> Fate:
        """The same with further drops."""
        return replace(self, drops=records if self.drops is None else self.drops.unionByName(records))

    def units(self) -> DataFrame:
        """The units with what becomes of their rows, and the payload of `cuts`, null in a unit without any."""
        units = decide(self.drops, self.placed)
        if self.held is None:
            return units
        cuts = self.held.where(F.col("kind") == CUTS).select("unit", F.col("payload").alias("cuts"))
        return units.join(cuts, "unit", "left")
