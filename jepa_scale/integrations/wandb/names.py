"""Names that a run's numbers have in W&B, beside those of its estimates: who writes them and who reads them agree."""

from __future__ import annotations

AXES = ("epoch", "steps", "samples")
"""Step axes that every row carries: a run that was requeued goes on along them, while W&B's own ``_step`` restarts."""
SPECTRUM_TABLE = "spectrum/table"
THROUGHPUT = "run/samples_per_second"
PARTS = ("dials", "truth", "pretrained")
"""Parts of a run's record whose scalars are in its summary, as ``part/name``."""
ENDS = ("run/status", "run/reason", "run/wall_seconds")
"""The rest of the record's that is there."""


def first_line(error: Exception) -> str:
    """What W&B raised, in a line; its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
