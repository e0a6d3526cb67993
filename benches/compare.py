#!/usr/bin/env python3
"""CPU seconds and peak memory of `tamis dedup` against `tamis convert` and against rensa, in one run.

usage: compare.py CORPUS.jsonl [--tamis PATH] [--runs 3] [--no-rensa] [--copies 4]

CORPUS.jsonl has `id` and `text`; docs/benchmarks.md says how the one that we quote is made. Every command is run `--runs` times,
in turn, after one that is not counted; medians are printed, as CPU seconds of the whole process (user + system) and
peak resident memory as the kernel accounts for them. rensa 0.5.0 is installed into a folder of its own.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile

from measuring import install, measure

HERE = os.path.dirname(os.path.abspath(__file__))
MEMORY_LIMIT = "256MiB"


def multiply(corpus, n_copies, out):
    """Writes n copies of the corpus with ids made distinct."""
    with open(out, "w", encoding="utf8") as sink:
        for copy in range(n_copies):
            with open(corpus, encoding="utf8") as lines:
                for line in lines:
                    row = json.loads(line)
                    row["id"] = f"{row['id']}#{copy}"
                    sink.write(json.dumps(row, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("--tamis", default=os.path.join(HERE, "..", "target", "release", "tamis"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--no-rensa", action="store_true")
    args = parser.parse_args()

    work = tempfile.mkdtemp(prefix="tamis-compare-")
    try:
        run(args, work)
    finally:
        shutil.rmtree(work)


def run(args, work):
    def tamis(command, corpus):
        limit = ["--memory-limit", MEMORY_LIMIT, "--no-progress"]
        return [args.tamis, command, corpus, "-o", os.path.join(work, command), "--overwrite", *limit]

    contenders = {
        "tamis convert": (tamis("convert", args.corpus), None),
        "tamis dedup": (tamis("dedup", args.corpus), None),
    }
    if not args.no_rensa:
        env = install(os.path.join(work, "site"), ["rensa==0.5.0"])
        contenders["rensa 0.5.0"] = ([sys.executable, os.path.join(HERE, "peer_rensa.py"), args.corpus], env)

    figures = {name: [] for name in contenders}
    for round_number in range(args.runs + 1):
        for name, (command, env) in contenders.items():
            _, seconds, memory, _ = measure(command, env)
            if round_number > 0:
                figures[name].append((seconds, memory))

    print(f"{'':24}{'CPU s':>8}{'range':>16}{'peak MiB':>10}")
    cpu = {}
    for name, runs in figures.items():
        seconds = [run[0] for run in runs]
        cpu[name] = statistics.median(seconds)
        memory = statistics.median(run[1] for run in runs)
        print(f"{name:24}{cpu[name]:8.2f}{min(seconds):8.2f}-{max(seconds):<7.2f}{memory:10.0f}")
    print(f"dedup / convert: {cpu['tamis dedup'] / cpu['tamis convert']:.2f}")
    if "rensa 0.5.0" in cpu:
        print(f"dedup / rensa:   {cpu['tamis dedup'] / cpu['rensa 0.5.0']:.2f}")

    if args.copies > 1:
        copies = os.path.join(work, "copies.jsonl")
        multiply(args.corpus, args.copies, copies)
        _, _, memory, _ = measure(tamis("dedup", copies))
        print(f"tamis dedup, {args.copies} copies: peak {memory:.0f} MiB at --memory-limit {MEMORY_LIMIT}")


main()
