"""The stages that decide which rows are dropped for which."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from . import audits, components, stages
from .components import Parts
from .tables import COUNTS, DECIDED, FINGERPRINTS, KEYS, LINKS, WANTED_ROW
from .work import Work


@dataclass(frozen=True)
class Search:
    """See the module."""

    work: Work
    scanned: DataFrame

    def run(self) -> DataFrame:
        """Records of the drops."""
        work = self.work
        kernels, placed, n_units = work.kernels, work.placed, work.n_units
        fingerprints = self.scanned
        if work.has("fingerprint"):
            fingerprints = work.stage("fingerprint", lambda: stages.fingerprint(kernels, placed, n_units), FINGERPRINTS)
        with work.progress.stage("check", work.cluster):
            audits.check_fingerprints(fingerprints, placed)
        if work.has("bucket"):
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
