#!/usr/bin/env python3
"""What sieving saves a training: a classifier trained on all rows of a set, and on what tamis kept and chose of them, its own cost included.

usage: article_table.py DOCS.jsonl... [--scorer builtin|MODEL_DIR] [--head mlp] [--tamis PATH] [--site DIR] [--share 0.5] [--rounds 4] [--copies 1] [--seeds 5]

DOCS.jsonl has `id`, `text`, `label` and `split`; rows of the split `test` are tested on, or a fifth if there are none. `--copies 3` has every row of the training set three
times, each copy with another id and a word more: a pool with planted near-duplicates. For each seed:

  all     `tamis distill` (the classifier: the built-in one, or a head by Candle on an encoder's embeddings) on all training rows
  kept    the same on what `tamis dedup` keeps
  chosen  the same on `--share` of what is kept, in rounds: a tenth of it by `tamis select` without labels, the rest in --rounds batches with the labels so far

and `tamis score` on the test rows says how many are right. CPU seconds are those of all processes, `own` those of dedup and select; labels are the rows learned
from. Joules are CPU seconds by what the ledger of the dedup run has for one (processor and memory, provisioned, best guess): docs/footprint.md says how sure that is.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

from measuring import install, measure

HERE = os.path.dirname(os.path.abspath(__file__))


def write(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def table(folder):
    """Rows of a table."""
    import pyarrow.dataset as dataset

    return dataset.dataset(folder, format="parquet").to_table().to_pylist()


class Bench:
    def __init__(self, args, folder, train, test):
        self.args, self.folder, self.train, self.test = args, folder, train, test
        self.truth = {row["id"]: row["label"] for row in train + test}
        write(self.path("train.jsonl"), train)
        write(self.path("test.jsonl"), [{"id": row["id"], "text": row["text"]} for row in test])

    def path(self, name):
        return os.path.join(self.folder, name)

    def tamis(self, *words):
        """CPU seconds of a command."""
        _, cpu, _, _ = measure([self.args.tamis, *words, "--no-progress", "--format", "json"])
        return cpu

    def learn(self, ids, seed):
        """Share of the test rows that is right, and CPU seconds of the training, embedding included."""
        chosen = set(ids)
        write(self.path("learn.jsonl"), [row for row in self.train if row["id"] in chosen])
        scorer = ["--scorer", self.args.scorer] + (["--head", self.args.head] if self.args.scorer != "builtin" else [])
        out = self.path("model")
        cpu = self.tamis("distill", self.path("learn.jsonl"), *scorer, "--seed", str(seed), "-o", out, "--overwrite")
        self.tamis("score", self.path("test.jsonl"), "--scorer", out, "-o", self.path("scored"), "--overwrite")
        said = {row["tamis_id"]: row["tamis_label"] for row in table(self.path("scored/scores"))}
        return sum(said[row["id"]] == row["label"] for row in self.test) / len(self.test), cpu

    def choose(self, kept, seed):
        """Ids of `share` of the kept rows, and CPU seconds of choosing them."""
        n = round(self.args.share * len(kept))
        first = max(1, n // 10)
        sizes = [first] + [(n - first) * (place + 1) // self.args.rounds - (n - first) * place // self.args.rounds for place in range(self.args.rounds)]
        known, cpu = [], 0.0
        for size in filter(None, sizes):
            labels = []
            if known:
                write(self.path("labels.jsonl"), [{"id": id, "label": self.truth[id]} for id in known])
                labels = ["--labels", self.path("labels.jsonl")]
            out = self.path("batch")
            cpu += self.tamis(
                "select", self.path("kept/kept"), "--id-column", "id", *labels, "--budget", str(size), "--seed", str(seed), "-o", out, "--overwrite",
            )
            known += [row["tamis_id"] for row in table(os.path.join(out, "batch"))]
        return known, cpu

    def run(self):
        dedup = self.tamis("dedup", self.path("train.jsonl"), "-o", self.path("kept"), "--overwrite")
        report = json.loads(subprocess.check_output([self.args.tamis, "footprint", "report", self.path("kept"), "--format", "json"]))
        j_per_cpu = report["totals"]["kwh"]["mid"] * 3.6e6 / report["totals"]["cpu_seconds"]
        kept = [row["id"] for row in table(self.path("kept/kept"))]
        sums = {}
        for seed in range(self.args.seeds):
            chosen, selecting = self.choose(kept, seed)
            for name, ids, own in [("all", [row["id"] for row in self.train], 0.0), ("kept", kept, dedup), ("chosen", chosen, dedup + selecting)]:
                accuracy, cpu = self.learn(ids, seed)
                sums.setdefault(name, []).append((accuracy, cpu, own, len(ids)))
        mean = {name: [sum(column) / len(column) for column in zip(*values)] for name, values in sums.items()}
        of_all = mean["all"]
        print(f"  {'':<8}{'labels':>8}{'accuracy':>10}{'of all':>8}{'training':>12}{'own':>10}{'together':>10}{'energy':>10}{'':>4}change", flush=True)
        for name, (accuracy, cpu, own, labels) in mean.items():
            change = 100 * ((cpu + own) / of_all[1] - 1)
            print(
                f"  {name:<8}{labels:>8.0f}{accuracy:>10.3f}{100 * accuracy / of_all[0]:>7.1f}%{cpu:>10.1f} s{own:>8.1f} s{cpu + own:>8.1f} s"
                f"{j_per_cpu * (cpu + own):>8.0f} J{change:>+9.0f} %",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("docs", nargs="+")
    parser.add_argument("--scorer", default="builtin")
    parser.add_argument("--head", default="mlp")
    parser.add_argument("--tamis", default=os.path.join(HERE, "..", "target", "release", "tamis"))
    parser.add_argument("--site", default=os.path.join(HERE, "..", "target", "bench-article"))
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    install(args.site, ["pyarrow"])
    sys.path.insert(0, args.site)
    for path in args.docs:
        rows = [json.loads(line) for line in open(path, encoding="utf-8")]
        has_test = any(row["split"] == "test" for row in rows)
        is_test = lambda place: rows[place]["split"] == "test" if has_test else place % 5 == 0
        test = [rows[place] for place in range(len(rows)) if is_test(place)]
        once = [rows[place] for place in range(len(rows)) if not is_test(place)]
        train = [
            {**row, "id": f"{row['id']}-{copy}" if copy else row["id"], "text": row["text"] + (f" {'indeed really'.split()[copy % 2]}" if copy else "")}
            for row in once for copy in range(args.copies)
        ]
        print(f"{os.path.basename(path)}: {len(train)} rows to learn from, {len(test)} to test on, {os.path.basename(args.scorer.rstrip('/'))}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            Bench(args, folder, train, test).run()


if __name__ == "__main__":
    main()
