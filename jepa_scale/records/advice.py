"""Questions asked of a study, and their answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jepa_scale.records.dials import K_KEY, N_KEY, Value, read, run_at
from jepa_scale.records.findings import Finding


@dataclass(frozen=True)
class Ask:
    """A user's question about a run before paying for it: is (n, k) sufficient?"""

    target_regret: float
    level: float = 0.9
    """Probability of being right that an answer needs."""
    n: int | None = None
    """Training transitions asked about; None: the largest of the study."""
    k: int | None = None
    """Latent width asked about; None: the best one at n."""
    budget_hours: float | None = None
    """Hours that one run may take; None: no limit."""
    quantity: str = "regret"
    """Name of what is to fall below ``target_regret``."""


@dataclass(frozen=True)
class Verdict:
    """Whether (n, k) reaches the target."""

    n: int
    k: int
    status: Literal["sufficient", "insufficient", "undecided", "cannot say"]
    probability: float | None
    """P(regret of one run ≤ target), or of the quantity asked about; None if it cannot be estimated."""
    predicted: float | None
    low: float | None
    high: float | None
    """Ends of the interval for one run: the middle ``level`` of the calibrated draws."""
    basis: str
    """``measured``, ``forecast`` or the reason why there is no answer."""
    decades: tuple[float, float]
    """Distance beyond the range of the runs in n and in k, log10; 0 inside."""


@dataclass(frozen=True)
class NextRun:
    """A cell worth running."""

    n: int
    k: int
    seeds: int
    hours: float | None
    """Duration predicted from the study's own wall times; None if none were recorded."""
    shrinkage: float | None
    """Expected width of the answer's interval after this run, as a share of the width now; None for a run that is to
    show what is forecast."""
    why: str


@dataclass(frozen=True)
class MoreData:
    """What more training transitions would change at a width, for the mean regret E over many seeds."""

    factor: float
    """Data as a multiple of n."""
    change: float
    """Median over draws of E(factor · n, k) / E(n, k) − 1."""
    low: float
    high: float
    """Ends of its interval."""
    helps: float
    """P(E(factor · n, k) < E(n, k)); never less for more data."""


@dataclass(frozen=True)
class Surface:
    """Regret over (n, k) as the forecaster sees it, as far as forecasts were checked."""

    k: NDArray[np.float64]
    """(K,)"""
    n: NDArray[np.float64]
    """(N,)"""
    regret: NDArray[np.float64]
    """(N, K)"""
    best_k: NDArray[np.float64]
    """(3, N): k*(n) and the ends of its interval over draws."""


@dataclass(frozen=True)
class Advice:
    """The answer to one question, from one study."""

    ask: Ask
    verdict: Verdict
    cheapest: Verdict | None
    """The smallest n, then the width of highest probability there, that is sufficient; None if there is none as far
    as forecasts were checked."""
    cheapest_n: tuple[float, float, float] | None
    """The n at which P(regret of one run ≤ target) of the best width run reaches ½, 1 − level and level, the last that
    of ``cheapest``; infinite where it does not."""
    best_k: tuple[int, int, int] | None
    """k*(n) among the widths run, at the n asked about, and the ends of its interval over draws."""
    tolerated_k: tuple[int, int] | None
    """Range of widths in which the predicted regret stays below 1.05 of its minimum."""
    limits: Mapping[str, float]
    """Shares of the regret at (n, k): ``samples`` goes with the most of ``more_data``, ``tail`` then with the best
    width that was run, ``floor`` stays; empty where the target is reached or ``more_data`` is."""
    noise: float | None
    """Standard deviation of one run at (n, k)."""
    more_data: tuple[MoreData, ...]
    """Twice the data, then ten times or as much as forecasts were checked for; empty where they were not checked for
    twice the data, or nothing is left to remove."""
    next_runs: tuple[NextRun, ...]
    weights: Mapping[str, float]
    """Weight of each member of the forecaster; empty where it has none."""
    checked: tuple[float, float]
    """Decades beyond the runs in n and in k up to which forecasts were checked."""
    warnings: tuple[Finding, ...]
    """What speaks against the answer."""
    surface: Surface

    def extra(self, content: Mapping[str, Any], ran: Iterable[tuple[int, int, int]] = ()) -> list[dict[str, Value]]:
        """``extra`` of a study file with the next runs added, each with a seed that nobody has taken yet.

        ``ran`` are (n, k, seed) of runs beside those of the file. A cell that was run gets its next seed, a new cell
        the first; dials beside n and k stay at their reference. Where n or k is no dial, nothing is added.
        """
        dials = [read(key, written) for key, written in content.get("dials", {N_KEY: [1], K_KEY: [1]}).items()]
        extra: list[dict[str, Value]] = [dict(entry) for entry in content.get("extra") or ()]
        if not {N_KEY, K_KEY} <= {dial.key for dial in dials}:
            return extra
        sizes, widths = (next(dial.values for dial in dials if dial.key == key) for key in (N_KEY, K_KEY))
        # Only cells at the reference are asked about, so that the others need not be counted.
        grid = itertools.product(sizes, widths, content.get("seeds", ())) if "dials" in content else ()
        taken = [run_at(dials, *cell) for cell in {*grid, *ran}]
        there = {_key(run) for run in [*extra, *taken]}
        for run in self.next_runs:
            for _ in range(run.seeds):
                free = (run_at(dials, run.n, run.k, seed) for seed in range(10**6))
                extra.append(next(entry for entry in free if _key(entry) not in there))
                there.add(_key(extra[-1]))
        return extra


def _key(run: Mapping[str, Value]) -> frozenset[tuple[str, Value]]:
    return frozenset(run.items())
