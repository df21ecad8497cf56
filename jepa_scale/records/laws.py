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
    """Ends of the cluster-bootstrap interval at the ``level`` of its LawFit; NaN if the parameter was fixed."""
    fixed: bool
    theory: float | None
    """Value that the theory predicts; None if it predicts none."""
    at_boundary: bool = False


@dataclass(frozen=True)
class LawFit:
    """One law fitted to one target over cells (k, n)."""

    law: str
    """Name of the law, for example ``generic``, ``theory_free`` or ``theory_fixed``."""
    formula: str
    target: str
    """``risk`` or ``regret`` for a study."""
    status: Literal["converged", "not_identified", "failed"]
    reason: Finding | None
    """Why the fit did not converge; None if it did."""
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
    """One sentence for each cell that was left out, with the reason."""
    warnings: tuple[Finding, ...]
    bootstrap_draws: NDArray[np.float64]
    """(draws, parameters): the cluster bootstrap, failed refits left out."""
    failed_refits: int
    noise: tuple[float, float]
    """(s0, c): the sd of one seed is √(s0² + (c·R)²)"""
    loss: str = ""
    """Name of the loss that was minimised."""
    bootstrap: str = ""
    """Kind of bootstrap: ``cluster pairs`` or ``wild cluster``."""
    optima: int = 1
    """Distinct minima within χ² of one of the lowest, itself included."""
    starts: tuple[int, int] = (0, 0)
    """Number of starts that ended in the lowest minimum, and number of all starts."""
    condition: float = float("nan")
    """Condition number of the scaled Hessian in centred coordinates."""
    correlations: NDArray[np.float64] | None = None
    """(parameters, parameters) in centred coordinates; NaN at bounds."""


@dataclass(frozen=True)
class Vuong:
    """Vuong's test of which of two laws is closer to the truth."""

    one: str
    other: str
    z: float
    """Positive for ``one``; standard normal if both are equally close."""
    p: float
    """Two-sided p value."""


@dataclass(frozen=True)
class TheoryVerdict:
    """Whether the cells speak for or against the theory's law."""

    status: Literal["for", "against", "refused"]
    reason: str
    """Grounds of the verdict; if there is none, why, and what to run to get one."""
    law: str = ""
    """The law that BIC prefers; empty if there is no verdict."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of the laws of one target that were fitted to the same cells."""

    target: str
    akaike: Mapping[str, float]
    """Akaike weights exp(−ΔAICc/2), normalised; empty if the laws could not be compared."""
    bayes: Mapping[str, float]
    """Weights exp(−ΔBIC/2), normalised."""
    vuong: tuple[Vuong, ...]
    """Tests of the theory's laws against their rivals."""
    fixed_exponents_p: float | None
    """p value of p = 2, q = 1/2 inside the law with free exponents."""
    u_turns: tuple[int, ...]
    """Every n at which a width inside the grid is significantly better than both ends."""
    verdict: TheoryVerdict


@dataclass(frozen=True)
class ForecastPoint:
    """A forecast of one cell's mean over seeds, with the observed mean."""

    k: int
    n: int
    predicted: float
    low: float
    high: float
    uncalibrated_low: float
    uncalibrated_high: float
    observed: float | None
    """Observed mean over seeds; None if the cell has not been run."""
    observed_standard_error: float | None
    seeds: int
    dials: Mapping[str, float] = field(default_factory=dict)
    """Values of the dials other than n and k."""

    @property
    def covered(self) -> bool | None:
        """Whether the observed mean lies inside the interval; None before it was observed."""
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
    """Why there are no points; None if there are some."""
    validated_decades: float = 0.0
    """Largest such distance at which a forecast of this law was checked inside the training part."""

    @property
    def coverage(self) -> float | None:
        """Share of observed points inside their interval; None if nothing was observed."""
        seen = [point.covered for point in self.points if point.covered is not None]
        return sum(seen) / len(seen) if seen else None
