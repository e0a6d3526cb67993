"""Runs of a real binary, named by TAMIS_BIN, on one machine and on Spark; and whether they gave the same."""

import json
import os
import random
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

TABLES = ("kept", "dropped", "evidence", "rejected")
OTHER_TABLES = ("spans", "scores", "embeddings", "batch", "quality", "control")
KERNELS = (
    *("scan", "bucket", "prune", "prove", "assign", "divide", "hold"),
    *("texts", "learn", "score", "choose", "pick", "tabulate", "write"),
)
SCORING = '[deduplicate]\n[grain]\naction = "cut"\n[score]\nlabels = ["labels.jsonl"]\n[select]\nbudget = 25'
"""Settings of a run that has a stage of every kernel above."""
UNIT_BYTES = "20000"
FOOTER = "\n\nthis paragraph of some words is at the end of many texts"
REJECTED = 1
"""Exit code of all of these runs: their input has a row that cannot be read."""


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


def make_corpus(folder):
    """Makes an input and labels in the folder, and what runs on one machine make of them: `local`, `scored-local`."""
    (folder / "in").mkdir()
    rows = [
        json.dumps({"id": f"row-{number}", "text": text + FOOTER * (number % 9 == 0), "n": number})
        for number, text in enumerate(texts(seed=7, n_texts=600))
    ]
    rows[250] = '{"id": "broken", "text": '
    for number in range(3):
        (folder / "in" / f"{number}.jsonl").write_text("\n".join(rows[number * 200 : (number + 1) * 200]) + "\n")
    (folder / "in" / "empty.jsonl").write_text("")
    held_out = [{"text": " ".join(text.split()[2:30])} for text in texts(seed=7, n_texts=600)[::50]]
    (folder / "held_out.jsonl").write_text("\n".join(map(json.dumps, held_out)))
    labels = [{"id": f"row-{number}", "label": f"topic {number % 3}"} for number in range(0, 600, 2)]
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    for output, settings in (("local", "[deduplicate]"), ("scored-local", SCORING)):
        ended = run_alone(folder, output, settings)
        assert ended.returncode == REJECTED, ended.stderr


def binary():
    path = os.environ.get("TAMIS_BIN")
    if not path:
        pytest.fail("TAMIS_BIN must name a tamis binary: these tests compare with what it does on one machine")
    return path


def write_config(folder, output, near_duplicates="[deduplicate]"):
    """Writes the config of a run of the corpus; gives its name."""
    text = f'[input]\npaths = ["in"]\n{near_duplicates}\n[output]\npath = "{output}"\n'
    (folder / f"{output}.toml").write_text(text)
    return f"{output}.toml"


def run_alone(folder, output, near_duplicates="[deduplicate]"):
    """A run on one machine."""
    command = [binary(), "run", write_config(folder, output, near_duplicates)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def command(folder, output, *arguments, near_duplicates="[deduplicate]", driver=("-m", "tamis_spark")):
    """The command line of a run on Spark."""
    config = write_config(folder, output, near_duplicates)
    return [sys.executable, *driver, config, "--master", "local[2,3]", "--parallelism", "2", *arguments]


def run(folder, output, *arguments, near_duplicates="[deduplicate]", **env):
    """A run on Spark, to its end."""
    env = {"TAMIS_UNIT_BYTES": UNIT_BYTES, **os.environ, **env}
    line = command(folder, output, *arguments, near_duplicates=near_duplicates)
    return subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)


def manifest(output):
    return json.loads((output / "manifest.json").read_text())


def tables(output):
    """The rows of all tables of a run, as texts, sorted; and their columns."""
    said = manifest(output)
    found = {}
    for name in (*TABLES, *(name for name in OTHER_TABLES if name in said["tables"])):
        files = [pq.read_table(output / file["path"]) for file in said["tables"][name]["files"]]
        assert sum(map(len, files)) == said["tables"][name]["rows"]
        table = pa.concat_tables(files)
        columns = [(field.name, field.type) for field in table.schema]
        found[name] = columns, sorted(json.dumps(row, sort_keys=True, default=str) for row in table.to_pylist())
    counts = ("rows", "dropped_by_reason", "near_duplicates", "grain", "semantic", "scorer", "quality", "selection")
    return found, {name: said.get(name) for name in counts}


def check_same(folder, output, local="local"):
    """All rows of all tables are those of the run on one machine, and no file is there that nobody knows of."""
    (found, counts), (expected, expected_counts) = tables(folder / output), tables(folder / local)
    assert set(found) == set(expected)
    for name, rows in found.items():
        assert rows == expected[name], name
    assert counts == expected_counts
    assert files(folder / output) == named_files(folder / output)


def files(output):
    """All that is there, whether a run knows of it or not."""
    return {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}


def named_files(output):
    """Files that belong to a run: the manifest, and what it names."""
    named = {file["path"] for table in manifest(output)["tables"].values() for file in table["files"]}
    return {"manifest.json"} | named
