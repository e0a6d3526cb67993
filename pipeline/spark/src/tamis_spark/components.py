"""The stages that decide about pairs, and which rows have to be in one task of them.

Rows without a chain of pairs between them never meet: the components of the pairs may be decided in different tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from .stages import Kernels
from .tables import COUNTS, EDGES, ERROR, MEMBER, OPEN_PAIRS, RECORDS, USED, WANTED_ROW

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclass(frozen=True)
class Parts:
    """The tasks that decide, and which rows each of them gets."""

    n_parts: int = 1
    of_rows: DataFrame | None = None
    """`row`, `part` of the rows in pairs, if there are several."""

    def apply(self, kernels: Kernels, name: str, records: DataFrame) -> DataFrame:
        """Records through `tamis kernel NAME`, those of each part sorted, in one process."""
        if self.of_rows is None:
            records = records.repartition(1)
        else:
            with_part = records.join(self.of_rows, F.col("a") == F.col("row"), "left")
            numbered = with_part.withColumn("part", self._part())
            records = numbered.repartitionById(self.n_parts, F.col("part").cast("int")).select(records.columns)
        return kernels.apply(name, records.sortWithinPartitions("kind", "a", "b"), parts=str(self.n_parts))

    def _part(self) -> Column:
        lost = F.raise_error(F.lit("a row in pairs is in no component: please report this"))
        # A row that only shares its text with others is in no pair.
        elsewhere = F.when(F.col("kind") == MEMBER, _part_of("a", self.n_parts)).otherwise(lost)
        return F.when(F.col("kind") == COUNTS, F.lit(0)).otherwise(F.coalesce("part", elsewhere))


def prune(kernels: Kernels, found: DataFrame, parts: Parts) -> DataFrame:
    """The records without pairs that nothing depends on, and the rows wanted to tell about the others."""
    if found.isEmpty():
        return kernels.apply_to_nothing("prune", found.sparkSession, RECORDS)
    return parts.apply(kernels, "prune", found)


def assign(kernels: Kernels, compared: DataFrame, proven: DataFrame, parts: Parts) -> DataFrame:
    """Records of who is dropped for whom."""
    return parts.apply(kernels, "assign", compared.where(F.col("kind") != WANTED_ROW).unionByName(proven))


def number_of_parts(found: DataFrame, part_bytes: int) -> int:
    """How many tasks are to decide about the pairs of these records."""
    n_bytes = _pairs(found).agg(F.sum(F.length("payload")).alias("n")).toArrow().column("n")[0].as_py()
    return max(1, -(-(n_bytes or 0) // part_bytes))


def link(kernels: Kernels, found: DataFrame) -> DataFrame:
    """`a`, `b`: links of rows that pairs connect, a few for each row, however many pairs it has."""
    return kernels.apply("link", _pairs(found)).select("a", "b", ERROR, USED)


def are_stars(links: DataFrame) -> bool:
    """Whether each row has one link, to a row that has none: the least of its component."""
    twice = links.groupBy("a").agg(F.count("*").alias("n")).where(F.col("n") > 1)
    chained = links.join(links.select(F.col("b").alias("a")), "a", "left_semi")
    return twice.isEmpty() and chained.isEmpty()


def shorten(links: DataFrame) -> DataFrame:
    """Links of the same components, nearer to stars: the number of rounds grows with the logarithm of the rows.

    A large star, then a small one (Kiveris et al., Connected Components in MapReduce and Beyond, SoCC 2014).
    """
    return _small_star(_large_star(links)).withColumn(ERROR, F.lit(None).cast("string"))


def _large_star(links: DataFrame) -> DataFrame:
    """Links each larger neighbour of a row to the least one of all, or to the row itself."""
    both = links.unionByName(links.select(F.col("b").alias("a"), F.col("a").alias("b")))
    least = both.groupBy("a").agg(F.min("b").alias("least"))
    larger = both.where(F.col("a") < F.col("b")).join(least, "a")
    return larger.select(F.col("b").alias("a"), F.least("a", "least").alias("b")).distinct()


def _small_star(links: DataFrame) -> DataFrame:
    """Links a row and its lesser neighbours to the least one."""
    least = links.groupBy("a").agg(F.min("b").alias("least"))
    others = links.join(least, "a").where(F.col("least") < F.col("b"))
    others = others.select(F.col("b").alias("a"), F.col("least").alias("b"))
    return least.withColumnRenamed("least", "b").unionByName(others).distinct()


def parts_of(links: DataFrame, n_parts: int) -> Parts:
    """The parts of rows that are linked as stars."""
    of_rows = links.select(F.col("a").alias("row"), F.col("b").alias("root"))
    roots = links.select(F.col("b").alias("row"), F.col("b").alias("root")).distinct()
    return Parts(n_parts, of_rows.unionByName(roots).select("row", _part_of("root", n_parts).alias("part")))


def _part_of(root: str, n_parts: int) -> Column:
    return F.pmod(F.xxhash64(root), F.lit(n_parts)).cast("int")


def _pairs(found: DataFrame) -> DataFrame:
    return found.where(F.col("kind").isin(EDGES, OPEN_PAIRS))
