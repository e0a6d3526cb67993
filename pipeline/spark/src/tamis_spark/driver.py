"""A run on Spark, from the units to the manifest: the picture is in docs/kernel-protocol.md."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from . import audits, stages
from .bridge import WATCHDOG_SECONDS
from .checkpoint import Checkpoint, error_of
from .cluster import Cluster
from .progress import Progress
from .session import Session
from .tables import ERROR, FINGERPRINTS, KEYS, RECORDS


@dataclass(frozen=True)
class Options:
    """How a run is done; nothing here changes what comes out."""

    checkpoint: str
    """Folder or URL that all machines reach."""
    keeps_checkpoint: bool = False
    watchdog_seconds: float = WATCHDOG_SECONDS
    kernel_args: tuple[str, ...] = ()
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)
    """A name that no other run of any driver has."""


def run(session: Session, cluster: Cluster, options: Options, progress: Progress, warn: Callable[[str], None]) -> str:
    """Does the whole run and gives its manifest, in JSON.

    Raises `TamisError`; what Spark raises is raised as it is. Nothing is visible then.
    """
    spark, units = cluster.spark, session.units
    checkpoint = Checkpoint(spark, options.checkpoint, session.run)
    kernels = stages.Kernels(session.job, options.attempt, options.kernel_args, options.watchdog_seconds)
    with progress.stage("scan", cluster):
        scanned = checkpoint.stage("scan", lambda: stages.scan(spark, kernels, units), FINGERPRINTS)
        summarized = scanned.where(F.col("summary").isNotNull())
        summaries = summarized.select("unit", "summary").orderBy("unit").toArrow()
        audits.check_summaries(units, summaries)
    with progress.stage("places"):
        placed_units = stages.place(units, session.places(summaries))
    kernels = replace(kernels, job=session.job)
    placed = spark.createDataFrame(placed_units)
    if "ids" in session.stages:
        with progress.stage("ids", cluster):
            audits.check_ids(scanned, placed)
    assigned = None
    if "assign" in session.stages:
        assigned = _Search(session, cluster, checkpoint, kernels, scanned, placed, progress).run()
    with progress.stage("write", cluster):
        written = stages.write(kernels, assigned, placed, units.num_rows).toArrow()
        error = error_of(written)
        if error is not None:
            raise error
        audits.check_written(units, written)
        records = [_records(written.drop_columns(ERROR))]
        if assigned is not None:
            records.append(_records(assigned.toArrow()))
    with progress.stage("commit"):
        manifest = session.commit(records)
    if not options.keeps_checkpoint:
        _remove(checkpoint, warn)
    return manifest


@dataclass(frozen=True)
class _Search:
    """The stages that decide which rows are dropped for which."""

    session: Session
    cluster: Cluster
    checkpoint: Checkpoint
    kernels: stages.Kernels
    scanned: DataFrame
    placed: DataFrame
    progress: Progress

    def run(self) -> DataFrame:
        """Records of the drops."""
        kernels, placed, n_units = self.kernels, self.placed, self.session.units.num_rows
        fingerprints = self.scanned
        if "fingerprint" in self.session.stages:
            fingerprints = self._stage(
                "fingerprint", lambda: stages.fingerprint(kernels, placed, n_units), FINGERPRINTS
            )
        with self.progress.stage("check", self.cluster):
            audits.check_fingerprints(fingerprints, placed)
        if "bucket" in self.session.stages:
            compared = self._compare_buckets()
        else:
            compared = self._stage("compare", lambda: stages.compare(kernels, fingerprints, placed))
        proven = self._stage("prove", lambda: stages.prove(kernels, compared, placed, n_units))
        audits.check_proof(compared, proven)
        assigned = self._stage("assign", lambda: stages.assign(kernels, compared, proven))
        audits.check_drops(assigned)
        return assigned

    def _compare_buckets(self) -> DataFrame:
        rows = stages.positioned(self.scanned, self.placed, *stages.COMPARED)
        identical = self._stage("identical", lambda: stages.members(rows.select("row", "exact_key")))
        keys = stages.keys_of(rows.select("row", "keys"), identical)
        met = self._stage("keys", lambda: stages.met_keys(keys), KEYS)
        found = self._stage("bucket", lambda: stages.bucket(self.kernels, rows, keys, met))
        return self._stage("prune", lambda: stages.prune(self.kernels, found)).unionByName(identical)

    def _stage(self, name: str, make: Callable[[], DataFrame], schema: pa.Schema = RECORDS) -> DataFrame:
        with self.progress.stage(name, self.cluster):
            return self.checkpoint.stage(name, make, schema)


def _records(table: pa.Table) -> pa.Table:
    return table.select(RECORDS.names).cast(RECORDS)


def _remove(checkpoint: Checkpoint, warn: Callable[[str], None]) -> None:
    try:
        checkpoint.remove()
    except Exception as error:  # The run is visible already, and whole: whatever fails now is no failure of it.
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        warn(f"could not delete the checkpoint `{checkpoint.location}`, which is of no use any more: {reason}")
