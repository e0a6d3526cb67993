"""The stages as data frames: which rows each kernel gets, in which order, and in which task.

Only the interface that Spark and Spark Connect share is used. A task per unit needs no more than a row per partition.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from .bridge import Batches, kernel
from .tables import (
    CLUSTER,
    DROP,
    ERROR,
    FINGERPRINTS,
    HOLDER,
    HOT_ROWS,
    RECORDS,
    WANTED_ROW,
    ddl,
    of_task,
)

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import Column, DataFrame, SparkSession

COMPARED = ("row", "exact_key", "n_shingles", "length", "sketch", "keys", "group", "source", "order")
"""Columns of fingerprints that `compare` looks at."""


@dataclass(frozen=True)
class Kernels:
    """How kernels are started."""

    job: str
    run: str
    """A name that no other run has."""
    args: Sequence[str]
    watchdog_seconds: float

    def apply(self, name: str, rows: DataFrame, profile: ResourceProfile | None = None, **metadata: str) -> DataFrame:
        """`rows` through `tamis kernel NAME`, one process for each partition; `profile` is what tasks ask Spark for."""
        through = self.through(name, RECORDS, **metadata)
        return rows.mapInArrow(through, ddl(of_task(RECORDS)), profile=profile)

    def apply_in_one_task(
        self, name: str, records: DataFrame, by: Sequence[str], profile: ResourceProfile | None = None, **metadata: str
    ) -> DataFrame:
        """`records` in order through one process, which says of no records, too, what came of them."""
        if records.isEmpty():
            return self.apply_to_nothing(name, records.sparkSession, RECORDS, profile, **metadata)
        return self.apply(name, records.repartition(1).sortWithinPartitions(*by), profile, **metadata)

    def apply_to_nothing(
        self,
        name: str,
        spark: SparkSession,
        schema: pa.Schema,
        profile: ResourceProfile | None = None,
        **metadata: str,
    ) -> DataFrame:
        """The kernel says of no rows, too, what came of them; Spark may have no task at all for them."""
        through = self.through(name, RECORDS, **metadata)
        no_rows = pa.RecordBatch.from_pylist([], schema=schema)

        def through_kernel(batches: Batches) -> Batches:
            for _ in batches:
                yield from through(iter([no_rows]))

        return spark.range(0, 1, 1, 1).mapInArrow(through_kernel, ddl(of_task(RECORDS)), profile=profile)

    def through(self, name: str, output: pa.Schema, **metadata: str) -> Callable[[Batches], Batches]:
        """Batches through `tamis kernel NAME`; `metadata` goes with the stream, each as `tamis.NAME`."""
        return kernel(
            name,
            self.job,
            self.args,
            output=output,
            run=self.run,
            watchdog_seconds=self.watchdog_seconds,
            metadata={f"tamis.{key}": value for key, value in metadata.items()},
        )


def scan(spark: SparkSession, kernels: Kernels, units: pa.Table) -> DataFrame:
    """Fingerprints, and a summary of each unit."""
    through = kernels.through("scan", FINGERPRINTS)

    def scan_units(batches: Batches) -> Batches:
        return through(_units_of(units, batches))

    n_tasks = max(1, units.num_rows)
    return spark.range(0, units.num_rows, 1, n_tasks).mapInArrow(scan_units, ddl(of_task(FINGERPRINTS)))


def fingerprint(kernels: Kernels, placed: DataFrame, n_units: int) -> DataFrame:
    """Fingerprints that depend on columns, whose types only the scan of all units has told."""
    through = kernels.through("scan", FINGERPRINTS)
    return one_per_task(placed, n_units).mapInArrow(through, ddl(of_task(FINGERPRINTS)))


def _units_of(units: pa.Table, batches: Batches) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield from units.take(batch.column(0)).combine_chunks().to_batches()


def compare(kernels: Kernels, fingerprints: DataFrame, placed: DataFrame) -> DataFrame:
    """Records of the pairs that are or may be near-duplicates, and of the rows wanted to tell."""
    if rows_of(fingerprints).isEmpty():
        schema = pa.schema([FINGERPRINTS.field(name) for name in COMPARED])
        return kernels.apply_to_nothing("compare", fingerprints.sparkSession, schema)
    rows = positioned(fingerprints, placed, *COMPARED)
    return kernels.apply("compare", rows.repartition(1).sortWithinPartitions("row"))


def positioned(fingerprints: DataFrame, placed: DataFrame, *columns: str) -> DataFrame:
    """What `scan` gave of rows, which are numbered over the whole input: `row` is the position."""
    first_rows = placed.select("unit", (F.col("base_row") + F.col("first_row")).alias("first"))
    rows = rows_of(fingerprints).join(F.broadcast(first_rows), "unit")
    return rows.withColumn("row", F.col("first") + F.col("row")).select(*columns)


def members(rows: DataFrame) -> DataFrame:
    """Records of rows that have the text of an earlier one."""
    with_first = rows.withColumn("first", F.min("row").over(Window.partitionBy("exact_key")))
    values = {"kind": "2L", "a": "first", "b": "row", "payload": "binary('')"}
    values |= dict.fromkeys(("c", "method", "rule", "bands"), "0L")
    values |= {"unit": "cast(null as bigint)", "similarity": "0d", ERROR: "cast(null as string)"}
    columns = [F.expr(values[name]).alias(name) for name in (*RECORDS.names, ERROR)]
    return with_first.where(F.col("first") < F.col("row")).select(*columns)


def hot_keys(met: DataFrame) -> str:
    """The keys of too many rows to compare them all, as JSON; `met` says how many rows have each key."""
    found = met.where(F.col("n") > HOT_ROWS).select("key").orderBy("key").toArrow()
    return json.dumps(found.column("key").to_pylist())


def keys_of(rows: DataFrame, identical: DataFrame) -> DataFrame:
    """`key`, `row` for each band of each row but those of a text that an earlier row has."""
    first_of_text = rows.join(identical.select(F.col("b").alias("row")), "row", "left_anti")
    return first_of_text.select(F.explode("keys").alias("key"), "row")


def met_keys(keys: DataFrame) -> DataFrame:
    """`key`, `n` of the keys that several rows have."""
    met = keys.groupBy("key").agg(F.count("*").alias("n")).where(F.col("n") > 1)
    return met.withColumn(ERROR, F.lit(None).cast("string"))


def bucket(kernels: Kernels, rows: DataFrame, keys: DataFrame, met: DataFrame) -> DataFrame:
    """Records of the pairs that are or may be near-duplicates. Only rows that share a key are moved."""
    meetings = keys.join(met.select("key"), "key", "left_semi").join(rows.select("row", "sketch"), "row")
    meetings = meetings.select("key", "row", "sketch")
    buckets = meetings.repartition("key").sortWithinPartitions("key", "row")
    return kernels.apply("bucket", buckets, hot_keys=hot_keys(met))


def rows_of(fingerprints: DataFrame) -> DataFrame:
    """What `scan` gave of rows that are compared."""
    return fingerprints.where(F.col("exact_key").isNotNull())


def prove(kernels: Kernels, compared: DataFrame, placed: DataFrame, n_units: int) -> DataFrame:
    """Records of the shingles of wanted rows. Only units that have such rows are read."""
    return kernels.apply("prove", one_per_task(placed.join(wanted_rows(compared, WANTED_ROW), "unit"), n_units))


def wanted_rows(records: DataFrame, kind: int) -> DataFrame:
    """`unit` and `rows`, the positions that records of a kind have, of each unit with such rows."""
    return records.where(F.col("kind") == kind).groupBy("unit").agg(_sorted_list("a").alias("rows"))


def decide(drops: DataFrame | None, placed: DataFrame) -> DataFrame:
    """The units with what becomes of their rows: `dropped` and `rules`, `kept` and `counts`, lists that go together.

    `drops` are records of all that decide who is dropped for whom.
    """
    lists = {"dropped": "array()", "rules": "array()", "kept": "array()", "counts": "array()"}
    if drops is not None:
        dropped = _lists(drops.where(F.col("kind") == DROP), dropped="b", rules="rule")
        kept = drops.where((F.col("kind") == HOLDER) | (F.col("kind") == CLUSTER) & (F.col("c") > 0))
        kept = _lists(kept.groupBy("unit", "a").agg(F.sum("c").alias("c")), kept="a", counts="c")
        placed = placed.join(dropped, "unit", "left").join(kept, "unit", "left")
        lists = {name: f"coalesce({name}, array())" for name in lists}
    for name, value in lists.items():
        placed = placed.withColumn(name, F.expr(f"cast({value} as array<bigint>)"))
    return placed


def write(kernels: Kernels, decided: DataFrame, n_units: int) -> DataFrame:
    """Records of what was written. It writes to the output: each try leaves files of its own."""
    return kernels.apply("write", one_per_task(decided, n_units))


def _lists(records: DataFrame, **columns: str) -> DataFrame:
    """For each unit, columns of its records as lists that go together, in the order of the first one."""
    fields = [F.col(column).alias(name) for name, column in columns.items()]
    together = records.groupBy("unit").agg(_sorted_list(F.struct(*fields)).alias("together"))
    return together.select("unit", *(F.col(f"together.{name}").alias(name) for name in columns))


def _sorted_list(values: str | Column) -> Column:
    return F.sort_array(F.collect_list(values))


def one_per_task(units: DataFrame, n_units: int) -> DataFrame:
    """Rows of each unit in a task of their own."""
    return units.repartitionById(max(1, n_units), F.col("unit").cast("int"))
