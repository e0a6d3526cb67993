"""CPU seconds of text-dedup's MinHash command: defaults (5-grams, 250 permutations, threshold 0.7), one process.

usage: peer_text_dedup.py SAMPLE.jsonl      (text-dedup and what its module `minhash` imports on the module path)

Imports are not counted; loading through `datasets`, clustering and saving are, as they are in the command. `embedding` is the
part that computes the signatures, timed again on its own without `datasets`. Prints JSON: {seconds, embedding, documents}.
"""

import json
import os
import sys
import tempfile
import time

import numpy
from text_dedup import minhash
from text_dedup.utils import optimal_param, sha1_hash


def cpu():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def embed(texts):
    n_bands, n_rows = optimal_param(0.7, 250, false_positive_weight=0.5, false_negative_weight=0.5)
    random = numpy.random.RandomState(42)
    prime = numpy.uint64((1 << 61) - 1)
    settings = {
        "num_perm": 250,
        "ngram_size": 5,
        "min_length": 5,
        "hashranges": [(band * n_rows, (band + 1) * n_rows) for band in range(n_bands)],
        "permutations": (
            random.randint(1, prime, size=250, dtype=numpy.uint64),
            random.randint(0, prime, size=250, dtype=numpy.uint64),
        ),
        "hash_func": lambda data: sha1_hash(data, d=32),
        "dtype": numpy.uint64,
        "max_hash": numpy.uint32((1 << 32) - 1),
        "modulo_prime": prime,
    }
    start = time.process_time()
    for index, text in enumerate(texts):
        minhash.embed_func(text, index, **settings)
    return time.process_time() - start


def main(path):
    with open(path, encoding="utf8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        options = ["--path", "json", "--data_files", path, "--split", "train", "--cache_dir", os.path.join(folder, "cache")]
        options += ["--output", os.path.join(folder, "out"), "--column", "text", "--num_proc", "1"]
        start = cpu()
        minhash.main(options, standalone_mode=False)
        seconds = cpu() - start
    print(json.dumps({"seconds": seconds, "embedding": embed(texts), "documents": len(texts)}))


main(sys.argv[1])
