"""Laws fitted to runs, and their forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jepa_scale.records.findings import Finding


@dataclass(frozen=True)
class Parameter:
    """A fitted parameter with its interval."""

    name: str
    value: float
    low: float
    high: float
    """Ends of the ``level`` cluster-bootstrap interval of the LawFit that it belongs to; NaN if it was fixed."""
    fixed: bool
    theory: float | None
    """What the theory predicts for it; None where it predicts nothing."""
    at_boundary: bool = False


@dataclass(frozen=True)
class LawFit:
    """One law fitted to one target over cells (k, n)."""

    law: str
    """Name, for example ``generic``, ``theory_free`` or ``theory_fixed``."""
    formula: str
    target: str
    """``risk`` or ``regret`` for a study."""
    status: Literal["converged", "not_identified", "failed"]
    reason: Finding | None
    """None if converged."""
    parameters: tuple[Parameter, ...]
    level: float
    objective: float
    """Weighted sum of squared residuals of cell means."""
    aicc: float
    cells: int
    runs: int
    lack_of_fit_p: float | None
    """p value of the lack-of-fit F test against pure seed error; None without replicates."""
    excluded: tuple[str, ...]
    """One sentence for each cell left out, with the reason."""
    warnings: tuple[Finding, ...]
    bootstrap_draws: NDArray[np.float64]
    """(draws, parameters): the cluster bootstrap, failed refits left out."""
    failed_refits: int
    noise: tuple[float, float]
    """(s0, c): the sd of one seed is √(s0² + (c·R)²)"""
    loss: str = ""
    """What was minimised."""
    bootstrap: str = ""
    """What was drawn: ``cluster pairs`` or ``wild cluster``."""
    optima: int = 1
    """Distinct minima within χ² of one of the lowest, itself included."""
    starts: tuple[int, int] = (0, 0)
    """Starts that ended in the lowest minimum, of how many."""
    condition: float = float("nan")
    """Condition number of the scaled Hessian in centred coordinates."""
    correlations: NDArray[np.float64] | None = None
    """(parameters, parameters) in centred coordinates; NaN at bounds."""


@dataclass(frozen=True)
class Vuong:
    """Which of two laws is closer to the truth."""

    one: str
    other: str
    z: float
    """Positive for ``one``; standard normal if both are equally close."""
    p: float
    """Two-sided."""


@dataclass(frozen=True)
class TheoryVerdict:
    """What the cells say of the theory's law."""

    status: Literal["for", "against", "refused"]
    reason: str
    """For a refusal, with what to run."""
    law: str = ""
    """The law that BIC prefers; empty for a refusal."""


@dataclass(frozen=True)
class Comparison:
    """Laws of one target, fitted to the same cells."""

    target: str
    akaike: Mapping[str, float]
    """exp(−ΔAICc/2), normalised; empty where the laws could not be compared."""
    bayes: Mapping[str, float]
    """exp(−ΔBIC/2), normalised."""
    vuong: tuple[Vuong, ...]
    """The theory's laws against the generic one."""
    fixed_exponents_p: float | None
    """p value of p = 2, q = 1/2 inside the law with free exponents."""
    u_turns: tuple[int, ...]
    """Every n at which a width inside the grid is better than both ends beyond chance."""
    verdict: TheoryVerdict


@dataclass(frozen=True)
class ForecastPoint:
    """A forecast of one cell's mean over seeds, against what came."""

    k: int
    n: int
    predicted: float
    low: float
    high: float
    uncalibrated_low: float
    uncalibrated_high: float
    observed: float | None
    """Mean over seeds; None if that cell has not been run."""
    observed_standard_error: float | None
    seeds: int
    dials: Mapping[str, float] = field(default_factory=dict)
    """Dials beside n and k."""

    @property
    def covered(self) -> bool | None:
        """Whether the observed mean fell inside the interval; None before it was observed."""
        return None if self.observed is None else bool(self.low <= self.observed <= self.high)


@dataclass(frozen=True)
class Forecast:
    """Forecasts of the held-out cells by one law fitted without them."""

    law: str
    target: str
    level: float
    points: tuple[ForecastPoint, ...]
    inflation: float
    """Factor on the bootstrap half-width at this distance, learned by forecasting inside the training part."""
    inflation_source: str
    extrapolation_decades: float
    """log10 of (held-out n / largest n that the law was fitted to)."""
    reason: Finding | None = None
    """Why there are no points; None where there are."""
    validated_decades: float = 0.0
    """Largest such distance at which a forecast of this law was checked inside the training part."""

    @property
    def coverage(self) -> float | None:
        """Share of observed points inside their interval; None if nothing was observed."""
        seen = [point.covered for point in self.points if point.covered is not None]
        return sum(seen) / len(seen) if seen else None
