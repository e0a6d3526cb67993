#!/usr/bin/env python3
"""How right and how sure the scorers of `tamis score` are, and how long they take.

usage: scorers.py DOCS.jsonl... [--tamis PATH] [--scorer builtin] [--labels 5000] [--seeds 0] [--texts 200000]

DOCS.jsonl has `id`, `text`, `label` and `split`; the labels are those of `--labels` rows, drawn with a seed of
their own from all but the split `test`, which is predicted; where there is no such split, all other rows are. Of the predictions: share that is right; calibration error (ECE)
over 15 bins of the highest probability; how well margin and entropy tell wrong predictions from right ones (area under the ROC curve).
`fit` is the wall time of a run over labelled and predicted rows, reading and scoring them included. `texts/s` is over a run with `--texts` more
rows, less that one: per CPU second of one core, with parsing the rows and writing the table. pyarrow reads the tables
(installed into a folder of its own).
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

from measuring import install, measure

HERE = os.path.dirname(os.path.abspath(__file__))
SCORES = """
import json, sys
import pyarrow.parquet as pq
table = pq.read_table(sys.argv[1], columns=["tamis_id", "tamis_label", "tamis_probabilities", "tamis_margin", "tamis_entropy"])
rows = zip(*(table.column(name).to_pylist() for name in table.column_names))
json.dump({id: (label, max(p), margin, entropy) for id, label, p, margin, entropy in rows}, sys.stdout)
"""


def auroc(wrong, uncertainty):
    """Probability that a wrong prediction is less certain than a right one; ties count half."""
    order = sorted(range(len(wrong)), key=lambda i: uncertainty[i])
    n_wrong, rank_sum, i = sum(wrong), 0.0, 0
    while i < len(order):
        j = i
        while j < len(order) and uncertainty[order[j]] == uncertainty[order[i]]:
            j += 1
        rank_sum += sum(wrong[k] for k in order[i:j]) * (i + j + 1) / 2
        i = j
    n_right = len(wrong) - n_wrong
    return (rank_sum - n_wrong * (n_wrong + 1) / 2) / (n_wrong * n_right) if n_wrong * n_right else float("nan")


def calibration_error(sureness, wrong, n_bins=15):
    bins = [0.0] * n_bins
    for p, is_wrong in zip(sureness, wrong):
        bins[min(int(p * n_bins), n_bins - 1)] += p - (not is_wrong)
    return sum(abs(difference) for difference in bins) / len(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("docs", nargs="+")
    parser.add_argument("--tamis", default=os.path.join(HERE, "..", "target", "release", "tamis"))
    parser.add_argument("--scorer", default="builtin")
    parser.add_argument("--labels", type=int, default=5000)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--texts", type=int, default=200_000, help="more rows, for the speed; 0: no speed")
    parser.add_argument("--site", default=os.path.join(HERE, "..", "target", "bench-scorers"))
    args = parser.parse_args()
    env = install(args.site, ["pyarrow"])
    print(f"{'data':<12}{'labels':>7}{'test':>6}{'seed':>5}{'accuracy':>9}{'ECE':>7}{'margin':>8}{'entropy':>8}{'fit s':>7}{'CPU s':>7}{'texts/s':>9}")
    for path in args.docs:
        rows = [json.loads(line) for line in open(path, encoding="utf-8")]
        is_test = [row["split"] == "test" for row in rows]
        train = [row for row, of_test in zip(rows, is_test) if not of_test]
        train = random.Random(7).sample(train, min(args.labels, len(train)))
        if not any(is_test):
            known = {row["id"] for row in train}
            is_test = [row["id"] not in known for row in rows]
        test = {row["id"]: row["label"] for row, of_test in zip(rows, is_test) if of_test}
        with tempfile.TemporaryDirectory() as folder:
            labels, pool, more = (os.path.join(folder, name) for name in ("labels.jsonl", "pool.jsonl", "more.jsonl"))
            write(labels, ({"id": row["id"], "label": row["label"]} for row in train))
            texts = [{"id": row["id"], "text": row["text"]} for row in train]
            texts += [{"id": row["id"], "text": row["text"]} for row, of_test in zip(rows, is_test) if of_test]
            write(pool, texts)
            write(more, ({"id": f"more-{i}", "text": rows[i % len(rows)]["text"]} for i in range(args.texts)))
            for seed in args.seeds.split(","):
                out = os.path.join(folder, f"out-{seed}")
                command = [args.tamis, "score", "--scorer", args.scorer, "--labels", labels, "--seed", seed, "--format", "json", "--no-progress"]
                wall, cpu, _, _ = measure([*command, pool, "-o", out])
                found = subprocess.run([sys.executable, "-c", SCORES, os.path.join(out, "scores")], env=env, check=True, stdout=subprocess.PIPE)
                scores = json.loads(found.stdout)
                of_test = [(scores[id], label) for id, label in test.items()]
                wrong = [score[0] != label for score, label in of_test]
                speed = "-"
                if args.texts:
                    _, cpu_more, _, _ = measure([*command, pool, more, "-o", out + "-more"])
                    speed = f"{args.texts / (cpu_more - cpu):.0f}"
                print(
                    f"{os.path.basename(path):<12.12}{len(train):>7}{len(test):>6}{seed:>5}"
                    f"{1 - sum(wrong) / len(wrong):>9.3f}{calibration_error([score[1] for score, _ in of_test], wrong):>7.3f}"
                    f"{auroc(wrong, [-score[2] for score, _ in of_test]):>8.3f}{auroc(wrong, [score[3] for score, _ in of_test]):>8.3f}"
                    f"{wall:>7.1f}{cpu:>7.1f}{speed:>9}",
                    flush=True,
                )


def write(path, rows):
    with open(path, "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
