"""What the stages of a run have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.resource import ResourceProfile
from pyspark.sql import DataFrame

from .checkpoint import Checkpoint, error_of
from .cluster import Cluster
from .progress import Progress
from .session import Session
from .stages import Kernels
from .tables import RECORDS, USED, usage


@dataclass(frozen=True)
class Work:
    """See the module."""

    session: Session
    cluster: Cluster
    checkpoint: Checkpoint
    kernels: Kernels
    placed: DataFrame
    progress: Progress
    part_bytes: int
    """Bytes of pairs that one task decides about."""
    profile: ResourceProfile | None
    """What tasks that score ask Spark for."""

    @property
    def n_units(self) -> int:
        """Units of the input."""
        return self.session.units.num_rows

    def has(self, stage: str) -> bool:
        """Whether the run has this stage."""
        return stage in self.session.stages

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
        is_record = pc.is_null(written.column(USED))
        return pa.concat_tables([records_of(written.filter(is_record)), usage(written)])


def records_of(table: pa.Table) -> pa.Table:
    """The columns of records."""
    return table.select(RECORDS.names).cast(RECORDS)
