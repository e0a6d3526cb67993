"""Checks between stages: what went in must have come out, and no more.

A retried task, a lost executor or a bug may cost rows without any error. These checks find what they can count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from .errors import AuditError, TamisError
from .stages import rows_of
from .tables import (
    DIVIDED_ROW,
    DIVIDED_UNIT,
    DROP,
    EMBEDDED_UNIT,
    KNOWN,
    PARAGRAPH,
    SCORE_TABLES,
    SCORED,
    SCORER,
    SCORER_SUMMARY,
    SHINGLES,
    TABLE_ROWS,
    WANTED_ROW,
    WRITTEN,
)

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_HINT = "please report this; nothing was written"
_PARTS_OF_TEXTS = {DIVIDED_ROW: "n_rows", PARAGRAPH: "n_paragraphs"}


def _not_compared() -> Column:
    """How many rows of a unit are neither compared nor kept."""
    return F.size("rejected") + F.size("contaminated") + F.size("repeated")


def _staying(decided: DataFrame) -> DataFrame:
    """`unit`, `name` and `expected`, how many rows of each unit stay by what is decided."""
    others = _not_compared() + F.size("dropped")
    if "unfit" in decided.columns:
        others += (F.coalesce(F.octet_length("unfit"), F.lit(0)) / 8).cast("int")
    return decided.select("unit", "name", (F.col("n_rows") - others).alias("expected"))


def check_summaries(units: pa.Table, summaries: pa.Table) -> None:
    """A summary for each unit, in their order."""
    expected, found = units.column("unit").to_pylist(), summaries.column("unit").to_pylist()
    if expected != found:
        raise AuditError(f"{len(expected)} units were scanned, and there are {len(found)} summaries", hint=_HINT)


def check_fingerprints(fingerprints: DataFrame, placed: DataFrame) -> None:
    """A fingerprint of each row but rejected, contaminated and repeated ones. Kernels see it if one is there twice."""
    found = rows_of(fingerprints).groupBy("unit").agg(F.count("*").alias("n"))
    others = _not_compared()
    expected = placed.select("unit", "name", (F.col("n_rows") - others).alias("expected"))
    both = expected.join(found, "unit", "left").withColumn("n", F.coalesce("n", F.lit(0)))
    wrong = both.where(F.col("n") != F.col("expected")).limit(1).toArrow().to_pylist()
    if wrong:
        unit = wrong[0]
        message = f"unit {unit['unit']} has {unit['expected']} rows, and there are {unit['n']} fingerprints of it"
        raise AuditError(message, [f"it is in `{unit['name']}`"], _HINT)


def check_ids(scanned: DataFrame, placed: DataFrame) -> None:
    """No id twice: evidence names rows by their ids.

    Raises `TamisError` that names two rows if there is one.
    """
    given = scanned.where(F.col("id_key").isNotNull())
    repeated = given.groupBy("id_key").agg(F.count("*").alias("n")).where(F.col("n") > 1).limit(1)
    rows = given.join(F.broadcast(repeated), "id_key").join(F.broadcast(placed), "unit")
    in_file = (F.col("first_row") + F.col("row")).alias("in_file")
    position = (F.col("base_row") + F.col("first_row") + F.col("row")).alias("position")
    first, *others = rows.select(position, in_file, "name").orderBy("position").limit(2).toArrow().to_pylist() or [None]
    if first is None:
        return
    names = " and ".join(f"row {row['in_file']} of `{row['name']}`" for row in (first, *others))
    hint = 'name a column of unique ids in the config (input.id), or set it to "" to number the rows'
    raise TamisError(f"an id is not unique: {names} have it", hint=hint)


def check_proof(compared: DataFrame, proven: DataFrame) -> None:
    """A set of shingles for each wanted row."""
    wanted = compared.where(F.col("kind") == WANTED_ROW).select("a")
    sets = proven.where(F.col("kind") == SHINGLES).select("a")
    n_wanted, n_sets = wanted.count(), sets.count()
    n_missing = wanted.join(sets, "a", "left_anti").count()
    if n_wanted != n_sets or n_missing:
        message = f"{n_wanted} rows were wanted, and there are {n_sets} sets of shingles; {n_missing} rows have none"
        raise AuditError(message, hint=_HINT)


def check_read(kernel: str, n_sent: int, records: DataFrame, kind: int) -> None:
    """All records that were sent to the tasks of a kernel were read; records of `kind` say how many each has read."""
    of_tasks = records.where(F.col("kind") == kind).agg(F.sum("c").alias("n"), F.count("*").alias("n_tasks"))
    found = of_tasks.toArrow().to_pylist()[0]
    if not found["n_tasks"] or found["n"] != n_sent:
        message = f"{n_sent} records were sent to tamis kernel {kernel}, and {found['n'] or 0} were read"
        raise AuditError(message, [f"by {found['n_tasks']} tasks"], _HINT)


def check_drops(assigned: DataFrame) -> None:
    """No row dropped twice."""
    drops = assigned.where(F.col("kind") == DROP)
    twice = drops.groupBy("b").agg(F.count("*").alias("n")).where(F.col("n") > 1).limit(1).toArrow().to_pylist()
    if twice:
        raise AuditError(f"row {twice[0]['b']} was dropped {twice[0]['n']} times", hint=_HINT)


def check_divided(divided: DataFrame, decided: DataFrame) -> None:
    """Each unit divided once, as many rows as stay so far, with all that their paragraphs must be."""
    sums = [F.sum(column).alias(name) for column, name in (("a", "rows"), ("b", "paragraphs"), ("c", "read"))]
    told = divided.where(F.col("kind") == DIVIDED_UNIT).groupBy("unit").agg(F.count("*").alias("n_told"), *sums)
    counts = [F.count(F.when(F.col("kind") == kind, 1)).alias(name) for kind, name in _PARTS_OF_TEXTS.items()]
    found = divided.groupBy("unit").agg(*counts)
    both = _staying(decided).join(told, "unit", "left").join(found, "unit", "left").fillna(0)
    is_whole = (F.col("n_told") == 1) & (F.col("read") == F.col("expected"))
    for name in ("rows", "paragraphs"):
        is_whole &= F.col(name) == F.col(f"n_{name}")
    wrong = both.where(~is_whole).limit(1).toArrow().to_pylist()
    if wrong:
        unit = wrong[0]
        message = f"unit {unit['unit']} has {unit['expected']} rows to divide, and {unit['read']} were"
        rows, paragraphs = (f"{unit[f'n_{name}']} of {unit[name]} {name}" for name in ("rows", "paragraphs"))
        raise AuditError(message, [f"it is in `{unit['name']}`", f"there are {rows} and {paragraphs}"], _HINT)


def check_embedded(embedded: DataFrame, decided: DataFrame) -> None:
    """Each unit embedded once, as many rows as stay so far."""
    told = embedded.where(F.col("kind") == EMBEDDED_UNIT).groupBy("unit")
    told = told.agg(F.count("*").alias("n_told"), F.sum(F.col("a") + F.col("b")).alias("n"))
    both = _staying(decided).join(told, "unit", "left").fillna(0)
    wrong = both.where((F.col("n_told") != 1) | (F.col("n") != F.col("expected"))).limit(1).toArrow().to_pylist()
    if wrong:
        unit = wrong[0]
        message = f"unit {unit['unit']} has {unit['expected']} rows to embed, and {unit['n']} were"
        raise AuditError(message, [f"it is in `{unit['name']}`, which was embedded {unit['n_told']} times"], _HINT)


def check_sifted(said: pa.Table) -> None:
    """What quality has decided was decided once."""
    if said.num_rows != 1:
        raise AuditError(f"quality was to be decided once, and was {said.num_rows} times", hint=_HINT)


def check_learned(kinds: Sequence[int], selects: bool) -> None:
    """At most one scorer, a summary of it, and what is known before rows are chosen if any are: records of `kinds`."""
    n_scorers, n_summaries, n_known = kinds.count(SCORER), kinds.count(SCORER_SUMMARY), kinds.count(KNOWN)
    if n_scorers > 1 or n_summaries != n_scorers or n_known != int(selects) or not kinds:
        message = f"one scorer was to be learnt, and there are {n_scorers}, with {n_summaries} summaries"
        others = f"{n_known} records say what is known before rows are chosen"
        raise AuditError(message, [others] if selects or n_known else [], _HINT)


def check_scored(scored: DataFrame, decided: DataFrame) -> None:
    """Each unit scored once, and in each table, in parts that are all there, a row for each of its rows that stay."""
    _check_units_scored(scored, decided)
    parts = scored.where(F.col("kind") == TABLE_ROWS).withColumnRenamed("b", "table")
    counts = F.sum("c").alias("n"), F.count("*").alias("n_parts"), F.countDistinct("a").alias("n_different")
    found = parts.groupBy("unit", "table").agg(*counts, (F.max("a") + 1).alias("n_numbered"))
    # What one unit has rows of, all have rows of. If none has any, no table is written, or the session misses them.
    tables = F.broadcast(parts.select("table").distinct())
    both = _staying(decided).crossJoin(tables).join(found, ["unit", "table"], "left")
    both = both.fillna(0, ["n", "n_parts", "n_different", "n_numbered"])
    is_whole = (F.col("n_parts") == F.col("n_numbered")) & (F.col("n_parts") == F.col("n_different"))
    wrong = both.where((F.col("n") != F.col("expected")) | ~is_whole).limit(1).toArrow().to_pylist()
    if not wrong:
        return
    unit = wrong[0]
    table = SCORE_TABLES.get(unit["table"], unit["table"])
    message = f"unit {unit['unit']} has {unit['expected']} rows to score, and `{table}` has {unit['n']} of them"
    n_parts = f"{unit['n_parts']} parts, {unit['n_different']} of them different, of {unit['n_numbered']}"
    raise AuditError(message, [f"it is in `{unit['name']}`", f"there are {n_parts}"], _HINT)


def _check_units_scored(scored: DataFrame, decided: DataFrame) -> None:
    found = scored.where(F.col("kind") == SCORED).groupBy("unit").agg(F.count("*").alias("n"))
    both = decided.select("unit", "name").join(found, "unit", "left").fillna(0, ["n"])
    wrong = both.where(F.col("n") != 1).limit(1).toArrow().to_pylist()
    if wrong:
        unit = wrong[0]
        message = f"unit {unit['unit']} was to be scored once, and was {unit['n']} times"
        raise AuditError(message, [f"it is in `{unit['name']}`"], _HINT)


def check_written(units: pa.Table, records: pa.Table) -> None:
    """Each unit written once."""
    written = records.filter(pc.equal(records.column("kind"), WRITTEN)).column("unit").sort()
    if not written.equals(units.column("unit")):
        raise AuditError(f"{units.num_rows} units were to be written, and {len(written)} were", hint=_HINT)
