"""A run on Spark gives the rows that a run on one machine gives: a real binary, named by TAMIS_BIN."""

import json
import os
import random
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

TABLES = ("kept", "dropped", "evidence", "rejected")
KERNELS = ("scan", "bucket", "prune", "prove", "assign", "write")
UNIT_BYTES = "20000"


def texts(seed, n_texts):
    """Texts; some of them once more, and some once more with other words in places."""
    chance = random.Random(seed)
    words = [f"word{number}" for number in range(3000)]
    made = []
    for number in range(n_texts):
        kind = chance.random()
        if number > 5 and kind < 0.15:
            made.append(chance.choice(made))
        elif number > 5 and kind < 0.5:
            copy = chance.choice(made).split()
            for _ in range(chance.choice([1, 1, 2, 3, 5])):
                copy[chance.randrange(len(copy))] = chance.choice(words)
            made.append(" ".join(copy))
        else:
            made.append(" ".join(chance.choices(words, k=chance.randrange(30, 120))))
    return made


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with an input, and what a run on one machine makes of it."""
    binary = os.environ.get("TAMIS_BIN")
    if not binary:
        pytest.fail("TAMIS_BIN must name a tamis binary: these tests compare with what it does on one machine")
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "in").mkdir()
    rows = [
        json.dumps({"id": f"row-{number}", "text": text, "n": number})
        for number, text in enumerate(texts(seed=7, n_texts=600))
    ]
    rows[250] = '{"id": "broken", "text": '
    for number in range(3):
        (folder / "in" / f"{number}.jsonl").write_text("\n".join(rows[number * 200 : (number + 1) * 200]) + "\n")
    (folder / "in" / "empty.jsonl").write_text("")
    held_out = [{"text": " ".join(text.split()[2:30])} for text in texts(seed=7, n_texts=600)[::50]]
    (folder / "held_out.jsonl").write_text("\n".join(map(json.dumps, held_out)))
    (folder / "local.toml").write_text(config("local"))
    ended = subprocess.run([binary, "run", "local.toml"], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    return folder


def config(output, near_duplicates="[deduplicate]"):
    return f'[input]\npaths = ["in"]\n{near_duplicates}\n[output]\npath = "{output}"\n'


def tables(folder):
    """The rows of all tables of a run, as texts, sorted; and their columns."""
    manifest = json.loads((folder / "manifest.json").read_text())
    found = {}
    for name in TABLES:
        files = [pq.read_table(folder / file["path"]) for file in manifest["tables"][name]["files"]]
        assert sum(map(len, files)) == manifest["tables"][name]["rows"]
        table = pa.concat_tables(files)
        columns = [(field.name, field.type) for field in table.schema]
        found[name] = columns, sorted(json.dumps(row, sort_keys=True, default=str) for row in table.to_pylist())
    return found, {name: manifest[name] for name in ("rows", "dropped_by_reason", "near_duplicates")}


def run(folder, output, *arguments, binary=None, near_duplicates="[deduplicate]", **env):
    (folder / f"{output}.toml").write_text(config(output, near_duplicates))
    command = [sys.executable, "-m", "tamis_spark", f"{output}.toml", "--master", "local[2,3]", "--parallelism", "2"]
    command += arguments
    env = {"TAMIS_UNIT_BYTES": UNIT_BYTES, **os.environ, **({"TAMIS_BIN": str(binary)} if binary else {}), **env}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)


def check_same(folder, output, local="local"):
    (found, counts), (expected, expected_counts) = tables(folder / output), tables(folder / local)
    for name in TABLES:
        assert found[name] == expected[name], name
    assert counts == expected_counts


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
    manifest = json.loads((corpus / "spark" / "manifest.json").read_text())
    assert json.loads(ended.stdout) == json.loads((corpus / "copy.json").read_text()) == manifest
    check_same(corpus, "spark")


def run_binary(folder, *arguments):
    command = [os.environ["TAMIS_BIN"], "run", *arguments]
    env = {**os.environ, "TAMIS_PYTHON": sys.executable, "TAMIS_UNIT_BYTES": UNIT_BYTES}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)


def test_the_binary_starts_the_driver_that_it_carries(corpus):
    (corpus / "engine.toml").write_text(config("engine"))
    metrics = ("--metrics-file", "engine.prom", "--format", "json")
    ended = run_binary(corpus, "engine.toml", "--engine", "spark", "--master", "local[2,3]", *metrics)
    assert ended.returncode == 1, ended.stderr
    found = json.loads(ended.stdout)["manifest"]
    expected = json.loads((corpus / "engine" / "manifest.json").read_text())
    assert (found["rows"], found["tables"]) == (expected["rows"], expected["tables"])
    assert re.search(r"^tamis_run_exit_code\S* 1$", (corpus / "engine.prom").read_text(), re.MULTILINE)
    check_same(corpus, "engine")


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (("--engine", "spark", "--max-g", "1"), "--max-g does not work with --engine spark"),
        (("--engine", "spark", "--threads", "2", "--master", "local[2]"), "say it in the master"),
        (("--engine", "spark", "--", "--deploy-mode", "cluster"), "--deploy-mode does not work"),
        (("--master", "local[2]"), "--master without --engine spark"),
        (("--engine", "spark", "--master", "yarn"), "--checkpoint is needed"),
    ],
)
def test_flags_that_do_not_go_together(corpus, flags, part):
    (corpus / "flags.toml").write_text(config("flags"))
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
    ended = run(corpus, f"killed-{when}", binary=wrapper)
    assert ended.returncode == 1, ended.stderr
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set(KERNELS)
    check_same(corpus, f"killed-{when}")
    manifest = json.loads((corpus / f"killed-{when}" / "manifest.json").read_text())
    named = {file["path"] for table in manifest["tables"].values() for file in table["files"]}
    output = corpus / f"killed-{when}"
    assert {str(path.relative_to(output)) for path in output.glob("*/*.parquet")} == named


def test_without_near_duplicates(corpus):
    (corpus / "plain-local.toml").write_text(config("plain-local", ""))
    command = [os.environ["TAMIS_BIN"], "run", "plain-local.toml"]
    subprocess.run(command, cwd=corpus, capture_output=True, check=False)
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
    (corpus / f"{name}-local.toml").write_text(config(f"{name}-local", near_duplicates))
    ended = run_binary(corpus, f"{name}-local.toml")
    assert ended.returncode == 1, ended.stderr
    ended = run(corpus, name, near_duplicates=near_duplicates)
    assert ended.returncode == 1, ended.stderr
    check_same(corpus, name, f"{name}-local")
    assert tables(corpus / name)[0] != tables(corpus / "local")[0], "the settings must matter"


def test_runs_over_an_index(tmp_path):
    (tmp_path / "in").mkdir()
    rows = [json.dumps({"id": f"row-{number}", "text": text}) for number, text in enumerate(texts(seed=3, n_texts=400))]
    for number in range(2):
        (tmp_path / "in" / "a.jsonl").write_text("\n".join(rows[number * 200 : (number + 1) * 200]) + "\n")
        for engine in ("local", "spark"):
            near_duplicates = f'[deduplicate]\n[index]\nurl = "{engine}-index"'
            output = f"{engine}-{number}"
            (tmp_path / f"{output}.toml").write_text(config(output, near_duplicates))
            if engine == "local":
                ended = run_binary(tmp_path, f"{output}.toml")
            else:
                ended = run(tmp_path, output, near_duplicates=near_duplicates)
            assert ended.returncode == 0, ended.stderr
        check_same(tmp_path, f"spark-{number}", f"local-{number}")
    index = json.loads((tmp_path / "spark-1" / "manifest.json").read_text())["index"]
    expected = json.loads((tmp_path / "local-1" / "manifest.json").read_text())["index"]
    assert index["dropped_rows"] > 0
    assert {**index, "run": None} == {**expected, "run": None}
    segments = json.loads((tmp_path / "spark-index" / "index.json").read_text())["segments"]
    there = {str(path.relative_to(tmp_path / "spark-index")) for path in (tmp_path / "spark-index/segments").iterdir()}
    assert there == {segment["path"] for segment in segments}


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
    (tmp_path / "local.toml").write_text(config("local"))
    local = subprocess.run(
        [os.environ["TAMIS_BIN"], "run", "local.toml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
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
