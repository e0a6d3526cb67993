"""tamis on Apache Spark: Spark schedules, shuffles and retries; `tamis kernel` processes do the work on rows.

Read :mod:`tamis_spark.bridge` first, which any engine can use; then :mod:`tamis_spark.driver`, which is a run on Spark.
"""

from .bridge import kernel
from .errors import AuditError, Interrupted, KernelError, TamisError

__all__ = ["AuditError", "Interrupted", "KernelError", "TamisError", "kernel"]
