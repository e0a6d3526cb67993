#!/usr/bin/env python3
"""Memory and time of `tamis select` over a large pool with embeddings in Parquet.

usage: large_pool.py [--rows 10000000] [--dimensions 384] [--classes 100] [--labels 2000] [--budget 100] [--strategies auto,cluster-margin] [--memory-limit 1GiB]
                     [--tamis PATH] [--site DIR] [--folder DIR]

The rows are made: embeddings of length 1 around as many centers as classes, half precision, and a short text each. Near-duplicates are looked for as always.
Prints wall and CPU seconds and the peak resident memory of each run. 10 million rows of 384 components are 7.7 GB in --folder, which are left there for the next run.
"""

import argparse
import json
import multiprocessing
import os
import sys

from measuring import install, measure

HERE = os.path.dirname(os.path.abspath(__file__))
FILE_ROWS = 500_000


def make(folder, args):
    import numpy
    import pyarrow
    import pyarrow.parquet as parquet

    os.makedirs(folder, exist_ok=True)
    random = numpy.random.default_rng(0)
    centers = random.normal(size=(args.classes, args.dimensions)).astype(numpy.float32)
    with open(os.path.join(folder, "labels.jsonl.part"), "w", encoding="utf-8") as labels:
        for start in range(0, args.rows, FILE_ROWS):
            n = min(FILE_ROWS, args.rows - start)
            classes = random.integers(0, args.classes, n)
            vectors = centers[classes] + random.standard_normal((n, args.dimensions), dtype=numpy.float32) * 2
            vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
            values = pyarrow.array(vectors.astype(numpy.float16).reshape(-1))
            ids = [f"row-{start + place}" for place in range(n)]
            texts = [f"row {start + place} says {word} and {other}" for place, (word, other) in enumerate(random.integers(0, 1 << 40, (n, 2)))]
            table = pyarrow.table({"id": ids, "text": texts, "embedding": pyarrow.FixedSizeListArray.from_arrays(values, args.dimensions)})
            parquet.write_table(table, os.path.join(folder, f"pool-{start:09}.parquet"), row_group_size=20_000, use_dictionary=False)
            if start == 0:
                for place in range(min(args.labels, n)):
                    labels.write(json.dumps({"id": ids[place], "label": f"class {classes[place]}"}) + "\n")
    os.rename(os.path.join(folder, "labels.jsonl.part"), os.path.join(folder, "labels.jsonl"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--strategies", default="auto,cluster-margin")
    parser.add_argument("--candidates", type=int)
    parser.add_argument("--memory-limit", default="1GiB")
    parser.add_argument("--tamis", default=os.path.join(HERE, "..", "target", "release", "tamis"))
    parser.add_argument("--site", default=os.path.join(HERE, "..", "target", "bench-active"))
    parser.add_argument("--folder", default=os.path.join(HERE, "..", "target", "bench-large-pool"))
    args = parser.parse_args()
    install(args.site, ["numpy", "pyarrow"])
    sys.path.insert(0, args.site)
    if not os.path.exists(os.path.join(args.folder, "labels.jsonl")):
        # In a process of its own: what a process held before it starts a program counts as that program's memory.
        maker = multiprocessing.Process(target=make, args=(args.folder, args))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("the pool could not be made")
    for strategy in args.strategies.split(","):
        command = [
            args.tamis, "select", os.path.join(args.folder, "pool-*.parquet"), "--scorer", "column:embedding", "--labels", os.path.join(args.folder, "labels.jsonl"),
            "--budget", str(args.budget), "--strategy", strategy, "--memory-limit", args.memory_limit, "-o", args.folder.rstrip("/") + "-out", "--overwrite", "--no-progress", "--format", "json",
        ]
        if args.candidates:
            command += ["--candidates", str(args.candidates)]
        wall, cpu, peak, output = measure(command)
        selection = json.loads(output)["manifest"]["selection"]
        print(f"{strategy:<18} {args.rows} rows, limit {args.memory_limit}: {wall:.0f} s wall, {cpu:.0f} s CPU, peak {peak:.0f} MiB; {selection['batch_rows']} rows by {selection['strategy']}", flush=True)


if __name__ == "__main__":
    main()
