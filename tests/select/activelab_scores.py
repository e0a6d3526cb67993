#!/usr/bin/env python3
"""Writes tests/fixtures/select/activelab.json: cases of answers and probabilities, and the scores that cleanlab gives them.

usage: activelab_scores.py > tests/fixtures/select/activelab.json      (needs cleanlab, from PyPI)

Votes are rows of (annotator, class), or null. cleanlab fits a temperature to the answers first; it is held at 1 here, since tamis calibrates its
probabilities before.
"""

import json

import cleanlab
import numpy
from cleanlab import multiannotator

multiannotator.find_best_temp_scaler = lambda labels, probabilities: 1.0


def case(name, random, n_rows, n_classes, n_annotators, per_row, wrong, sharpness=2.0):
    truth = random.integers(n_classes, size=n_rows)
    votes = numpy.full((n_rows, n_annotators), numpy.nan)
    for row in range(n_rows):
        for annotator in random.choice(n_annotators, size=per_row(random), replace=False):
            is_wrong = random.random() < wrong[annotator]
            votes[row, annotator] = random.integers(n_classes) if is_wrong else truth[row]
    logits = random.normal(size=(n_rows + 20, n_classes))
    logits[numpy.arange(n_rows), truth] += sharpness
    probabilities = numpy.exp(logits) / numpy.exp(logits).sum(axis=1, keepdims=True)
    probabilities = probabilities.astype(numpy.float32).astype(float)
    answered, unanswered = multiannotator.get_active_learning_scores(votes, probabilities[:n_rows], probabilities[n_rows:])
    as_votes = [[[int(who), int(row[who])] for who in range(n_annotators) if not numpy.isnan(row[who])] for row in votes]
    return {
        "name": name,
        "n_classes": n_classes,
        "n_annotators": n_annotators,
        "votes": as_votes,
        "probabilities": probabilities[:n_rows].tolist(),
        "scores": list(answered),
        "unanswered_probabilities": probabilities[n_rows:].tolist(),
        "unanswered_scores": list(unanswered),
    }


random = numpy.random.default_rng(0)
cases = [
    case("one answer each", random, 40, 4, 3, lambda random: 1, [0.1, 0.3, 0.5]),
    case("one to four answers", random, 60, 4, 5, lambda random: random.integers(1, 5), [0.05, 0.1, 0.3, 0.6, 1.0]),
    case("two classes, many ties", random, 50, 2, 2, lambda random: random.integers(1, 3), [0.4, 0.5]),
    case("a model that knows nothing", random, 50, 6, 4, lambda random: random.integers(1, 4), [0.1, 0.1, 0.2, 0.2], 0.0),
    case("annotators who always agree", random, 30, 3, 3, lambda random: random.integers(1, 4), [0.0, 0.0, 0.0]),
]
print(json.dumps({"by": f"cleanlab {cleanlab.__version__}, multiannotator.get_active_learning_scores", "cases": cases}))
