"""Components of random links, against a walk over them; and runs that decide in several tasks."""

import random

import pytest
from runs import check_same, run, run_alone, tables

from tamis_spark import TamisError, cluster, components
from tamis_spark.__main__ import part_bytes_of_environment
from tamis_spark.tables import ERROR, PART_BYTES


@pytest.fixture(scope="module")
def spark():
    with cluster.connect("local[2]", {}, 2, "components") as connected:
        yield connected.spark


def least_of(links):
    """Each row of the links, and the least that it is connected to, by a walk."""
    neighbours = {}
    for left, right in links:
        neighbours.setdefault(left, set()).add(right)
        neighbours.setdefault(right, set()).add(left)
    found = {}
    for start in sorted(neighbours):
        waiting = [start]
        while waiting:
            row = waiting.pop()
            if row not in found:
                found[row] = start
                waiting.extend(neighbours[row])
    return found


def chain(n_rows):
    return [(row + 1, row) for row in range(n_rows)]


def linked_at_random(seed, n_rows, n_links):
    chance = random.Random(seed)
    pairs = (chance.sample(range(n_rows), 2) for _ in range(n_links))
    return [(max(pair), min(pair)) for pair in pairs]


GRAPHS = (
    [(5, 2)],
    [(5, 2), (7, 2), (9, 8)],
    [(5, 2), (5, 3), (3, 1)],
    # Chains: with ends in the middle of the order, and as long as can be.
    [(9, 1), (9, 3), (8, 3), (8, 2)],
    chain(200),
    linked_at_random(1, 300, 150),
    linked_at_random(2, 300, 260),
    linked_at_random(3, 100, 1000),
)
MOST_ROUNDS = 10
"""Eight halve a chain of 200 links."""


def test_components(spark):
    links = [(1000 * number + a, 1000 * number + b) for number, graph in enumerate(GRAPHS) for a, b in graph]
    expected = least_of(links)
    frame = spark.createDataFrame(links, "a bigint, b bigint")
    assert not components.are_stars(frame)
    assert components.are_stars(frame.where("a < 2000")), "the first two are stars already"
    n_rounds = 0
    while not components.are_stars(frame):
        n_rounds += 1
        assert n_rounds <= MOST_ROUNDS
        shorter = components.shorten(frame).drop(ERROR).collect()
        frame = spark.createDataFrame(shorter, "a bigint, b bigint")
    found = {row.a: row.b for row in frame.collect()}
    assert found == {row: least for row, least in expected.items() if row != least}
    parts = {row.row: row.part for row in components.parts_of(frame, 3).of_rows.collect()}
    assert parts.keys() == expected.keys()
    by_component = {}
    for row, part in parts.items():
        by_component.setdefault(expected[row], set()).add(part)
    assert all(len(of_component) == 1 for of_component in by_component.values())
    assert set(parts.values()) == {0, 1, 2}


def test_several_tasks_decide(corpus, tmp_path):
    connected = '[deduplicate]\nlinkage = "connected"\nthreshold = 0.6\ncap_cluster = 2'
    assert run_alone(corpus, "parts-local", connected).returncode == 1
    kept = ("--checkpoint", str(tmp_path), "--keep-checkpoint")
    ended = run(corpus, "parts", *kept, near_duplicates=connected, TAMIS_PART_BYTES="5000")
    assert ended.returncode == 1, ended.stderr
    assert list(tmp_path.glob("*/link/_SUCCESS")), "there was but one part"
    check_same(corpus, "parts", "parts-local")
    assert tables(corpus / "parts")[1] != tables(corpus / "local")[1], "the settings must matter"


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "much"])
def test_bytes_that_are_no_number(monkeypatch, text):
    monkeypatch.setenv("TAMIS_PART_BYTES", text)
    with pytest.raises(TamisError, match=f"TAMIS_PART_BYTES is `{text}`"):
        part_bytes_of_environment()


@pytest.mark.parametrize(("text", "expected"), [("", PART_BYTES), ("5000", 5000)])
def test_bytes_of_the_environment(monkeypatch, text, expected):
    monkeypatch.setenv("TAMIS_PART_BYTES", text)
    assert part_bytes_of_environment() == expected
