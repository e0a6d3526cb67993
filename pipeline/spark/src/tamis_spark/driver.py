"""A run on Spark, from the units to the manifest: the picture is in docs/kernel-protocol.md."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.resource import ResourceProfile
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from . import audits, components, gpus, scoring, selecting, stages
from .bridge import WATCHDOG_SECONDS
from .checkpoint import Checkpoint, error_of
from .cluster import Cluster
from .components import Parts
from .progress import Progress
from .session import Session, place
from .tables import (
    COUNTS,
    DECIDED,
    FINGERPRINTS,
    KEYS,
    KNOWN,
    LINKS,
    PART_BYTES,
    RECORDS,
    SCORED,
    SCORER,
    SCORER_SUMMARY,
    WANTED_ROW,
)


@dataclass(frozen=True)
class Options:
    """How a run is done; nothing here changes what comes out."""

    checkpoint: str
    """Folder or URL that all machines reach."""
    keeps_checkpoint: bool = False
    watchdog_seconds: float = WATCHDOG_SECONDS
    kernel_args: tuple[str, ...] = ()
    score_gpus: float | None = None
    """GPUs that each task of `learn` and `score` asks Spark for, or the share of one."""
    part_bytes: int = PART_BYTES
    """Bytes of pairs that one task decides about."""
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)
    """A name that no other run of any driver has."""


def run(session: Session, cluster: Cluster, options: Options, progress: Progress, warn: Callable[[str], None]) -> str:
    """Does the whole run and gives its manifest, in JSON.

    Raises `TamisError`; what Spark raises is raised as it is. Nothing is visible then.
    """
    spark, units = cluster.spark, session.units
    profile = None
    if options.score_gpus is not None:
        with progress.stage("gpus", cluster):
            profile = gpus.request(spark, options.score_gpus, session.stages)
    checkpoint = Checkpoint(spark, options.checkpoint, session.run)
    kernels = stages.Kernels(session.job, options.attempt, options.kernel_args, options.watchdog_seconds)
    with progress.stage("scan", cluster):
        scanned = checkpoint.stage("scan", lambda: stages.scan(spark, kernels, units), FINGERPRINTS)
        summarized = scanned.where(F.col("summary").isNotNull())
        summaries = summarized.select("unit", "summary").orderBy("unit").toArrow()
        audits.check_summaries(units, summaries)
    with progress.stage("places"):
        placed_units = place(units, session.places(summaries))
    kernels = replace(kernels, job=session.job)
    placed = spark.createDataFrame(placed_units)
    work = _Work(session, cluster, checkpoint, kernels, placed, progress, options.part_bytes)
    if "ids" in session.stages:
        with progress.stage("ids", cluster):
            audits.check_ids(scanned, placed)
    records = []
    assigned = _Search(work, scanned).run() if "assign" in session.stages else None
    decided = stages.decide(assigned, placed)
    if "score" in session.stages:
        records += _Scoring(work, assigned, decided, profile).run()
    written = work.output("write", lambda: stages.write(kernels, decided, units.num_rows))
    audits.check_written(units, written)
    records.append(written)
    if assigned is not None:
        records.append(_records(assigned.toArrow()))
    with progress.stage("commit"):
        manifest = session.commit(records)
    if not options.keeps_checkpoint:
        _remove(checkpoint, warn)
    return manifest


@dataclass(frozen=True)
class _Work:
    """What the stages of a run have in common."""

    session: Session
    cluster: Cluster
    checkpoint: Checkpoint
    kernels: stages.Kernels
    placed: DataFrame
    progress: Progress
    part_bytes: int

    def stage(self, name: str, make: Callable[[], DataFrame], schema: pa.Schema = RECORDS) -> DataFrame:
        """What a stage gives, which is kept in the checkpoint."""
        with self.progress.stage(name, self.cluster):
            return self.checkpoint.stage(name, make, schema)

    def output(self, name: str, make: Callable[[], DataFrame]) -> pa.Table:
        """Records of a stage that writes to the output, and is done again if the driver is started again."""
        with self.progress.stage(name, self.cluster):
            written = make().toArrow()
        error = error_of(written)
        if error is not None:
            raise error
        return _records(written)


@dataclass(frozen=True)
class _Search:
    """The stages that decide which rows are dropped for which."""

    work: _Work
    scanned: DataFrame

    def run(self) -> DataFrame:
        """Records of the drops."""
        work = self.work
        kernels, placed, n_units = work.kernels, work.placed, work.session.units.num_rows
        fingerprints = self.scanned
        if "fingerprint" in work.session.stages:
            fingerprints = work.stage("fingerprint", lambda: stages.fingerprint(kernels, placed, n_units), FINGERPRINTS)
        with work.progress.stage("check", work.cluster):
            audits.check_fingerprints(fingerprints, placed)
        if "bucket" in work.session.stages:
            compared, parts = self._compare_buckets()
        else:
            compared = work.stage("compare", lambda: stages.compare(kernels, fingerprints, placed))
            parts = Parts()
        proven = work.stage("prove", lambda: stages.prove(kernels, compared, placed, n_units))
        audits.check_proof(compared, proven)
        assigned = work.stage("assign", lambda: components.assign(kernels, compared, proven, parts))
        n_sent = compared.where(F.col("kind") != WANTED_ROW).count() + proven.count()
        audits.check_read("assign", n_sent, assigned, DECIDED)
        audits.check_drops(assigned)
        return assigned

    def _compare_buckets(self) -> tuple[DataFrame, Parts]:
        work, kernels = self.work, self.work.kernels
        rows = stages.positioned(self.scanned, work.placed, *stages.COMPARED)
        identical = work.stage("identical", lambda: stages.members(rows.select("row", "exact_key")))
        keys = stages.keys_of(rows.select("row", "keys"), identical)
        met = work.stage("keys", lambda: stages.met_keys(keys), KEYS)
        found = work.stage("bucket", lambda: stages.bucket(kernels, rows, keys, met))
        parts = self._parts(found)
        pruned = work.stage("prune", lambda: components.prune(kernels, found, parts))
        audits.check_read("prune", found.count(), pruned, COUNTS)
        return pruned.unionByName(identical), parts

    def _parts(self, found: DataFrame) -> Parts:
        work = self.work
        n_parts = components.number_of_parts(found, work.part_bytes)
        if n_parts == 1:
            return Parts()
        links = work.stage("link", lambda: components.link(work.kernels, found), LINKS)
        n_rounds = 0
        while not components.are_stars(links):
            n_rounds += 1
            links = work.stage(f"link-{n_rounds}", partial(components.shorten, links), LINKS)
        return components.parts_of(links, n_parts)


@dataclass(frozen=True)
class _Scoring:
    """The stages that score the rows that stay, and choose some of them."""

    work: _Work
    assigned: DataFrame | None
    """Records of the drops, if there may be any."""
    decided: DataFrame
    profile: ResourceProfile | None
    """What tasks of `learn`, `score` and `pick` ask Spark for."""

    def run(self) -> list[pa.Table]:
        """Records of what the manifest says of scores and the batch, of written files, and of rows of the batch."""
        work, kernels, n_units = self.work, self.work.kernels, self.work.session.units.num_rows
        learned = self._learn() if "learn" in work.session.stages else None
        summaries = [] if learned is None else [learned.summaries]
        scorer, known = (None, None) if learned is None else (learned.scorer, learned.known)
        scored = work.stage("score", lambda: scoring.score(kernels, self.decided, scorer, known, n_units, self.profile))
        audits.check_scored(scored, self.decided)
        chosen = [] if known is None else self._choose(scored, scorer, known)
        # Last, as it is done again if the driver is started again.
        written = work.output("tabulate", lambda: scoring.tabulate(kernels, scored, n_units))
        return [*summaries, *chosen, written, _records(scored.where(F.col("kind") == SCORED).toArrow())]

    def _learn(self) -> _Learned:
        work, kernels, decided, n_units = self.work, self.work.kernels, self.decided, self.work.session.units.num_rows
        found = work.stage("texts", lambda: scoring.texts(kernels, decided, n_units))
        selects = "choose" in work.session.stages
        if self.assigned is not None and selects:
            found = found.unionByName(scoring.drops_of_named(self.assigned, found))
        records = work.stage("learn", lambda: scoring.learn(kernels, found, self.profile))
        others = records.where(F.col("kind") != SCORER).toArrow()
        kinds = records.select("kind").toArrow()
        audits.check_learned(kinds, selects)
        scorer = records.where(F.col("kind") == SCORER) if SCORER in kinds.column("kind").to_pylist() else None
        known = [row["payload"].decode() for row in others.to_pylist() if row["kind"] == KNOWN]
        summaries = _records(others.filter(pc.equal(others.column("kind"), SCORER_SUMMARY)))
        return _Learned(scorer, known[0] if known else None, summaries)

    def _choose(self, scored: DataFrame, scorer: DataFrame | None, known: str) -> list[pa.Table]:
        work, kernels, n_units = self.work, self.work.kernels, self.work.session.units.num_rows
        seen = selecting.seen(scored)
        for number, size in enumerate(selecting.rounds(n_units), start=1):
            seen = work.stage(f"gather-{number}", partial(selecting.gather, kernels, seen, known, n_units, size))
        chosen = work.stage("choose", lambda: selecting.choose(kernels, seen, known))
        records = [chosen]
        if "pick" in work.session.stages:
            args = (kernels, chosen, work.placed, scorer, n_units, self.profile)
            records.append(work.stage("pick", lambda: selecting.pick(*args)))
        return [_records(of_stage.toArrow()) for of_stage in records]


@dataclass(frozen=True)
class _Learned:
    """What `learn` has said."""

    scorer: DataFrame | None
    """The record of the scorer, if one was learnt."""
    known: str | None
    """What is known before rows are chosen, if any are."""
    summaries: pa.Table


def _records(table: pa.Table) -> pa.Table:
    return table.select(RECORDS.names).cast(RECORDS)


def _remove(checkpoint: Checkpoint, warn: Callable[[str], None]) -> None:
    try:
        checkpoint.remove()
    except Exception as error:  # The run is visible already, and whole: whatever fails now is no failure of it.
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        warn(f"could not delete the checkpoint `{checkpoint.location}`, which is of no use any more: {reason}")
