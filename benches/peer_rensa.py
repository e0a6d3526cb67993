"""Near-duplicate flags by rensa: full-set R-MinHash over 5-word shingles, 112 slots, its LSH with 14 bands.

usage: peer_rensa.py CORPUS.jsonl      (rensa 0.5.0 on the module path; nothing is written)
"""

import json
import sys

from rensa import RMinHash, RMinHashLSH

SLOTS, BANDS, NGRAM, BATCH = 112, 14, 5, 2000


def shingles(text):
    words = text.lower().split()
    return [" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))]


def main(path):
    lsh = RMinHashLSH(threshold=0.8, num_perm=SLOTS, num_bands=BANDS)
    n_documents = n_flagged = 0
    batch = []

    def flush():
        nonlocal n_flagged
        matrix = RMinHash.digest_matrix_from_token_sets(batch, SLOTS, 42)
        n_flagged += sum(lsh.insert_matrix_and_query_duplicate_flags(matrix, n_documents - len(batch)))
        batch.clear()

    with open(path, encoding="utf8") as lines:
        for line in lines:
            batch.append(shingles(json.loads(line)["text"]))
            n_documents += 1
            if len(batch) == BATCH:
                flush()
    if batch:
        flush()
    print(f"{n_documents} documents, {n_flagged} flagged")


main(sys.argv[1])
