"""What stages gave, kept as Parquet: a stage is run once, also if the driver is started again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from .errors import KernelError, TamisError
from .tables import ERROR, RECORDS, USED, ddl, of_task, usage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_PARQUET = {
    # Records of a megabyte: a row group of 128 MB, or pages of 100 rows, are too much for a heap of 1 GB.
    "parquet.block.size": str(16 << 20),
    "parquet.block.size.row.check.min": "1",
    "parquet.page.size.row.check.min": "1",
}


class Checkpoint:
    """A folder or URL that the driver's machine and all executors reach, with a folder in it for each stage."""

    def __init__(self, spark: SparkSession, location: str, run: str) -> None:
        self._spark = spark
        self.location = f"{location.rstrip('/')}/{run}"
        self._stages: list[tuple[str, pa.Schema]] = []

    def stage(self, name: str, make: Callable[[], DataFrame], schema: pa.Schema) -> DataFrame:
        """What stage `name` gave; `make` says how, if it has not been run to its end before.

        Raises `KernelError` if trying again is in vain.
        """
        path = f"{self.location}/{name}"
        if not self._is_whole(path) or self._error_in(path, schema) is not None:
            make().write.mode("overwrite").options(**_PARQUET).parquet(path)
            error = self._error_in(path, schema)
            if error is not None:
                raise error
        self._stages.append((path, schema))
        return self._read(path, schema).where(F.col(USED).isNull()).drop(ERROR, USED)

    def used(self) -> pa.Table:
        """Records of what the tasks of all stages used, before the driver was started again, too."""
        of_stages = [self._read(*stage).where(F.col(USED).isNotNull()).select(USED) for stage in self._stages]
        return usage(reduce(DataFrame.unionByName, of_stages).toArrow()) if of_stages else RECORDS.empty_table()

    def remove(self) -> None:
        """Deletes everything, in a task: the driver's machine may have other credentials, or another file system."""
        location = self.location

        def delete(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                _delete(location)
                yield batch

        self._spark.range(0, 1, 1, 1).mapInArrow(delete, "id bigint").toArrow()

    def _is_whole(self, path: str) -> bool:
        marker = f"{path}/_SUCCESS"
        try:
            # Spark reads nothing from files of such names, but says if there is none. Of a single path that is not
            # there it also logs a stack trace.
            _ = self._spark.read.format("text").load([marker, marker]).schema
        except AnalysisException as error:
            if error.getCondition() == "PATH_NOT_FOUND":
                return False
            raise
        return True

    def _error_in(self, path: str, schema: pa.Schema) -> TamisError | None:
        failed = self._read(path, schema).where(F.col(ERROR).isNotNull())
        return error_of(failed.select(ERROR).limit(1).toArrow())

    def _read(self, path: str, schema: pa.Schema) -> DataFrame:
        return self._spark.read.schema(ddl(of_task(schema))).parquet(path)


def error_of(table: pa.Table) -> TamisError | None:
    """The first error in what tasks gave."""
    errors = table.column(ERROR).drop_null()
    return KernelError.of_fields(json.loads(errors[0].as_py())) if len(errors) else None


def _delete(location: str) -> None:
    from pyarrow import fs

    scheme, _, rest = location.partition("://")
    if scheme == "file":
        fs.LocalFileSystem().delete_dir(rest)
        return
    # Hadoop has other names for S3 than everybody else.
    if scheme in ("s3a", "s3n"):
        location = f"s3://{rest}"
    system, path = fs.FileSystem.from_uri(location)
    system.delete_dir(path)
