"""The driver on Spark, with a small tamis of our own that can do wrong what the real one does not."""

import itertools
import json
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tamis_spark import AuditError, KernelError, TamisError, audits, cluster, driver, scoring, selecting
from tamis_spark.errors import explain
from tamis_spark.progress import Progress, Stop
from tamis_spark.session import Session
from tamis_spark.tables import RECORDS

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def spark():
    with cluster.connect("local[2,2]", {}, 4, "tests") as connected:
        yield connected


@pytest.fixture
def tamis(tmp_path, monkeypatch, spark):
    """Runs the driver; gives what each stage was given."""
    binary = tmp_path / "tamis"
    # Workers of Spark live longer than a test, with the environment of the first one: ours is in the script.
    monkeypatch.setenv("TAMIS_BIN", str(binary))
    log = tmp_path / "log"

    def run(checkpoint="checkpoint", keeps_checkpoint=False, **env):
        env = {"FAKE_LOG": str(log), **env}
        exports = "".join(f"export {name}='{value}'\n" for name, value in env.items())
        script = TESTS / "fake_tamis.py"
        binary.write_text(f'#!/bin/sh\n{exports}exec "{sys.executable}" "{script}" "$@"\n')
        binary.chmod(0o755)
        log.write_text("")
        warnings = []
        folder = f"file://{tmp_path / checkpoint}"
        options = driver.Options(folder, keeps_checkpoint, watchdog_seconds=60.0)
        try:
            with Session("tamis.toml") as session:
                manifest = driver.run(session, spark, options, Progress(Stop(), False), warnings.append)
            assert json.loads(manifest) == {"rows": 12}
        except Exception as error:
            raise explain(error) from error
        finally:
            run.stages = [json.loads(line) for line in log.read_text().splitlines()]
            run.exit_code = session.exit_code
        assert warnings == []
        return run.stages

    return run


@pytest.fixture(autouse=True)
def binary_of_workers(monkeypatch, tmp_path, spark):
    """Tells workers of Spark, which may have been started for another test, of the binary of this one."""
    binary = str(tmp_path / "tamis")

    def through(self, name, output, plain=driver.stages.Kernels.through, **metadata):
        function = plain(self, name, output, **metadata)

        def with_binary(batches):
            import os

            os.environ["TAMIS_BIN"] = binary
            return function(batches)

        return with_binary

    monkeypatch.setattr(driver.stages.Kernels, "through", through)


def of(stages, name):
    return [stage["rows"] for stage in stages if stage["stage"] == name]


def test_a_run(tamis, tmp_path):
    stages = tamis(FAKE_EXIT="1")
    assert tamis.exit_code == 1
    assert sorted(rows[0]["unit"] for rows in of(stages, "scan")) == [0, 1, 2]
    assert of(stages, "places") == [[{"unit": 0}, {"unit": 1}, {"unit": 2}]]
    assert of(stages, "compare") == [[{"row": 1000 + row} for row in range(12)]]
    wanted = sorted((rows[0]["unit"], rows[0]["rows"]) for rows in of(stages, "prove"))
    assert wanted == [(0, [1001, 1003]), (1, [1005, 1007]), (2, [1009, 1011])]
    [records] = of(stages, "assign")
    order = [(record["kind"], record["a"]) for record in records]
    assert order == sorted(order)
    assert {record["kind"] for record in records} == {0, 3, 6}
    written = sorted(of(stages, "write"), key=lambda rows: rows[0]["unit"])
    assert written[1] == [{"unit": 1, "dropped": [1005, 1007], "rules": [5, 7], "kept": [1004, 1006], "counts": [1, 1]}]
    assert len(written) == 3
    [committed] = of(stages, "commit")
    assert sorted(record["kind"] for record in committed) == [7] * 6 + [8] * 6 + [9] + [12] * 3
    assert list((tmp_path / "checkpoint").iterdir()) == []


def test_buckets_in_tasks(tamis, monkeypatch):
    monkeypatch.setattr("tamis_spark.stages.HOT_ROWS", 3)
    stages = tamis(FAKE_STAGES='["bucket", "prune", "prove", "assign"]')
    meetings = [[(row["key"], row["row"]) for row in rows] for rows in of(stages, "bucket")]
    assert all(rows == sorted(rows) for rows in meetings)
    keys = [{key for key, _ in rows} for rows in meetings]
    assert sum(map(len, keys)) == len(set().union(*keys)), "all rows of a key are in one task"
    # Row 1011 has the text of row 1000: it goes with that, and leaves row 1010 alone in their key.
    rows = list(range(1000, 1011))
    expected = [((row - 1000) // 4, row) for row in rows] + [(100 + (row - 1000) // 2, row) for row in rows[:-1]]
    assert sorted(itertools.chain(*meetings)) == sorted(expected)
    assert {stage["hot_keys"] for stage in stages if stage["stage"] == "bucket"} == {"[0, 1]"}
    assert len(of(stages, "prune")) == 1
    [records] = of(stages, "assign")
    assert [(record["a"], record["b"]) for record in records if record["kind"] == 2] == [(1000, 1011)]
    order = [(record["kind"], record["a"], record["b"]) for record in records]
    assert order == sorted(order)
    assert sorted(record["a"] for record in records if record["kind"] == 6) == [1001, 1003, 1005, 1007, 1009]


def test_without_near_duplicates(tamis):
    stages = tamis(FAKE_STAGES="[]")
    assert {stage["stage"] for stage in stages} == {"scan", "places", "write", "commit"}
    assert {json.dumps(rows[0]["dropped"]) for rows in of(stages, "write")} == {"[]"}


SCORING = '["ids", "compare", "prove", "assign", "texts", "learn", "score"]'


def stages_of(name):
    """No more stages than one needs to see what happens in this one."""
    if name.startswith("write"):
        return {"FAKE_STAGES": "[]"}
    if name.startswith("sift"):
        return {"FAKE_STAGES": '["judge", "sift"]'}
    is_scoring = name.startswith(("texts", "learn", "score", "tabulate"))
    return {"FAKE_STAGES": '["texts", "learn", "score"]'} if is_scoring else {}


def test_a_run_that_scores(tamis):
    stages = tamis(FAKE_STAGES=SCORING)
    written, texts, scored = (
        sorted(of(stages, name), key=lambda rows: rows[0]["unit"]) for name in ("write", "texts", "score")
    )
    assert [len(rows) for rows in written] == [len(rows) for rows in texts] == [len(rows) for rows in scored] == [1] * 3
    for (unit,), *others in zip(written, texts, scored, strict=True):
        for (other,) in others:
            assert [other[name] for name in ("unit", "dropped", "rules")] == [
                unit[name] for name in ("unit", "dropped", "rules")
            ]
    assert written[1][0]["dropped"] == [1005, 1007]
    # Texts of rows 1002 and 1008.
    assert {rows[0]["scorer"] for rows in scored} == {"scorer of 2"}
    [records] = of(stages, "learn")
    order = [(record["kind"], record["a"], record["b"]) for record in records]
    assert order == sorted(order)
    assert [record["payload"] for record in records if record["kind"] == 15] == ["text 1002", "text 1008"]
    assert {record["kind"] for record in records} == {11, 15}
    tabulated = sorted(of(stages, "tabulate"), key=lambda rows: rows[0]["unit"])
    assert [[(row["kind"], row["unit"], row["b"], row["a"]) for row in rows] for rows in tabulated] == [
        [(18, unit, 0, 0), (18, unit, 1, 0)] for unit in range(3)
    ]
    [committed] = of(stages, "commit")
    kinds = [7] * 6 + [8] * 6 + [9] + [10] * 6 + [12] * 3 + [17] + [19] * 3
    assert sorted(record["kind"] for record in committed) == kinds


CHOOSING = f'{SCORING[:-1]}, "choose", "pick"]'


def test_a_run_that_judges(tamis):
    judging = '"quality-texts", "quality-learn", "judge", "sift"'
    stages = tamis(FAKE_STAGES=f'["ids", "compare", "prove", "assign", {judging}, "score"]')
    assert len(of(stages, "quality-texts")) == 3
    assert len(of(stages, "quality-learn")) == 1
    judged = sorted(itertools.chain(*of(stages, "judge")), key=lambda unit: unit["unit"])
    assert [(unit["dropped"], unit["scorer"]) for unit in judged] == [
        ([1000 + first + 1, 1000 + first + 3], "scorer of 2") for first in (0, 4, 8)
    ]
    [records] = of(stages, "sift")
    assert [(record["kind"], record["unit"]) for record in records] == [
        (kind, unit) for kind in (27, 28) for unit in range(3)
    ]
    for stage in ("score", "write"):
        units = sorted(itertools.chain(*of(stages, stage)), key=lambda unit: unit["unit"])
        assert [unit["unfit"] for unit in units] == [None, "8 bytes.", None], stage
        assert [unit["control"] for unit in units] == [None, None, "8 bytes, 8 bytes"], stage
    tabulated = sorted(of(stages, "tabulate"), key=lambda rows: rows[0]["unit"])
    assert [[row["b"] for row in rows] for rows in tabulated] == [[0, 1, 3]] * 3
    [committed] = of(stages, "commit")
    kinds = [7] * 6 + [8] * 6 + [9] + [10] * 9 + [12] * 3 + [17] + [19] * 3 + [31]
    assert sorted(record["kind"] for record in committed) == kinds


def test_scores_that_rows_have(tamis):
    stages = tamis(FAKE_STAGES='["judge", "sift"]')
    assert {rows[0]["scorer"] for rows in of(stages, "judge")} == {None}
    assert len(of(stages, "tabulate")) == 3


def test_a_run_that_chooses(tamis):
    stages = tamis(FAKE_STAGES=CHOOSING)
    [records] = of(stages, "learn")
    assert [record["b"] for record in records if record["kind"] == 7] == [1001, 1003, 1005, 1007, 1009, 1011]
    order = [(record["kind"], record["a"], record["b"]) for record in records]
    assert order == sorted(order)
    known = json.dumps({"dropped": [1001, 1003, 1005, 1007, 1009, 1011]})
    assert {stage["known"] for stage in stages if stage["stage"] in ("score", "choose")} == {known}
    [records] = of(stages, "choose")
    order = [(record["kind"], record["unit"]) for record in records]
    assert order == [(kind, unit) for kind in (23, 24) for unit in range(3)]
    picked = sorted(itertools.chain(*of(stages, "pick")), key=lambda unit: unit["unit"])
    assert [(unit["unit"], unit["rows"]) for unit in picked] == [(1, [1004]), (2, [1008])]
    assert {unit["scorer"] for unit in picked} == {"scorer of 2"}
    [committed] = of(stages, "commit")
    kinds = [7] * 6 + [8] * 6 + [9] + [10] * 6 + [12] * 3 + [17] + [18] * 2 + [19] * 3 + [25] * 2 + [26]
    assert sorted(record["kind"] for record in committed) == kinds
    assert {record["b"] for record in committed if record["kind"] == 18} == {2}


def test_what_was_seen_is_joined_before_it_is_chosen_from(tamis, monkeypatch):
    monkeypatch.setattr("tamis_spark.selecting.GATHERED_UNITS", 2)
    stages = tamis(FAKE_STAGES='["texts", "learn", "score", "choose"]')
    gathered = sorted(of(stages, "gather"), key=lambda rows: rows[0]["unit"])
    assert [[(row["kind"], row["unit"]) for row in rows] for rows in gathered] == [
        [(23, 0), (23, 1), (24, 0), (24, 1)],
        [(23, 2), (24, 2)],
    ]
    [records] = of(stages, "choose")
    assert [(row["kind"], row["unit"], row["payload"]) for row in records] == [
        (23, 0, "{}"),
        (23, 2, "{}"),
        (24, 0, "1000 1004"),
        (24, 2, "1008"),
    ]
    assert not of(stages, "pick"), "no table of the batch is written"


@pytest.mark.parametrize(("n_units", "sizes"), [(1, []), (64, []), (65, [64]), (4096, [64]), (4097, [64, 4096])])
def test_rounds(n_units, sizes):
    assert selecting.rounds(n_units) == sizes


def test_a_scorer_that_has_learnt_before(tamis):
    """Nothing is learnt, but what is known of labels is told."""
    stages = tamis(FAULT="learn:unlearnt", FAKE_STAGES='["texts", "learn", "score", "choose", "pick"]')
    assert {rows[0]["scorer"] for rows in of(stages, "score")} == {None}
    assert {rows[0]["scorer"] for rows in of(stages, "pick")} == {None}


def test_the_scorer_is_not_shuffled_with_each_unit(spark, capsys):
    learned = pa.Table.from_pylist([{"kind": 16, "payload": b"scorer"}], schema=RECORDS)
    units = pa.Table.from_pylist([{"unit": 0}], schema=UNITS)
    kernels = driver.stages.Kernels("job", "run", (), 60.0)
    scoring.score(kernels, *map(spark.spark.createDataFrame, (units, learned)), None, 3, None).explain()
    plan = capsys.readouterr().out
    # From the end to the beginning.
    places = [plan.find("MapInArrow"), plan.find("BroadcastNestedLoopJoin"), plan.find(" Exchange ")]
    assert -1 not in places, plan
    assert places == sorted(places), plan


def test_scores_of_all_rows(tamis):
    stages = tamis(FAKE_STAGES='["score"]')
    scored = sorted(of(stages, "score"), key=lambda rows: rows[0]["unit"])
    assert scored == [
        [{"unit": unit, "dropped": [], "rules": [], "kept": [], "counts": [], "scorer": None}] for unit in range(3)
    ]
    tabulated = sorted(of(stages, "tabulate"), key=lambda rows: rows[0]["unit"])
    assert [[(row["unit"], row["b"], row["a"]) for row in rows] for rows in tabulated] == [
        [(unit, 0, 0), (unit, 0, 1), (unit, 1, 0), (unit, 1, 1)] for unit in range(3)
    ]
    [committed] = of(stages, "commit")
    assert sorted(record["kind"] for record in committed) == [10] * 6 + [12] * 3 + [19] * 3


def test_nothing_to_learn_from(tamis):
    stages = tamis(FAULT="texts:silent", **stages_of("texts"))
    assert of(stages, "learn") == [[]]
    assert {rows[0]["scorer"] for rows in of(stages, "score")} == {"scorer of 0"}


def test_what_is_scored_is_not_scored_again(tamis):
    with pytest.raises(KernelError, match="tabulate finds the config wrong"):
        tamis(FAULT="tabulate:refuse", **stages_of("tabulate"))
    assert of(tamis.stages, "taken back")
    stages = tamis(**stages_of("tabulate"))
    assert {stage["stage"] for stage in stages} == {"places", "tabulate", "write", "commit"}


def test_what_is_done_is_not_done_again(tamis, tmp_path):
    with pytest.raises(KernelError, match="assign finds the config wrong"):
        tamis(FAULT="assign:refuse")
    assert of(tamis.stages, "taken back")
    assert len(of(tamis.stages, "assign")) == 1, "in vain is not tried twice"
    stages = tamis(keeps_checkpoint=True)
    assert {stage["stage"] for stage in stages} == {"places", "assign", "write", "commit"}
    stages = tamis()
    assert {stage["stage"] for stage in stages} == {"places", "write", "commit"}
    assert list((tmp_path / "checkpoint").iterdir()) == []


@pytest.mark.parametrize("stage", ["scan", "assign", "learn", "score", "write"])
def test_what_is_in_vain_ends_the_run(tamis, stage):
    with pytest.raises(KernelError, match=f"{stage} finds the config wrong") as caught:
        tamis(FAULT=f"{stage}:refuse", **stages_of(stage))
    assert (caught.value.hint, caught.value.exit_code) == ("change it", 2)
    assert of(tamis.stages, "taken back")
    assert not of(tamis.stages, "commit")


def test_other_failures_keep_their_exit_code(tamis):
    with pytest.raises(TamisError, match="the store does not answer") as caught:
        tamis(FAULT="write:unavailable", **stages_of("write"))
    assert caught.value.exit_code == 69
    assert len(of(tamis.stages, "write")) > 3, "this is tried again"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("scan:lose", "3 units were scanned, and there are 0 summaries"),
        ("scan:twice", "3 units were scanned, and there are 6 summaries"),
        ("prove:lose", "6 rows were wanted, and there are 3 sets of shingles; 3 rows have none"),
        ("prove:twice", "6 rows were wanted, and there are 9 sets"),
        ("assign:twice", "row 1011 was dropped 2 times"),
        ("assign:lose-9", "13 records were sent to tamis kernel assign, and 0 were read(.|\n)*by 0 tasks"),
        ("assign:twice-9", "13 records were sent to tamis kernel assign, and 26 were read(.|\n)*by 2 tasks"),
        ("learn:lose-16", "one scorer was to be learnt, and there are 0, with 1 summaries"),
        ("learn:twice-17", "there are 1, with 2 summaries"),
        ("learn:twice-16", "there are 2, with 1 summaries"),
        ("learn:silent", "there are 0, with 0 summaries"),
        ("sift:lose-31", "quality was to be decided once, and was 0 times"),
        ("score:lose-19", r"unit \d was to be scored once, and was 0 times(.|\n)*it is in `a.jsonl`"),
        ("score:lose-18", r"unit \d has 4 rows to score, and `embeddings` has 3 of them(.|\n)*it is in `a.jsonl`"),
        ("write:lose", "3 units were to be written, and 0 were"),
        ("write:twice", "3 units were to be written, and 6 were"),
    ],
)
def test_lost_and_repeated_rows_are_found(tamis, fault, message):
    with pytest.raises(AuditError, match=message):
        tamis(FAULT=fault, **stages_of(fault))
    assert of(tamis.stages, "taken back")
    assert not of(tamis.stages, "commit")


UNITS = pa.schema(
    [
        ("unit", pa.int64()),
        ("name", pa.string()),
        ("n_rows", pa.int64()),
        *((name, pa.list_(pa.int64())) for name in ("rejected", "contaminated", "repeated", "dropped")),
    ]
)
ROWS = {"kind": 18, "unit": 0, "b": 0}
SCORED = [{"kind": 19, "unit": unit} for unit in range(2)]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{**ROWS, "a": 0, "c": 3}], None),
        ([{**ROWS, "a": 0, "c": 2}, {**ROWS, "a": 1, "c": 1}], None),
        ([], None),
        ([{**ROWS, "unit": 1, "a": 0, "c": 0}], "unit 0 has 3 rows to score, and `scores` has 0 of them"),
        ([{**ROWS, "a": 0, "c": 2}], "unit 0 has 3 rows to score, and `scores` has 2 of them"),
        ([{**ROWS, "a": 0, "c": 2}, {**ROWS, "a": 2, "c": 1}], "2 parts, 2 of them different, of 3"),
        ([{**ROWS, "a": 0, "c": 2}, {**ROWS, "a": 0, "c": 1}], "2 parts, 1 of them different, of 1"),
        ([{**ROWS, "a": 1, "c": 3}], "1 parts, 1 of them different, of 2"),
        ([{**ROWS, "a": 0, "c": 3}, {**ROWS, "unit": 1, "a": 0, "c": 1}], "unit 1 has 0 rows to score"),
    ],
)
def test_parts_of_tables(spark, records, message):
    """Unit 0 has 3 rows to score, and unit 1 none."""
    lists = {"rejected": [[1], []], "contaminated": [[2, 3], [10]], "repeated": [[], []], "dropped": [[4], []]}
    units = {"unit": [0, 1], "name": ["a.jsonl", "b.jsonl"], "n_rows": [7, 1], **lists}
    decided = spark.spark.createDataFrame(pa.table(units, UNITS))
    scored = spark.spark.createDataFrame(pa.Table.from_pylist([*records, *SCORED], schema=RECORDS))
    if message is None:
        audits.check_scored(scored, decided)
        return
    with pytest.raises(AuditError, match=message):
        audits.check_scored(scored, decided)


def test_ids_are_unique(tamis):
    with pytest.raises(TamisError, match=r"row 1 of `a.jsonl` and row 11 of `a.jsonl` have it"):
        tamis(FAKE_IDS="1")
