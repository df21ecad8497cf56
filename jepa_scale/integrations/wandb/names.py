"""Names of a run's numbers in W&B other than its estimates, shared by writers and readers."""

from __future__ import annotations

AXES = ("epoch", "steps", "samples")
"""Step axes in every row: a requeued run continues along them, while W&B's own ``_step`` restarts."""
SPECTRUM_TABLE = "spectrum/table"
THROUGHPUT = "run/samples_per_second"
PARTS = ("dials", "truth", "pretrained", "halfway")
"""Parts of a run's record whose scalars are in its summary, as ``part/name``."""
ENDS = ("run/status", "run/reason", "run/wall_seconds")
"""Further names of the record's values in the summary."""
