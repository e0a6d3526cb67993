#!/usr/bin/env python3
"""Active learning by tamis, scikit-activeml and small-text: how much is learned from how many labels, and how long a choice takes.

usage: active_learning.py DOCS.jsonl... --model MODEL_DIR [--tamis PATH] [--site DIR] [--init 25] [--batch 25] [--rounds 20] [--seeds 5] [--peer-strategies margin,badge] [--pool 100000]
       [--patience 300]

DOCS.jsonl has `id`, `text`, `label` and `split`; test rows are those of the split `test`, or a fifth if there are none. `tamis embed` makes the embeddings that all
three learn from. First labels are the same for all; the peers' classifier is scikit-learn's logistic regression (C = 10), tamis has its own heads. `area` is that
under the curve of accuracy, over its width. With `--pool N` one choice of a batch from N rows (the embeddings, repeated with a little noise) is timed: CPU seconds of
all threads, of the whole command, and of choosing alone: of tamis the stages `scoring` and `choosing` of its ledger, which read the rows once more, of peers their
`query` with a model that has learned, from arrays in memory. `--rounds 0`: only that. Peers are installed from PyPI into --site.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

from measuring import install, measure

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = ["scikit-activeml", "small-text", "pyarrow", "xxhash"]
FIRST_SALT = 0x66697273
QUERIES = []


def load(path, tamis, model, folder):
    """Rows, and their embeddings in the same order."""
    import numpy
    import pyarrow.parquet as parquet

    rows = [json.loads(line) for line in open(path, encoding="utf-8")]
    out = os.path.join(folder, "embedded")
    command = [tamis, "embed", path, "--model", model, "--embedding-type", "f32", "-o", out, "--overwrite", "--no-progress", "--format", "json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    table = parquet.read_table(os.path.join(out, "embeddings"))
    of_id = dict(zip(table["tamis_id"].to_pylist(), table["embedding"].to_pylist()))
    return rows, numpy.array([of_id[row["id"]] for row in rows], dtype=numpy.float32)


def write_pool(path, rows, vectors):
    import pyarrow
    import pyarrow.parquet as parquet

    embedding = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.reshape(-1)), vectors.shape[1])
    columns = {name: [row[name] for row in rows] for name in ("id", "text", "label", "split")}
    parquet.write_table(pyarrow.table({**columns, "embedding": embedding}), path)


def first_rows(ids, n, seed):
    import xxhash

    keys = [(xxhash.xxh3_64_intdigest(id.encode(), seed=seed ^ FIRST_SALT), place) for place, id in enumerate(ids)]
    return [place for _, place in sorted(keys)[:n]]


def area(labels, heights):
    import numpy

    return float(numpy.trapezoid(heights, labels) / (labels[-1] - labels[0]))


def classifier():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=10, max_iter=1000)


def timed(query, *args, **kwargs):
    """What `query` returns; its CPU seconds go into QUERIES."""
    started = time.process_time()
    found = query(*args, **kwargs)
    QUERIES.append(time.process_time() - started)
    return found


def scikit_activeml(name, n_classes, seed):
    """Chooses rows by a strategy of scikit-activeml."""
    import numpy
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import Badge, CoreSet, ProbCover, TypiClust, UncertaintySampling
    from skactiveml.utils import MISSING_LABEL

    of_name = {
        "margin": lambda: UncertaintySampling(method="margin_sampling", random_state=seed),
        "entropy": lambda: UncertaintySampling(method="entropy", random_state=seed),
        "k-center": lambda: CoreSet(random_state=seed),
        "typiclust": lambda: TypiClust(random_state=seed),
        "probcover": lambda: ProbCover(random_state=seed),
        "badge": lambda: Badge(random_state=seed),
    }
    strategy = of_name[name]()

    def choose(x, y, labelled, batch):
        known = numpy.full(len(x), MISSING_LABEL)
        known[labelled] = y[labelled]
        model = SklearnClassifier(classifier(), classes=list(range(n_classes)), random_state=seed)
        asks_model = name not in ("k-center", "typiclust", "probcover")
        asks = {"clf": model.fit(x, known), "fit_clf": False} if asks_model else {}
        return list(timed(strategy.query, X=x, y=known, batch_size=batch, **asks))

    return choose


def small_text(name, n_classes, seed):
    """Chooses rows by a strategy of small-text."""
    import numpy
    from small_text import (
        BreakingTies, EmbeddingKMeans, GreedyCoreset, PredictionEntropy, SklearnClassifier, SklearnDataset,
    )

    of_name = {
        "margin": BreakingTies,
        "entropy": PredictionEntropy,
        "k-center": GreedyCoreset,
        "k-means": EmbeddingKMeans,
    }
    strategy = of_name[name]()

    def choose(x, y, labelled, batch):
        numpy.random.seed(seed)
        labelled = numpy.array(labelled)
        unlabelled = numpy.setdiff1d(numpy.arange(len(x)), labelled)
        model = SklearnClassifier(classifier(), n_classes)
        data = SklearnDataset(x, y, target_labels=numpy.arange(n_classes))
        model.fit(data[labelled])
        asks = {"embeddings": x} if name in ("k-center", "k-means") else {}
        return [int(row) for row in timed(strategy.query, model, data, unlabelled, labelled, y[labelled], n=batch, **asks)]

    return choose


PEER_STRATEGIES = [
    ("scikit-activeml", scikit_activeml, ["margin", "entropy", "badge", "typiclust", "k-center"]),
    ("small-text", small_text, ["margin", "entropy", "k-means", "k-center"]),
]


def replay(choose, x, y, test_x, test_y, first, batch, rounds):
    import numpy

    labelled, labels, heights = list(first), [], []
    for round in range(rounds + 1):
        known = y[labelled]
        if len(set(known)) < 2:
            accuracy = float(numpy.mean(test_y == known[0]))
        else:
            accuracy = float(classifier().fit(x[labelled], known).score(test_x, test_y))
        labels.append(len(labelled))
        heights.append(accuracy)
        if round < rounds:
            labelled += choose(x, y, labelled, batch)
    return area(labels, heights)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("docs", nargs="+")
    parser.add_argument("--model", required=True)
    parser.add_argument("--tamis", default=os.path.join(HERE, "..", "target", "release", "tamis"))
    parser.add_argument("--site", default=os.path.join(HERE, "..", "target", "bench-active"))
    parser.add_argument("--init", type=int, default=25)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--strategies", default="auto,uherding,badge,margin,cluster-margin,typiclust")
    parser.add_argument("--peer-strategies", help="only these of the peers' [default: all]")
    parser.add_argument("--pool", type=int, default=0)
    parser.add_argument("--patience", type=int, default=300, help="seconds for one choice of a peer")
    args = parser.parse_args()
    install(args.site, PEERS)
    sys.path.insert(0, args.site)
    import numpy

    for path in args.docs:
        with tempfile.TemporaryDirectory() as folder:
            rows, vectors = load(path, args.tamis, args.model, folder)
            is_test = numpy.array([row["split"] == "test" for row in rows])
            if not is_test.any():
                is_test = numpy.arange(len(rows)) % 5 == 0
                for row, of_test in zip(rows, is_test):
                    row["split"] = "test" if of_test else "train"
            classes = sorted({row["label"] for row in rows})
            y = numpy.array([classes.index(row["label"]) for row in rows])
            pool = os.path.join(folder, "pool.parquet")
            write_pool(pool, rows, vectors)
            print(f"{os.path.basename(path)}: {(~is_test).sum()} rows, {is_test.sum()} for testing, {len(classes)} classes", flush=True)
            if args.rounds == 0:
                time_choice(args, folder, vectors, y, len(classes))
                continue
            out = os.path.join(folder, "simulated")
            command = [
                args.tamis, "simulate", pool, "--scorer", "column:embedding", "--test-split-column", "split", "--test-split-value", "test",
                "--strategy", args.strategies, "--init", str(args.init), "--batch", str(args.batch), "--rounds", str(args.rounds),
                "--seeds", str(args.seeds), "-o", out, "--no-progress",
            ]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            for name, report in json.load(open(os.path.join(out, "summary.json")))["strategies"].items():
                print(f"  {'tamis':<18}{name:<30} area {100 * report['aulc_accuracy']:.2f}  {report['seconds_per_round']:.2f} s a round", flush=True)
            x, test_x, pool_y, test_y = vectors[~is_test], vectors[is_test], y[~is_test], y[is_test]
            ids = [row["id"] for row, of_test in zip(rows, is_test) if not of_test]
            asked = args.peer_strategies.split(",") if args.peer_strategies else None
            for peer, of, names in PEER_STRATEGIES:
                for name in names if asked is None else [name for name in names if name in asked]:
                    started, areas = time.time(), []
                    for seed in range(args.seeds):
                        first = first_rows(ids, args.init, seed)
                        areas.append(replay(of(name, len(classes), seed), x, pool_y, test_x, test_y, first, args.batch, args.rounds))
                    seconds = (time.time() - started) / args.seeds / args.rounds
                    print(f"  {peer:<18}{name:<30} area {100 * numpy.mean(areas):.2f}  {seconds:.2f} s a round", flush=True)
            if args.pool:
                time_choice(args, folder, vectors, y, len(classes))


def time_choice(args, folder, vectors, y, n_classes):
    """One choice of 100 rows from a large pool, with 500 labels."""
    import numpy
    import pyarrow
    import pyarrow.parquet as parquet

    random = numpy.random.default_rng(0)
    copies = -(-args.pool // len(vectors))
    x = numpy.tile(vectors, (copies, 1))[: args.pool]
    x = (x + random.normal(0, 0.01, x.shape)).astype(numpy.float32)
    x /= numpy.linalg.norm(x, axis=1, keepdims=True)
    y = numpy.tile(y, copies)[: args.pool]
    labelled = [int(row) for row in random.choice(args.pool, 500, replace=False)]
    numpy.savez(os.path.join(folder, "large.npz"), x=x, y=y, labelled=labelled)
    ids = [f"row-{place}" for place in range(args.pool)]
    embedding = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(x.reshape(-1)), x.shape[1])
    pool, labels = os.path.join(folder, "large.parquet"), os.path.join(folder, "labels.jsonl")
    parquet.write_table(pyarrow.table({"id": ids, "text": [f"text number {place}" for place in range(args.pool)], "embedding": embedding}), pool)
    with open(labels, "w", encoding="utf-8") as file:
        for row in labelled:
            file.write(json.dumps({"id": ids[row], "label": f"class {y[row]}"}) + "\n")
    print(f"  one choice of 100 of {args.pool} rows, 500 labels", flush=True)

    def say(who, name, wall, cpu, alone):
        print(f"  {who:<18}{name:<20} {wall:6.1f} s wall, {cpu:6.1f} s CPU, {alone:7.2f} s CPU of choosing", flush=True)

    for name in ["margin", "entropy", "badge", "typiclust", "k-center", "k-means", "uherding", "cluster-margin", "facility-location"]:
        command = [
            args.tamis, "select", pool, "--scorer", "column:embedding", "--labels", labels, "--budget", "100", "--strategy", name, "--threshold", "1.0",
            "--candidates", str(args.pool), "--random-ratio", "0", "-o", os.path.join(folder, f"large-{name}"), "--no-progress", "--format", "json",
        ]
        wall, cpu, _, _ = measure(command)
        stages = [json.loads(line) for line in open(os.path.join(folder, f"large-{name}.footprint"), encoding="utf-8")]
        say("tamis", name, wall, cpu, sum(stage["cpu_seconds"] for stage in stages if stage["stage"] in ("scoring", "choosing")))
    for peer, _, names in PEER_STRATEGIES:
        for name in names:
            command = [sys.executable, os.path.abspath(__file__), "--choose", peer, name, str(n_classes), os.path.join(folder, "large.npz"), args.site]
            try:
                wall, cpu, _, told = measure(["timeout", str(args.patience), *command])
                say(peer, name, wall, cpu, json.loads(told.splitlines()[-1])["choosing"])
            except (subprocess.CalledProcessError, SystemExit) as error:
                print(f"  {peer:<18}{name:<30} gave up: {error}", flush=True)


def choose_once(peer, name, n_classes, path, site):
    sys.path.insert(0, site)
    import numpy

    data = numpy.load(path)
    of = dict((peer, of) for peer, of, _ in PEER_STRATEGIES)[peer]
    chosen = of(name, int(n_classes), 0)(data["x"], data["y"], [int(row) for row in data["labelled"]], 100)
    assert len(set(chosen)) == 100
    print(json.dumps({"choosing": sum(QUERIES)}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--choose"]:
        choose_once(*sys.argv[2:])
    else:
        main()
