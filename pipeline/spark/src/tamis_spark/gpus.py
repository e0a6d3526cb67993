"""GPUs for the tasks that score: Spark knows which task has which, if it is told that tasks ask for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from .child import GPU
from .errors import TamisError, explain

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

_HINT = "executors must have GPUs: spark.executor.resource.gpu.amount and .discoveryScript, as docs/scale.md shows"


def amount(text: str) -> float:
    """A share of a GPU, or a number of them.

    Raises `ValueError` for what Spark cannot give a task.
    """
    number = float(text)
    if not (0 < number <= 1 or (number > 1 and number.is_integer())):
        raise ValueError("must be a share, above 0 to 1, or a whole number")
    return number


def request(spark: SparkSession, per_task: float, stages: Sequence[str]) -> ResourceProfile:
    """What tasks ask for; a task has tried it.

    Raises `TamisError` if no stage of the run takes GPUs, or if Spark gives none.
    """
    option = f"--score-gpus {per_task:g}"
    if not {"embed", "score", "judge"} & set(stages):
        sections = "[semantic], [quality], [score], [embed] or [select]"
        message = f"{option}: this config has no {sections}, and nothing else takes a GPU"
        raise TamisError(message, hint="leave the option out")
    if re.fullmatch(r"local(\[.*\])?", spark.conf.get("spark.master")):
        hint = "leave the option out: kernels find the GPUs of this machine themselves"
        raise TamisError(f"{option} does not work with a local master, which gives tasks no GPUs", hint=hint)
    profile = _profile(per_task)
    try:
        found = spark.range(0, 1, 1, 1).mapInArrow(_addresses, "address string", profile=profile).toArrow()
    except Exception as error:  # Classic and Connect have different ones, and a master's reasons are its own.
        raise TamisError(f"{option}: Spark cannot give tasks GPUs here", [_reason(error)], _HINT) from error
    if not found.num_rows:
        raise TamisError(f"{option}: Spark gave a task no GPU", hint=_HINT)
    return profile


def _profile(per_task: float) -> ResourceProfile:
    from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

    return ResourceProfileBuilder().require(TaskResourceRequests().resource(GPU, per_task)).build


def _addresses(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    from pyspark import TaskContext

    for _ in batches:
        resource = TaskContext.get().resources().get(GPU)
        yield pa.record_batch({"address": pa.array(resource.addresses if resource is not None else [], pa.string())})


def _reason(error: Exception) -> str:
    """What Spark says at the bottom of it."""
    causes = re.findall(r"Caused by: (.*)", str(error))
    return causes[-1] if causes else explain(error).message
