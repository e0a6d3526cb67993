"""Seconds of one thread for a sketch of N random shingles by rensa: full-set R-MinHash of prehashed 64-bit tokens in one flat buffer.

usage: peer_rensa_sketch.py      (rensa 0.5.0 and numpy on the module path)

This is the entry with the least overhead: no Python object for a token or for a set. As many sets go into a call as make 200,000
shingles, so that the call itself costs next to nothing. Prints JSON: {slots: {shingles: median seconds a set}}.
"""

import json
import os
import statistics
import time

os.environ["RAYON_NUM_THREADS"] = "1"

import numpy
from rensa import RMinHash

CALLS = 31


def seconds(n_slots, n_shingles):
    n_sets = max(1, 200_000 // n_shingles)
    random = numpy.random.default_rng(1)
    hashes = random.integers(0, 2**64, size=n_sets * n_shingles, dtype=numpy.uint64)
    offsets = numpy.arange(0, n_sets * n_shingles + 1, n_shingles, dtype=numpy.uint64)
    figures = []
    for _ in range(CALLS):
        start = time.perf_counter()
        RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, n_slots, 42)
        figures.append((time.perf_counter() - start) / n_sets)
    return statistics.median(figures)


print(json.dumps({k: {n: seconds(k, n) for n in (10, 100, 1000, 10_000)} for k in (128, 256)}))
