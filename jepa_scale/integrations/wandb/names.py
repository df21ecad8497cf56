"""Names that a run's numbers have in W&B, beside those of its estimates: who writes them and who reads them agree."""

from __future__ import annotations

import re

AXES = ("epoch", "steps", "samples")
"""Step axes that every row carries: a run that was requeued goes on along them, while W&B's own ``_step`` restarts."""
SPECTRUM_TABLE = "spectrum/table"
THROUGHPUT = "run/samples_per_second"
PARTS = ("dials", "truth", "pretrained")
"""Parts of a run's record whose scalars are in its summary, as ``part/name``."""
ENDS = ("run/status", "run/reason", "run/wall_seconds")
"""The rest of the record's that is there."""

_BEST = (
    (re.compile(r"(regret/\w+|\w+/(risk|risk_max|loss))"), ("min", "last")),
    (re.compile(r"success(_any_time|_final)?/\w+"), ("max", "last")),
)


def kept(name: str) -> tuple[str, ...]:
    """What the summary keeps of an estimate that has a better end; of all others, for which this is empty, the last."""
    return next((summaries for pattern, summaries in _BEST if pattern.fullmatch(name)), ())


def first_line(error: Exception) -> str:
    """What W&B raised, in a line; its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
