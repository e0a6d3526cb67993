#!/usr/bin/env python3
"""Sizes of the tables `dropped` and `kept` by zstd level and order of rows, and the CPU seconds of writing them.

usage: table_sizes.py CORPUS.jsonl [--tamis PATH] [--every 4] [--levels 1,3,6,9,12]

CORPUS.jsonl has `id` and `text`; docs/benchmarks.md says how the one that we quote is made. Of its documents every `--every`-th is taken
three times, in three files: as it is, and twice with 2 % of its words replaced by others of its own. `tamis run` drops the copies. Seconds
are those of the whole process (user + system) less those of a run over the same files that writes neither table; bytes before
compression are those of the Parquet footers, which pyarrow reads (installed into a folder of its own).
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

from measuring import install, measure

HERE = os.path.dirname(os.path.abspath(__file__))
CHANGED_RATIO = 0.02
FOOTERS = """
import sys
import pyarrow.parquet as pq
groups = [f.row_group(g) for f in map(pq.read_metadata, sys.argv[1:]) for g in range(f.num_row_groups)]
print(sum(g.column(c).total_uncompressed_size for g in groups for c in range(g.num_columns)))
"""


def edited(text, chance):
    """The text with some of its words replaced by others of its own."""
    parts = re.split(r"(\s+)", text)
    words = parts[::2]
    for place in range(0, len(parts), 2):
        if chance.random() < CHANGED_RATIO:
            parts[place] = chance.choice(words)
    return "".join(parts)


def write_inputs(corpus, every, folder):
    os.mkdir(folder)
    chance = random.Random(1)
    sinks = [open(os.path.join(folder, f"{copy}.jsonl"), "w", encoding="utf8") for copy in range(3)]
    with open(corpus, encoding="utf8") as lines:
        for number, line in enumerate(lines):
            if number % every:
                continue
            row = json.loads(line)
            for copy, sink in enumerate(sinks):
                text = edited(row["text"], chance) if copy else row["text"]
                sink.write(json.dumps({"id": f"{row['id']}#{copy}", "text": text}, ensure_ascii=False) + "\n")
    for sink in sinks:
        sink.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("--tamis", default=os.path.join(HERE, "..", "target", "release", "tamis"))
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--levels", default="1,3,6,9,12")
    args = parser.parse_args()

    work = tempfile.mkdtemp(prefix="tamis-table-sizes-")
    try:
        run(args, work)
    finally:
        shutil.rmtree(work)


def run(args, work):
    folder, config, out = (os.path.join(work, name) for name in ("in", "run.toml", "out"))
    write_inputs(args.corpus, args.every, folder)
    env = install(os.path.join(work, "site"), ["pyarrow==26.0.0"])

    def write(table, level, order):
        with open(config, "w", encoding="utf8") as file:
            file.write(
                f'[input]\npaths = ["{folder}"]\n[deduplicate]\n[output]\npath = "{out}"\ntables = ["{table}"]\n'
                f'[tiers.default]\nzstd = {level}\norder = "{order}"\n'
            )
        command = [args.tamis, "run", config, "--overwrite", "--format", "json", "--no-progress"]
        _, seconds, memory, summary = measure(command)
        record = json.loads(summary)["manifest"]["tables"][table]
        files = [os.path.join(out, file["path"]) for file in record["files"]]
        raw = int(subprocess.run([sys.executable, "-c", FOOTERS, *files], env=env, check=True, stdout=subprocess.PIPE).stdout)
        return record["rows"], raw, sum(file["bytes"] for file in record["files"]), seconds, memory

    write("rejected", 3, "input")
    _, _, _, without, _ = write("rejected", 3, "input")
    print("| table | order | zstd | rows | MB | ratio | CPU s | peak MiB |\n| --- | --- | --- | --- | --- | --- | --- | --- |")
    for table, order in (("dropped", "input"), ("dropped", "cluster"), ("kept", "input")):
        for level in args.levels.split(","):
            rows, raw, size, seconds, memory = write(table, level, order)
            figures = f"{size / 1e6:.1f} | {raw / size:.2f} | {seconds - without:.1f} | {memory:.0f}"
            print(f"| `{table}` | {order} | {level} | {rows:,} | {figures} |", flush=True)


main()
