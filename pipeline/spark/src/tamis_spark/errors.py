"""Errors that keep what a kernel said, also on their way through Spark, which keeps only the text of an error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

FAILED = 2
"""Exit code of whatever has none of its own: could not run, or stopped."""

KEPT_CODES = frozenset({2, 3, 69, 74, 75, 77, 129, 130, 143})
"""Exit codes of kernels that the driver ends with, too: whoever started it may know by them whether to try again."""

_MARK = "tamis-error: "
_LONGEST = 2000


class TamisError(RuntimeError):
    """What happened, why, and what to do next.

    Its text has a line for a machine as well, by which :func:`find` gets it back from the text of another error.
    """

    def __init__(
        self, message: str, causes: Iterable[str] = (), hint: str | None = None, exit_code: int = FAILED
    ) -> None:
        self.message = message[:_LONGEST]
        self.causes = [str(cause)[:_LONGEST] for cause in causes]
        self.hint = hint[:_LONGEST] if hint else None
        self.exit_code = exit_code if exit_code in KEPT_CODES else FAILED
        super().__init__(f"{self.message}\n{_MARK}{self.to_json()}")

    def to_json(self) -> str:
        """The error as a JSON object on one line."""
        fields = {"message": self.message, "causes": self.causes, "hint": self.hint, "exit_code": self.exit_code}
        return json.dumps(fields)

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> TamisError:
        """The error of which :meth:`to_json` made the fields."""
        causes = fields.get("causes") or ()
        return cls(str(fields["message"]), causes, fields.get("hint"), int(fields.get("exit_code", FAILED)))


class KernelError(TamisError):
    """A kernel failed, or did not do what the protocol says."""


class AuditError(TamisError):
    """What came out of a stage is not all that must come out: some rows are lost, or there twice."""


class Interrupted(TamisError):
    """Somebody asked the run to stop."""


def find(text: str) -> TamisError | None:
    """The error whose text is somewhere in `text`, the last one if there are several."""
    for line in reversed(text.splitlines()):
        _, mark, rest = line.partition(_MARK)
        if not mark:
            continue
        try:
            return TamisError.of_fields(json.loads(rest))
        except (ValueError, KeyError, TypeError):
            continue
    return None


def explain(error: Exception) -> TamisError:
    """The error of ours that is in an error of Spark, or one that says what Spark says."""
    if isinstance(error, TamisError):
        return error
    text = str(error)
    ours = find(text)
    if ours is not None:
        return ours
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [repr(error)]
    return TamisError(f"Spark failed: {lines[0]}", lines[1:4], "TAMIS_LOG=debug prints the whole error")
