"""The stages that judge, score and choose rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from . import audits, judging, scoring, selecting
from .tables import KNOWN, SCORED, SCORER, SCORER_SUMMARY, SIFTED
from .work import Work, records_of


@dataclass(frozen=True)
class Learned:
    """What `learn` has said."""

    scorer: DataFrame | None
    """The record of the scorer, if one was learnt."""
    known: str | None
    """What is known before rows are chosen, if any are."""
    summaries: pa.Table

    @staticmethod
    def of(records: DataFrame, selects: bool) -> Learned:
        """What records of the kernel say."""
        others = records.where(F.col("kind") != SCORER).toArrow()
        kinds = records.select("kind").toArrow().column("kind").to_pylist()
        audits.check_learned(kinds, selects)
        known = [row["payload"].decode() for row in others.to_pylist() if row["kind"] == KNOWN]
        return Learned(
            scorer=records.where(F.col("kind") == SCORER) if SCORER in kinds else None,
            known=known[0] if known else None,
            summaries=records_of(others.filter(pc.equal(others.column("kind"), SCORER_SUMMARY))),
        )


@dataclass(frozen=True)
class Judged:
    """What quality has decided."""

    decided: DataFrame
    """The units with what becomes of their rows."""
    rows: DataFrame
    """Records of which some are of rows of the table `quality`."""
    summaries: list[pa.Table]
    """Records of what the manifest says."""


def judge(work: Work, decided: DataFrame) -> Judged:
    """Decides which rows stay by their quality, of those that stay so far."""
    kernels, n_units = work.kernels, work.n_units
    scorer, summaries = None, []
    if work.has("quality-learn"):
        found = work.stage("quality-texts", lambda: scoring.texts(kernels, decided, n_units, **judging.SECTION))
        learn = partial(scoring.learn, kernels, found, work.profile, **judging.SECTION)
        learned = Learned.of(work.stage("quality-learn", learn), selects=False)
        scorer, summaries = learned.scorer, [learned.summaries]
    judged = work.stage("judge", lambda: judging.judge(kernels, decided, scorer, n_units, work.profile))
    sifted = work.stage("sift", lambda: judging.sift(kernels, judged))
    said = records_of(sifted.where(F.col("kind") == SIFTED).toArrow())
    audits.check_sifted(said)
    return Judged(judging.decide(decided, sifted), judged, [*summaries, said])


@dataclass(frozen=True)
class Scoring:
    """The stages that score the rows that stay, and choose some of them."""

    work: Work
    drops: DataFrame | None
    """Records of rows that are dropped for others, if there may be any."""
    decided: DataFrame

    def run(self) -> tuple[DataFrame, list[pa.Table]]:
        """Records of which some are of rows of tables; and those of what the manifest says and of rows of the batch."""
        work, kernels, n_units = self.work, self.work.kernels, self.work.n_units
        learned = self._learn() if work.has("learn") else None
        summaries = [] if learned is None else [learned.summaries]
        scorer, known = (None, None) if learned is None else (learned.scorer, learned.known)
        score = partial(scoring.score, kernels, self.decided, scorer, known, n_units, work.profile)
        scored = work.stage("score", score)
        audits.check_scored(scored, self.decided)
        summaries.append(records_of(scored.where(F.col("kind") == SCORED).toArrow()))
        return scored, summaries if known is None else [*summaries, *self._choose(scored, scorer, known)]

    def _learn(self) -> Learned:
        work, kernels = self.work, self.work.kernels
        found = work.stage("texts", lambda: scoring.texts(kernels, self.decided, work.n_units))
        selects = work.has("choose")
        if self.drops is not None and selects:
            found = found.unionByName(scoring.drops_of_named(self.drops, found))
        return Learned.of(work.stage("learn", lambda: scoring.learn(kernels, found, work.profile)), selects)

    def _choose(self, scored: DataFrame, scorer: DataFrame | None, known: str) -> list[pa.Table]:
        work, kernels, n_units = self.work, self.work.kernels, self.work.n_units
        seen = selecting.seen(scored)
        for number, size in enumerate(selecting.rounds(n_units), start=1):
            seen = work.stage(f"gather-{number}", partial(selecting.gather, kernels, seen, known, n_units, size))
        chosen = work.stage("choose", lambda: selecting.choose(kernels, seen, known))
        records = [chosen]
        if work.has("pick"):
            pick = partial(selecting.pick, kernels, chosen, self.decided, scorer, n_units, work.profile)
            records.append(work.stage("pick", pick))
        return [records_of(of_stage.toArrow()) for of_stage in records]
