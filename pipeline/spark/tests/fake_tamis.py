"""A small tamis that speaks the protocol: units of 4 rows; each odd row is dropped for the one before.

It writes what it was given to a line of the file FAKE_LOG. FAULT is `STAGE:WHAT`, for what a stage does wrong: WHAT is
lost or there twice, the last record or, with a number, the last one of this kind; a `silent` one writes none, and an
`unlearnt` one no scorer.
"""

import itertools
import json
import os
import sys

import pyarrow as pa

from tamis_spark.streams import Source, read_table, write_table
from tamis_spark.tables import FINGERPRINTS, RECORDS

N_UNITS, N_ROWS = 3, 4
NO_ROWS = {"rejected": [], "contaminated": [], "repeated": []}


def main():
    """Is the kernel of its arguments."""
    stage = sys.argv[2]
    source = Source(sys.stdin.buffer)
    if stage == "session":
        return session(source)
    at, _, what = os.environ.get("FAULT", ":").partition(":")
    what = what if at == stage else ""
    table = read_table(source)
    log(stage, table)
    if what == "refuse":
        print(json.dumps({"message": f"{stage} finds the config wrong", "hint": "change it"}), file=sys.stderr)
        return 2
    if what == "unavailable":
        print(json.dumps({"message": "the store does not answer"}), file=sys.stderr)
        return 69
    rows = list(globals()[stage](table.to_pylist()))
    rows = faulty(what, rows)
    schema = FINGERPRINTS if stage == "scan" else RECORDS
    write_table(sys.stdout.buffer, pa.Table.from_pylist(rows, schema=schema), {})
    return 0


def faulty(what, rows):
    """The rows, but for what goes wrong."""
    if what == "silent":
        return []
    if what == "unlearnt":
        return [row for row in rows if row["kind"] == 22]
    what, _, kind = what.partition("-")
    places = [place for place, row in enumerate(rows) if not kind or row["kind"] == int(kind)]
    if what not in ("lose", "twice") or not places:
        return rows
    return rows[: places[-1]] + rows[places[-1] :][:1] * (2 if what == "twice" else 0) + rows[places[-1] + 1 :]


def log(stage, table):
    """Keeps what came in."""
    names = ("unit", "row", "key", "kind", "a", "b", "rows", "dropped", "rules", "kept", "counts", "scorer", "payload")
    names += ("unfit", "control")
    columns = [name for name in names if name in table.column_names]
    rows = [
        {name: value.decode() if isinstance(value, bytes) else value for name, value in row.items()}
        for row in table.select(columns).to_pylist()
    ]
    hot_keys = (table.schema.metadata or {}).get(b"tamis.hot_keys", b"").decode()
    known = (table.schema.metadata or {}).get(b"tamis.known", b"").decode()
    section = (table.schema.metadata or {}).get(b"tamis.section", b"").decode()
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    stage = f"{section}-{stage}" if section else stage
    line = {"stage": stage, "hot_keys": hot_keys, "known": known, "gpus": gpus, "rows": rows}
    with open(os.environ["FAKE_LOG"], "a") as file:
        file.write(json.dumps(line) + "\n")


def session(source):
    """Plans; says so if it is left alone."""
    units = [{"unit": unit, "name": "a.jsonl", "url": "file:///a.jsonl", "e_tag": None} for unit in range(N_UNITS)]
    schema = pa.schema([("unit", pa.int64()), ("name", pa.string()), ("url", pa.string()), ("e_tag", pa.string())])
    stages = os.environ.get("FAKE_STAGES", '["ids", "compare", "prove", "assign"]')
    metadata = {"tamis.job": "first", "tamis.run": "run-1", "tamis.stages": stages}
    write_table(sys.stdout.buffer, pa.Table.from_pylist(units, schema=schema), metadata)
    try:
        return decide(source)
    except pa.ArrowInvalid:
        log("taken back", pa.table({}))
        return 130


def decide(source):
    """Places and commits."""
    summaries = read_table(source)
    log("places", summaries)
    assert summaries["summary"].to_pylist() == [b"of %d" % unit for unit in range(N_UNITS)]
    places = [
        {"unit": unit, "base_row": 1000, "first_row": unit * N_ROWS, "n_rows": N_ROWS, **NO_ROWS}
        for unit in range(N_UNITS)
    ]
    numbers = [(name, pa.int64()) for name in ("unit", "base_row", "first_row", "n_rows")]
    schema = pa.schema([*numbers, *((name, pa.list_(pa.int64())) for name in NO_ROWS)])
    write_table(sys.stdout.buffer, pa.Table.from_pylist(places, schema=schema), {"tamis.job": "second"})
    records = read_table(source)
    log("commit", records)
    write_table(sys.stdout.buffer, pa.table({"manifest": ['{"rows": 12}']}), {})
    return int(os.environ.get("FAKE_EXIT", "0"))


def scan(units):
    """Fingerprints."""
    for unit in (row["unit"] for row in units):
        for row in range(N_ROWS):
            id_key = b"same" if (unit, row) in {(0, 1), (2, 3)} and "FAKE_IDS" in os.environ else b"%d-%d" % (unit, row)
            exact_key = b"same" if (unit, row) in {(0, 0), (2, 3)} else b"%d-%d" % (unit, row)
            keys = [unit, 100 + (unit * N_ROWS + row) // 2]
            yield {"unit": unit, "row": row, "id_key": id_key, "exact_key": exact_key, "sketch": b"s", "keys": keys}
        yield {"unit": unit, "summary": b"of %d" % unit}


def compare(rows):
    """Edges, and each odd row is wanted."""
    yield {"kind": 0, "a": 0, "b": 0, "payload": b"counts"}
    for row in (row["row"] for row in rows):
        if row % 2:
            yield {"kind": 3, "a": row, "b": row - 1}
            yield {"kind": 5, "a": row, "unit": (row - 1000) // N_ROWS}


def bucket(rows):
    """Edges of neighbours that share a key of two."""
    yield {"kind": 0, "a": 0, "b": 0, "payload": b"counts"}
    for earlier, later in itertools.pairwise(rows):
        if earlier["key"] == later["key"] >= 100:
            yield {"kind": 3, "a": later["row"], "b": earlier["row"]}


def prune(records):
    """All edges; their later rows are wanted."""
    yield {"kind": 0, "a": 0, "b": 0, "c": len(records), "payload": b"counts"}
    for record in records:
        if record["kind"] == 3:
            yield record
            yield {"kind": 5, "a": record["a"], "unit": (record["a"] - 1000) // N_ROWS}


def prove(units):
    """Sets."""
    for row in (row for unit in units for row in unit["rows"]):
        yield {"kind": 6, "a": row, "b": 0, "payload": b"set"}


def assign(records):
    """Drops and clusters."""
    yield {"kind": 9, "c": len(records), "payload": b"counts"}
    for record in records:
        if record["kind"] == 3:
            later, earlier = record["a"], record["b"]
            yield {"kind": 8, "a": earlier, "b": 2, "c": 1, "unit": (earlier - 1000) // N_ROWS}
            yield {"kind": 7, "a": earlier, "b": later, "rule": later % 10, "unit": (later - 1000) // N_ROWS}


def texts(units):
    """Ids of all rows, and the texts of each third one that stays."""
    for unit in units:
        for row in positions(unit):
            yield {"kind": 11, "a": row, "b": 0, "payload": b"id %d" % row}
            if row % 3 == 0 and row not in unit["dropped"]:
                yield {"kind": 15, "a": row, "b": 0, "payload": b"text %d" % row}


def judge(units):
    """Rows of a table, and scores."""
    for unit in units:
        n_rows = len(positions(unit)) - len(unit["dropped"])
        yield {"kind": 18, "unit": unit["unit"], "a": 0, "b": 3, "c": n_rows, "payload": b"rows"}
        yield {"kind": 28, "unit": unit["unit"], "a": 0, "payload": b"scores"}
        yield {"kind": 27, "unit": unit["unit"], "c": 1, "payload": b"{}"}


def sift(records):
    """One row of unit 1 goes; two rows of unit 2 are control rows."""
    yield {"kind": 29, "unit": 1, "payload": b"8 bytes."}
    yield {"kind": 30, "unit": 2, "payload": b"8 bytes, 8 bytes"}
    yield {"kind": 31, "payload": b"{}"}


def learn(records):
    """A scorer that knows how many texts it has seen."""
    texts = [record for record in records if record["kind"] == 15]
    yield {"kind": 16, "a": 0, "b": 0, "payload": b"scorer of %d" % len(texts)}
    yield {"kind": 17, "a": 0, "b": 0, "payload": b"{}"}
    if selects():
        dropped = [record["b"] for record in records if record["kind"] == 7]
        yield {"kind": 22, "payload": json.dumps({"dropped": dropped}).encode()}


def score(units):
    """Rows of two tables, three at most in each record."""
    for unit in units:
        stays = [row for row in positions(unit) if row not in unit["dropped"]]
        stays = stays[len(unit.get("unfit") or b"") // 8 :]
        for table in (0, 1):
            for part, first in enumerate(range(0, len(stays), 3)):
                n_rows = len(stays[first : first + 3])
                yield {"kind": 18, "unit": unit["unit"], "a": part, "b": table, "c": n_rows, "payload": b"rows"}
        if selects():
            yield {"kind": 24, "unit": unit["unit"], "a": 0, "payload": b"%d" % stays[0]}
            yield {"kind": 23, "unit": unit["unit"], "a": unit["unit"] + 1, "c": 1, "payload": b"{}"}
        yield {"kind": 19, "unit": unit["unit"], "a": unit["unit"], "payload": b"{}"}


def selects():
    """Whether rows are chosen."""
    return '"choose"' in os.environ.get("FAKE_STAGES", "")


def gather(records):
    """One record in place of those of each kind."""
    seen = [record for record in records if record["kind"] == 23]
    rows = b" ".join(record["payload"] for record in records if record["kind"] == 24)
    yield {"kind": 24, "unit": seen[0]["unit"], "a": 0, "payload": rows}
    yield {"kind": 23, "unit": seen[0]["unit"], "a": seen[-1]["a"], "c": 1, "payload": b"{}"}


def choose(records):
    """All candidates but the first."""
    candidates = b" ".join(record["payload"] for record in records if record["kind"] == 24).split()
    for rank, row in enumerate(map(int, candidates[1:]), start=1):
        yield {"kind": 25, "a": row, "b": rank, "unit": (row - 1000) // N_ROWS, "payload": b"why"}
    yield {"kind": 26, "payload": b"{}"}


def pick(units):
    """The rows that are asked for."""
    for unit in units:
        yield {"kind": 18, "unit": unit["unit"], "a": 0, "b": 2, "c": len(unit["rows"]), "payload": b"rows"}


def positions(unit):
    """Of its rows."""
    first = unit["base_row"] + unit["first_row"]
    return range(first, first + unit["n_rows"])


def tabulate(records):
    """A file for each table."""
    for table in {record["b"] for record in records}:
        yield {"kind": 10, "payload": b"file %d" % table}


def write(units):
    """Counts."""
    for unit in units:
        yield {"kind": 12, "a": unit["unit"], "unit": unit["unit"], "payload": b"{}"}


if __name__ == "__main__":
    sys.exit(main())
