"""Settings of an audit that a user can choose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class AuditSettings:
    """Settings of an audit.

    Raises
    ------
    ValueError
        If one is out of range.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    """Names in the file of z, z_next, z_pred, action, trajectory, weight; an empty name leaves a column out."""
    tokens: str = "mean"
    """Patch tokens: ``mean``, ``sample`` (one for each row) or ``all``."""
    drop_nonfinite: bool = False
    widths: tuple[int, ...] = ()
    """k for top-k, tails and the gap; default: powers of two and the embeddings' width."""
    components: int | None = None
    """Project embeddings on this many leading principal directions of the first rows first: a lower bound."""
    dictionary: int | None = None
    """Features of the reference dictionary; 0: none; default: four times the width, 128 to 512, if
    there are rows enough."""
    resolution: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    """ε for T(ε) and tail(ε), in deviations of a coordinate."""
    cells: int | None = None
    """Cells of continuous actions, a power of two; default: at most 16, if there are rows enough."""
    train_n: float | None = None
    """Training transitions to choose a width for; default: as many as there are rows."""
    fit: Path | None = None
    """``fit.json`` of a study that calibrates the sample term."""
    level: float = 0.95
    seed: int = 0
    threads: int | None = None
    """Number of threads; default: one for each core."""

    def __post_init__(self) -> None:
        unknown = set(self.columns) - {"z", "z_next", "z_pred", "action", "trajectory", "weight"}
        checks = {
            f"columns z, z_next, z_pred, action, trajectory or weight, got {', '.join(sorted(unknown))}": not unknown,
            f"widths ≥ 1, got {self.widths}": all(k >= 1 for k in self.widths),
            f"components ≥ 1, got {self.components}": self.components is None or self.components >= 1,
            f"a dictionary of ≥ 0 features, got {self.dictionary}": self.dictionary is None or self.dictionary >= 0,
            f"finite resolutions above 0, got {self.resolution}: at 0 a noiseless world has no finite T": all(
                0 < eps < math.inf for eps in self.resolution
            ),
            f"a power of two of cells, got {self.cells}": self.cells is None
            or (self.cells >= 1 and self.cells & (self.cells - 1) == 0),
            f"one training transition or more, got {self.train_n}": self.train_n is None
            or 1 <= self.train_n < math.inf,
            f"a level between 0 and 1, got {self.level}": 0 < self.level < 1,
            f"at least one thread, got {self.threads}": self.threads is None or self.threads >= 1,
            f"a seed ≥ 0, got {self.seed}": self.seed >= 0,
        }
        for expected, holds in checks.items():
            if not holds:
                raise ValueError(f"expected {expected}")
