"""Columns of the tables between kernels, as docs/kernel-protocol.md has them."""

from __future__ import annotations

import pyarrow as pa

PROTOCOL = "1"

ERROR = "error"
"""Column that tasks add: null, but in the one row that says why trying again is in vain."""

USED = "used"
"""Column that tasks add: null, but in a row of each kernel that says what it used, in JSON."""

FINGERPRINTS = pa.schema(
    [
        ("unit", pa.int64()),
        ("row", pa.int64()),
        ("id_key", pa.binary()),
        ("exact_key", pa.binary()),
        ("n_shingles", pa.int64()),
        ("length", pa.int64()),
        ("sketch", pa.binary()),
        ("keys", pa.list_(pa.int64())),
        ("group", pa.binary()),
        ("source", pa.binary()),
        ("order", pa.binary()),
        ("summary", pa.binary()),
    ]
)
"""What `scan` writes."""

RECORDS = pa.schema(
    [
        ("kind", pa.int64()),
        ("unit", pa.int64()),
        ("a", pa.int64()),
        ("b", pa.int64()),
        ("c", pa.int64()),
        ("similarity", pa.float64()),
        ("method", pa.int64()),
        ("rule", pa.int64()),
        ("bands", pa.int64()),
        ("payload", pa.binary()),
    ]
)
"""What all other kernels write."""

COUNTS, MEMBER, EDGES, OPEN_PAIRS, WANTED_ROW, SHINGLES, DROP, CLUSTER, DECIDED, WRITTEN = 0, 2, 3, 4, 5, 6, 7, 8, 9, 12
NAMED_ROW, SCORER, SCORER_SUMMARY, TABLE_ROWS, SCORED = 11, 16, 17, 18, 19
KNOWN, SEEN, CANDIDATES, CHOSEN = 22, 23, 24, 25
JUDGED_UNIT, JUDGED, UNFIT, CONTROL, SIFTED = 27, 28, 29, 30, 31
USAGE = 32
DIVIDED_UNIT, DIVIDED_ROW, PARAGRAPH, HOLDER, CUTS, GRAIN = 33, 34, 35, 36, 37, 38
EMBEDDED_UNIT, EMBEDDED, FOLDED = 39, 40, 41
"""Kinds of records that a driver looks at."""

SCORE_TABLES = {0: "scores", 1: "embeddings"}
"""Tables that `score` makes rows of, by what records of them have in `b`."""

HOT_ROWS = 1000
"""Rows of a key above which only some of them are compared with each other."""

PART_BYTES = 1 << 30
"""Bytes of pairs that one task decides about."""

KEYS = pa.schema([("key", pa.int64()), ("n", pa.int64())])
"""Keys that several rows have, and how many."""

LINKS = pa.schema([("a", pa.int64()), ("b", pa.int64())])
"""Rows, and a lesser row that pairs connect each with."""

PLACES = ("base_row", "first_row", "n_rows", "rejected", "contaminated", "repeated")
"""Columns of places besides `unit`."""

_SPARK_TYPES = {pa.int64(): "bigint", pa.float64(): "double", pa.string(): "string", pa.binary(): "binary"}


def of_task(schema: pa.Schema) -> pa.Schema:
    """What a task writes whose kernel writes `schema`."""
    return schema.append(pa.field(ERROR, pa.string())).append(pa.field(USED, pa.string()))


def usage(rows: pa.Table) -> pa.Table:
    """Records of what rows with `used` say."""
    said = [{"kind": USAGE, "payload": text.encode()} for text in rows.column(USED).drop_null().to_pylist()]
    numbers = dict.fromkeys(("a", "b", "c", "similarity", "method", "rule", "bands"), 0)
    return pa.Table.from_pylist([numbers | record for record in said], schema=RECORDS)


def ddl(schema: pa.Schema) -> str:
    """The schema in Spark's words."""
    return ", ".join(f"`{field.name}` {_spark_type(field.type)}" for field in schema)


def _spark_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"array<{_spark_type(kind.value_type)}>"
    return _SPARK_TYPES[kind]


def to_metadata(job: str) -> dict[str, str]:
    """Metadata of the schema of every stream into a kernel."""
    return {"tamis.protocol": PROTOCOL, "tamis.job": job}


def small(kind: pa.DataType) -> pa.DataType:
    """The type that a type with large offsets is a variant of."""
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(small(kind.value_type))
    return kind
