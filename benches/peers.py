#!/usr/bin/env python3
"""CPU seconds a document of `tamis dedup` against datatrove and text-dedup, and a sketch against rensa's, in one run.

usage: peers.py CORPUS.jsonl [--tamis PATH] [--documents 500] [--runs 3] [--sites DIR]

tamis runs on the whole corpus, process start and output included. The peers run on every n-th document of it, so that about
`--documents` are left, without their imports and, for datatrove, without reading and writing. All runs take turns; medians
are printed. Each peer is installed into a folder of its own, under `--sites` if that is given.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

from measuring import install, measure

HERE = os.path.dirname(os.path.abspath(__file__))
# text-dedup also wants pyspark, unisim (tensorflow) and sphinx; its MinHash command imports none of them.
MINHASH_NEEDS = "click click-option-group datasets fire ftfy numpy psutil regex rich scipy tqdm xxhash zstandard bitarray pybloom-live"
PEERS = {
    "datatrove": [["datatrove==0.10.1", "nltk", "spacy", "regex", "tokenizers", "xxhash<4", "numpy"]],
    "text_dedup": [["--no-deps", "text-dedup==0.4.0"], MINHASH_NEEDS.split()],
    "rensa_sketch": [["rensa==0.5.0", "numpy"]],
}


def peer(name, env, *arguments):
    """Returns what a peer's script prints as its last line."""
    command = [sys.executable, os.path.join(HERE, f"peer_{name}.py"), *arguments]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stderr[-2000:]}\n{' '.join(command)} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def take_sample(corpus, n_documents, out):
    """Writes every n-th document; returns (documents, mean bytes of the text) of the corpus and of the sample."""
    n_all = n_bytes_all = n_sample = n_bytes_sample = 0
    with open(corpus, encoding="utf8") as lines:
        step = max(1, sum(1 for _ in lines) // n_documents)
    with open(corpus, encoding="utf8") as lines, open(out, "w", encoding="utf8") as sink:
        for index, line in enumerate(lines):
            n_bytes = len(json.loads(line)["text"].encode())
            n_all += 1
            n_bytes_all += n_bytes
            if index % step == 0:
                sink.write(line)
                n_sample += 1
                n_bytes_sample += n_bytes
    return (n_all, n_bytes_all / n_all), (n_sample, n_bytes_sample / n_sample)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("--tamis", default=os.path.join(HERE, "..", "target", "release", "tamis"))
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sites")
    args = parser.parse_args()
    work = tempfile.mkdtemp(prefix="tamis-peers-")
    try:
        run(args, work)
    finally:
        shutil.rmtree(work)


def run(args, work):
    sites = args.sites or os.path.join(work, "sites")
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": os.path.join(sites, "hf")}
    envs = {name: install(os.path.join(sites, name), *rounds) | offline for name, rounds in PEERS.items()}
    sample = os.path.join(work, "sample.jsonl")
    (n_all, mean_all), (n_sample, mean_sample) = take_sample(args.corpus, args.documents, sample)
    print(f"corpus: {n_all} documents of {mean_all:.0f} bytes; sample: {n_sample} of {mean_sample:.0f} bytes")

    dedup = [args.tamis, "dedup", args.corpus, "-o", os.path.join(work, "out"), "--overwrite", "--no-progress"]
    dedup += ["--memory-limit", "256MiB"]
    figures = {}
    sketches = []
    for _ in range(args.runs):
        figures.setdefault("tamis dedup, whole corpus", []).append((measure(dedup)[1] / n_all, mean_all))
        seconds = peer("datatrove", envs["datatrove"], sample)["seconds"]
        figures.setdefault("datatrove signature stage", []).append((seconds / n_sample, mean_sample))
        times = peer("text_dedup", envs["text_dedup"], sample)
        figures.setdefault("text-dedup minhash, whole", []).append((times["seconds"] / n_sample, mean_sample))
        figures.setdefault("text-dedup embed_func", []).append((times["embedding"] / n_sample, mean_sample))
        sketches.append(peer("rensa_sketch", envs["rensa_sketch"]))

    print(f"{'':28}{'CPU ms/document':>16}{'CPU s/MB':>10}{'times tamis':>12}{'times, per MB':>14}")
    ours = None
    for name, runs in figures.items():
        each = statistics.median(seconds for seconds, _ in runs)
        per_mb = each / runs[0][1] * 1e6
        ours = ours or (each, per_mb)
        print(f"{name:28}{1000 * each:16.3f}{per_mb:10.4f}{each / ours[0]:12.1f}{per_mb / ours[1]:14.1f}")

    print("rensa, microseconds a sketch (tamis: cargo bench -p tamis-pipeline --bench fingerprint -- '^sketch/')")
    for slots, sizes in sketches[0].items():
        medians = {size: statistics.median(sketch[slots][size] for sketch in sketches) for size in sizes}
        print(f"  {slots} slots: " + ", ".join(f"{size}: {1e6 * each:.3f}" for size, each in medians.items()))


main()
