#!/usr/bin/env python3
"""What `tamis dedup` does with input made to hurt it: wall and CPU seconds, peak resident memory, and what it says it did.

usage: adversarial.py [CASE...] [--tamis PATH] [--rows 1000000] [--memory-limit 512MiB] [--work FOLDER]

Every case is generated (Python standard library only, from a fixed seed), run once, checked for its exit code, and removed.

  template-1   one template of 200 words, one of them replaced: similarity about 0.95, nearly all rows go
  template-60  the same with 60 words replaced in a row: similarity about 0.5 within the family, below the threshold
  empty        texts without a character
  equal        one text again and again
  one-token    texts of one token each, all distinct
  large        one document of 100 MB
"""

import argparse
import json
import os
import random
import shutil
import tempfile
from multiprocessing import Process

from measuring import measure

HERE = os.path.dirname(os.path.abspath(__file__))
TEMPLATE = [f"word{place}" for place in range(200)]


def template(n_replaced):
    def text(row, generator):
        words = list(TEMPLATE)
        start = generator.randrange(len(words) - n_replaced + 1)
        words[start : start + n_replaced] = (f"other{row}x{place}" for place in range(n_replaced))
        return " ".join(words)

    return text


def large_text(_, generator):
    return " ".join(f"{generator.randrange(1 << 20):05x}" for _ in range(100_000_000 // 6))


CASES = {
    "template-1": template(1),
    "template-60": template(60),
    "empty": lambda row, generator: "",
    "equal": lambda row, generator: " ".join(TEMPLATE),
    "one-token": lambda row, generator: f"token{row}",
    "large": large_text,
}


def generate(case, n_rows, path):
    generator = random.Random(1)
    with open(path, "w", encoding="utf8") as sink:
        for row in range(1 if case == "large" else n_rows):
            sink.write(json.dumps({"id": str(row), "text": CASES[case](row, generator)}) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="all if none is named")
    parser.add_argument("--tamis", default=os.path.join(HERE, "..", "target", "release", "tamis"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--memory-limit", default="512MiB")
    parser.add_argument("--work")
    args = parser.parse_args()
    print(f"{'case':12}{'wall s':>8}{'CPU s':>8}{'peak MiB':>10}{'dropped':>10}{'rejected':>10}{'compared':>14}{'untested':>14}{'hot':>8}")
    for case in args.cases or CASES:
        work = tempfile.mkdtemp(prefix="tamis-adversarial-", dir=args.work)
        try:
            corpus, out = os.path.join(work, "in.jsonl"), os.path.join(work, "out")
            # In a process of its own: what is started later counts the memory that this one has held as its peak.
            generation = Process(target=generate, args=(case, args.rows, corpus))
            generation.start()
            generation.join()
            options = ["--memory-limit", args.memory_limit, "--no-progress", "--format", "json", "--temp-dir", work]
            # 1: some rows were rejected.
            wall, cpu, peak, summary = measure([args.tamis, "dedup", corpus, "-o", out, *options], codes=(0, 1))
            manifest = json.loads(summary)["manifest"]
            near = manifest["near_duplicates"]
            pairs = f"{near['candidate_pairs']:14}{near['untested_pairs']:14}{near['hot_buckets']:8}"
            print(f"{case:12}{wall:8.1f}{cpu:8.1f}{peak:10.0f}{manifest['rows']['dropped']:10}{manifest['rows']['rejected']:10}{pairs}", flush=True)
        finally:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
