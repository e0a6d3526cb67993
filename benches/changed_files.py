#!/usr/bin/env python3
"""Changes the input files of an output that runs are added to, at random, and compares the output with the files after each run.

usage: changed_files.py DOCUMENTS.jsonl [--tamis PATH] [--seeds 1,2,3] [--variants plain,no-ids,parts-kill,tier-score,kill]

DOCUMENTS.jsonl has `text`; sample-data/licences.jsonl will do. Each seed and variant is eight runs; before each some files are made, changed,
shortened, emptied or shuffled. `kill`: three runs are killed (SIGKILL) before one is let end. After each run:

- the rows of `kept` and `dropped` are those of the files, each once; evidence names each dropped row and a kept one;
- no two kept rows reach the threshold, by brute force; `scores` has the kept ones;
- `tamis verify`, `index verify`, `inspect` and `restore` agree.

Now and then the output or its index is compacted, or what is left over removed. Prints a line for each; exit code 1 at the first difference.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

from measuring import install

HERE = os.path.dirname(os.path.abspath(__file__))
THRESHOLD = 0.7
CONFIG = f"""[input]
paths = ["in"]
[deduplicate]
threshold = {THRESHOLD}
recall = 1.0
[output]
path = "out"
mode = "append"
lease = "1s"
"""
PARTS = "commit_files = 2\n"
SCORE = "[score]\n"
TIER = '[tiers.cold]\nurl = "cold"\norder = "cluster"\n[routes]\ndropped = "cold"\nevidence = "cold"\n'
RUNS = 8


class Soak:
    def __init__(self, tamis, documents, seed, variant):
        self.tamis, self.documents, self.variant = tamis, documents, variant
        self.random = random.Random(seed)
        self.has_ids = "no-ids" not in variant
        self.n_files = 0
        os.mkdir("in")
        parts = [CONFIG, PARTS if "parts" in variant else "", SCORE if "score" in variant else ""]
        with open("run.toml", "w", encoding="utf-8") as file:
            file.write("".join(parts) + (TIER if "tier" in variant else ""))

    def call(self, *words):
        done = subprocess.run([self.tamis, *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(words)} in {os.getcwd()}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def rows(self, number, n_rows):
        rows = []
        for _ in range(n_rows):
            words = self.random.choice(self.documents).split(" ")
            if self.random.random() < 0.5:
                for _ in range(max(1, len(words) // 40)):
                    words[self.random.randrange(len(words))] = f"x{self.random.randrange(99)}"
            if self.random.random() < 0.15:
                words = [f"w{self.random.randrange(10**6)}" for _ in range(30)]
            rows.append({"id": f"{number}-{self.random.randrange(10**9)}", "text": " ".join(words)})
        return rows

    def change(self):
        if self.n_files and self.random.random() < 0.6:
            number = self.random.randrange(self.n_files)
        else:
            number = self.n_files
            self.n_files += 1
        path = f"in/{number:03}.jsonl"
        if self.has_ids and os.path.exists(path) and self.random.random() < 0.5:
            with open(path, encoding="utf-8") as file:
                rows = [json.loads(line) for line in file if self.random.random() < 0.6]
            rows += self.rows(number, self.random.randrange(5))
            self.random.shuffle(rows)
        else:
            rows = self.rows(number, self.random.randrange(40))
        with open(path, "w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row if self.has_ids else {"text": row["text"]}) + "\n")

    def run(self):
        for _ in range(self.random.choice([1, 1, 2, 3])):
            self.change()
        if "kill" in self.variant:
            for _ in range(3):
                command = [self.tamis, "run", "run.toml"]
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(self.random.random() * 0.25)
                process.kill()
                process.wait()
        self.call("run", "run.toml", "--if-locked", "wait:30s")
        self.check()
        if self.random.random() < 0.3:
            self.call("compact", "out")
            self.check()
        if self.random.random() < 0.2:
            time.sleep(1.1)
            self.call("gc", "out", "--grace", "0h")
            self.check()
        if self.random.random() < 0.2:
            self.call("index", "compact", "out/_tamis/index")

    def table(self, name):
        import pyarrow.parquet

        files = self.call("export", "out", "--files", "--table", name).split("\n")
        return [row for file in files if file for row in pyarrow.parquet.read_table(file).to_pylist()]

    def check(self):
        import pyarrow.parquet

        expect = []
        for name in sorted(os.listdir("in")):
            with open(f"in/{name}", encoding="utf-8") as file:
                for number, row in enumerate(map(json.loads, file)):
                    expect.append((row.get("id", f"in/{name}#{number}"), row["text"]))
        expect.sort()
        kept, dropped, evidence = self.table("kept"), self.table("dropped"), self.table("evidence")
        kept_ids = {row["tamis_id"] for row in kept}
        self.agree(sorted((row["tamis_id"], row["text"]) for row in kept + dropped), expect, "rows")
        self.agree(sorted(row["dropped_id"] for row in evidence), sorted(row["tamis_id"] for row in dropped), "evidence")
        self.agree([row for row in evidence if row["kept_id"] not in kept_ids], [], "rows that stand for others")
        sets = [shingles(row["text"]) for row in kept]
        pairs = [
            (kept[left]["tamis_id"], kept[right]["tamis_id"])
            for right in range(len(sets))
            for left in range(right)
            if len(sets[left] & sets[right]) >= THRESHOLD * len(sets[left] | sets[right])
        ]
        self.agree(pairs, [], "pairs of kept rows")
        if "score" in self.variant:
            self.agree(sorted(row["tamis_id"] for row in self.table("scores")), sorted(kept_ids), "scores")
        self.call("verify", "out")
        self.call("index", "verify", "out/_tamis/index")
        if dropped:
            rows = json.loads(self.call("inspect", "out", "--format", "json"))["overview"]["rows"]
            self.agree([rows["rows_in"], rows["kept"]], [len(expect), len(kept)], "counts")
        shutil.rmtree("back", ignore_errors=True)
        self.call("restore", "out", "-o", "back")
        back = [row for name in os.listdir("back/kept") for row in pyarrow.parquet.read_table(f"back/kept/{name}").to_pylist()]
        self.agree(sorted((row["tamis_id"], row["text"]) for row in back), expect, "restored rows")

    def agree(self, found, expect, what):
        if found != expect:
            sys.exit(f"{what} differ in {os.getcwd()}: {len(found)} found, {len(expect)} expected")


def shingles(text):
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents")
    parser.add_argument("--tamis", default=os.path.join(HERE, "../target/release/tamis"))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--variants", default="plain,no-ids,parts-kill,tier-score,kill")
    args = parser.parse_args()
    site = os.path.join(tempfile.gettempdir(), "tamis-changed-site")
    install(site, ["pyarrow==26.0.0"])
    sys.path.insert(0, site)
    tamis = os.path.abspath(args.tamis)
    with open(args.documents, encoding="utf-8") as file:
        documents = [json.loads(line)["text"][:400] for line in file][:200]
    for variant in args.variants.split(","):
        for seed in map(int, args.seeds.split(",")):
            folder = tempfile.mkdtemp(prefix="tamis-changed-")
            os.chdir(folder)
            soak = Soak(tamis, documents, seed, variant)
            for _ in range(RUNS):
                soak.run()
            print(f"{variant} {seed}: {RUNS} runs, {soak.n_files} files", flush=True)
            os.chdir(HERE)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
