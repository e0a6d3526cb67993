"""A run on Spark, from the units to the manifest: the picture is in docs/kernel-protocol.md."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pyarrow as pa
from pyspark.sql import functions as F

from . import audits, dividing, folding, gpus, scores, scoring, stages
from .bridge import WATCHDOG_SECONDS
from .checkpoint import Checkpoint
from .cluster import Cluster
from .fate import Fate
from .progress import Progress
from .search import Search
from .session import Session, place
from .tables import FINGERPRINTS, PART_BYTES, RECORDS
from .work import Work, records_of


@dataclass(frozen=True)
class Options:
    """How a run is done; nothing here changes what comes out."""

    checkpoint: str
    """Folder or URL that all machines reach."""
    keeps_checkpoint: bool = False
    watchdog_seconds: float = WATCHDOG_SECONDS
    kernel_args: tuple[str, ...] = ()
    score_gpus: float | None = None
    """GPUs that each task that scores asks Spark for, or the share of one."""
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
    work = Work(session, cluster, checkpoint, kernels, placed, progress, options.part_bytes, profile)
    if work.has("ids"):
        with progress.stage("ids", cluster):
            audits.check_ids(scanned, placed)
    records, rows = [], []
    fate = Fate(placed, Search(work, scanned).run() if work.has("assign") else None)
    if work.has("hold"):
        fate = dividing.run(work, fate)
    if work.has("fold"):
        fate = folding.run(work, fate)
    decided = fate.units()
    if work.has("judge"):
        judged = scores.judge(work, decided)
        decided = judged.decided
        rows.append(judged.rows)
        records += judged.summaries
    if work.has("score"):
        scored, summaries = scores.Scoring(work, fate.drops, decided).run()
        rows.append(scored)
        records += summaries
    # Last, as both are done again if the driver is started again.
    if rows:
        records.append(work.output("tabulate", lambda: scoring.tabulate(kernels, rows, units.num_rows)))
    written = work.output("write", lambda: stages.write(kernels, decided, units.num_rows))
    audits.check_written(units, written)
    records.append(written)
    if fate.drops is not None:
        records.append(records_of(fate.drops.toArrow()))
    with progress.stage("usage", cluster):
        records.append(_used(checkpoint, warn))
    with progress.stage("commit"):
        manifest = session.commit(records)
    if not options.keeps_checkpoint:
        _remove(checkpoint, warn)
    return manifest


def _used(checkpoint: Checkpoint, warn: Callable[[str], None]) -> pa.Table:
    try:
        return checkpoint.used()
    except Exception as error:  # All is written by now, and what it took is no reason to lose it.
        warn(f"could not read what tasks used, which is missing in the footprint: {_reason(error)}")
        return RECORDS.empty_table()


def _reason(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]


def _remove(checkpoint: Checkpoint, warn: Callable[[str], None]) -> None:
    try:
        checkpoint.remove()
    except Exception as error:  # The run is visible already, and whole: whatever fails now is no failure of it.
        warn(f"could not delete the checkpoint `{checkpoint.location}`, which is of no use any more: {_reason(error)}")
