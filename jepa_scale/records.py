"""The frozen record on every arrow of the programme, with units and shapes.

A number that is missing is ``None`` or NaN, never a default in its place. A failure that a study must survive is a
status with a sentence (``diverged``, ``not_identified``, ``vacuous``), never an exception.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Negatives = Literal["same_action", "pooled"]
"""Law of the independent x' in the spectral loss: q_a of the row's own action, or q = Σ_a π(a) q_a."""

GoalLaw = Literal["uniform", "data", "reachable"]
"""μ(x_g | x_0): uniform on X, the sampling law p, or T steps of the behaviour policy from x_0."""

Score = Literal["distance", "inner", "density"]
"""How a planner ranks plans: −‖ẑ_T − f(x_g)‖², ẑ_Tᵀf(x_g), or q_a(x_g) ẑ_Tᵀf(x_g)."""

BoundedQuantity = Literal["regret", "excess_risk", "identity_error", "risk_floor"]
"""What a bound is on: E(ã), R(f̂, ĝ) − R(f*, g*) or the rounding error of an identity from above, a risk from below."""

RunStatus = Literal["finished", "diverged"]


@dataclass(frozen=True)
class Trajectories:
    """Sampled trajectories of one world, in the order in which they were drawn."""

    observations: NDArray[np.float32]
    """(E, T+1, D)"""
    actions: NDArray[np.int64]
    """(E, T)"""
    states: NDArray[np.int64] | None
    """(E, T+1) index into X of a finite world; None where the world has no finite state."""
    seed: int
    policy: str
    """Name of the behaviour policy."""

    @property
    def checksum(self) -> str:
        """SHA-256 over observations and actions: two data sets with one checksum are the same data."""
        digest = hashlib.sha256()
        digest.update(np.ascontiguousarray(self.observations).tobytes())
        digest.update(np.ascontiguousarray(self.actions).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Batch:
    """Transitions (x, a, x⁺); the fields are tensors on one device."""

    observations: Any
    """(B, D)"""
    actions: Any
    """(B,) integer"""
    next_observations: Any
    """(B, D)"""

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """Return the same batch on ``device``."""
        return Batch(
            self.observations.to(device, non_blocking=non_blocking),
            self.actions.to(device, non_blocking=non_blocking),
            self.next_observations.to(device, non_blocking=non_blocking),
        )


@dataclass(frozen=True)
class Estimate:
    """One number, or one list of numbers, with its uncertainty, its sample size and its place in training."""

    name: str
    """Path-like, for example ``spectrum/action_0/total``."""
    value: float | tuple[float, ...] | None
    """None: not identified, see ``flag``."""
    standard_error: float | tuple[float, ...] | None
    """Same shape as ``value``; 0 where the value is an exact expectation; None where it was not estimated."""
    n: int | None
    """Transitions behind the number; None where the value is exact."""
    epoch: int
    step: int
    """Optimiser steps taken."""
    flag: str = ""
    """A reason to distrust the value: ``n_too_small``, ``rank_deficient``, …; empty if there is none."""


@dataclass(frozen=True)
class Hypothesis:
    """One assumption of a theorem, checked."""

    statement: str
    holds: bool
    detail: str
    """By how much it fails or holds, in words and numbers."""


@dataclass(frozen=True)
class BoundValue:
    """A bound on expected regret or on a risk, never clipped."""

    name: str
    label: str
    """Label of the theorem in the documentation and in the paper, for example ``T4 (Theorem 4.1)``."""
    value: float
    """Units of the quantity that is bounded."""
    hypotheses: tuple[Hypothesis, ...]
    quantity: BoundedQuantity = "regret"
    trivial: float = 1.0
    """What holds without any theorem: a regret is ≤ 1; a risk is ≥ 0."""

    @property
    def lower(self) -> bool:
        """Whether the quantity is bounded from below."""
        return self.quantity == "risk_floor"

    @property
    def vacuous(self) -> bool:
        """Whether the bound says no more than ``trivial``."""
        return not (self.value > self.trivial if self.lower else self.value < self.trivial)

    @property
    def applies(self) -> bool:
        """Whether every hypothesis holds; a bound that does not apply may lie below the regret."""
        return all(hypothesis.holds for hypothesis in self.hypotheses)


@dataclass(frozen=True)
class Regret:
    """Expected regret of a planner, E over starts and goals of max_a V − V(ã)."""

    value: float
    """In [0, 1]: lost probability of ending at the goal."""
    standard_error: float
    """0 where the expectation over starts and goals is exact."""
    goal_law: GoalLaw
    score: str
    episodes: int | None
    """Start/goal pairs that were sampled; None where the expectation is exact."""


@dataclass(frozen=True)
class RunRecord:
    """Everything that a study keeps of one run; written atomically, last."""

    run_id: str
    config: Mapping[str, Any]
    status: RunStatus
    reason: str
    """Empty for a finished run, else one sentence."""
    dials: Mapping[str, int]
    """n, k, seed, parameters, flops_per_step"""
    final: Mapping[str, float | None]
    """Scalar estimates at the last epoch, by name."""
    final_standard_errors: Mapping[str, float | None]
    final_n: Mapping[str, int | None]
    bounds: Sequence[Mapping[str, Any]]
    truth: Mapping[str, float | Sequence[float]]
    """Exact quantities of the world at this k: tails, gap, total, floors. Empty where the world is not exact."""
    spectrum: Mapping[str, Sequence[float]]
    """Last epoch's singular values, mean over actions: ``learned`` (exact, of the learned features), ``estimated``."""
    versions: Mapping[str, str]
    data_checksum: str
    times: Mapping[str, float | str] = field(default_factory=dict)
    """wall_seconds, fit_seconds, callback_seconds (since the last resumption), finished_at: all that is not
    reproducible."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries and lists, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class RunTable:
    """One row per run, as columns of equal length; see ``COLUMNS`` for their meaning."""

    columns: Mapping[str, NDArray[Any]]

    COLUMNS: ClassVar[Mapping[str, str]] = {
        "run_id": "hash of the resolved configuration",
        "status": "finished | diverged",
        "reason": "one sentence where the run did not finish",
        "n": "training transitions",
        "k": "latent width",
        "seed": "seed of data, initialisation and batches",
        "parameters": "trainable parameters",
        "flops_per_step": "floating point operations of one optimiser step",
        "risk": "exact R, mean over actions; NaN if not finished",
        "risk_max": "exact R, largest over actions",
        "tail": "exact Σ_{i>k} σ_i(a)², mean over actions",
        "shared_tail": "tail of the stacked M̄: the floor of R for one shared encoder if the q_a agree (B2)",
        "regret": "exact expected regret of the study's score",
        "regret_distance": "exact expected regret, score −‖ẑ − f(x_g)‖²",
        "regret_inner": "exact expected regret, score ẑᵀf(x_g)",
        "regret_density": "exact expected regret, score q_a(x_g) ẑᵀf(x_g)",
        "regret_random": "exact expected regret of uniformly random plans: the level at which regret saturates",
        "regret_do_nothing": "exact expected regret of the null action; NaN where the world has none",
        "bound_t4": "2 c0 max_a √R(a)",
        "bound_t5": "2 T c3 max_a √R(a)",
        "bound_b1_prime": "2 √(ω Σ_a R(a))",
        "wall_seconds": "training and estimation, since the last resumption",
    }

    def __len__(self) -> int:
        return len(self.columns["run_id"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def where(self, mask: NDArray[np.bool_]) -> RunTable:
        """Return the rows where ``mask`` (one boolean per run) is true."""
        return RunTable({name: column[mask] for name, column in self.columns.items()})


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
    reason: str
    """Empty if converged, else one sentence."""
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
    warnings: tuple[str, ...]
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
    validated_decades: float = 0.0
    """Largest such distance at which a forecast of this law was checked inside the training part."""

    @property
    def coverage(self) -> float | None:
        """Share of observed points inside their interval; None if nothing was observed."""
        seen = [point.covered for point in self.points if point.covered is not None]
        return sum(seen) / len(seen) if seen else None


@dataclass(frozen=True)
class Ask:
    """What a user wants to know before a run is paid for."""

    target_regret: float
    level: float = 0.9
    """Probability from which an answer is given."""
    n: int | None = None
    """Training transitions asked about; None: the largest of the study."""
    k: int | None = None
    """Latent width asked about; None: the best one at n."""
    budget_hours: float | None = None
    """Hours that one run may take; None: no limit."""


@dataclass(frozen=True)
class Verdict:
    """Whether (n, k) reaches the target."""

    n: int
    k: int
    status: Literal["sufficient", "insufficient", "undecided", "cannot say"]
    probability: float | None
    """P(regret of one run ≤ target); None where it cannot be said."""
    predicted: float | None
    low: float | None
    high: float | None
    """Middle ``level`` of the calibrated draws for one run."""
    basis: str
    """``measured``, ``forecast`` or why nothing can be said."""
    decades: tuple[float, float]
    """Distance beyond the runs in n and in k, log10; 0 inside."""


@dataclass(frozen=True)
class NextRun:
    """A cell worth running."""

    n: int
    k: int
    seeds: int
    hours: float | None
    """Predicted from the study's own wall times; None where none were recorded."""
    shrinkage: float
    """Expected width of the answer's interval after it, as a share of the width now."""
    why: str


@dataclass(frozen=True)
class Surface:
    """The regret that the average of all laws predicts, where forecasts were checked."""

    k: NDArray[np.float64]
    """(K,)"""
    n: NDArray[np.float64]
    """(N,)"""
    regret: NDArray[np.float64]
    """(N, K); NaN where no law can say."""
    best_k: NDArray[np.float64]
    """(3, N): k*(n), and the ends of its interval over draws."""


@dataclass(frozen=True)
class Advice:
    """The answer to one question, from one study."""

    ask: Ask
    verdict: Verdict
    cheapest: Verdict | None
    """The smallest n, then the width of highest probability there, that is sufficient; None if there is none as far
    as forecasts were checked."""
    cheapest_n: tuple[float, float, float] | None
    """Least n at which the best width reaches the target: median and ends of the interval over draws; infinite where a
    draw never does."""
    best_k: tuple[int, int, int] | None
    """k*(n) at the n asked about: median and ends of the interval over draws."""
    tolerated_k: tuple[int, int] | None
    """Widths between which the predicted regret stays below 1.05 of its least."""
    limits: Mapping[str, float]
    """Share of the predicted regret at (n, k) by what limits it: tail, samples, floor."""
    noise: float | None
    """sd of one run at (n, k)."""
    next_runs: tuple[NextRun, ...]
    laws: Mapping[str, float]
    """Weight of each law in the average, from the errors of its back-tests."""
    inflation: str
    """How the intervals were calibrated."""
    warnings: tuple[str, ...]
    surface: Surface


@dataclass(frozen=True)
class StudyResult:
    """All that a report is written from."""

    name: str
    question: str
    table: RunTable
    records: Mapping[str, RunRecord]
    """By run id: the exact and learned spectra, the bounds with their hypotheses, the versions."""
    histories: Mapping[str, Sequence[Mapping[str, Any]]]
    """By run id: every epoch's estimates as ``metrics.jsonl`` holds them (the fields of ``Estimate``)."""
    fits: tuple[LawFit, ...]
    """Every law on every target, fitted without the held-out cells."""
    forecasts: tuple[Forecast, ...]
    held_out_n: int | None
    """None where nothing was held out."""
    score: str
    """The study's score: what the column ``regret`` was planned with."""
    goal_law: str
    horizon: int
    target_regret: float
    """The regret that the study calls sufficient."""
    unfinished: tuple[str, ...]
    """One sentence per run that has no record: not run yet, or failed with an error."""
    settings: Mapping[str, Any]
    """The configuration that all runs share, dials left out."""
    comparisons: tuple[Comparison, ...] = ()
    """One for each target."""
    advice: Advice | None = None
    """On the largest n, for the target regret, from all runs; None where nothing can be said."""
    no_advice: str = ""
    """Why not."""
    judged: tuple[tuple[Verdict, float], ...] = ()
    """Advice from the smaller half of the sizes on each larger cell, with the mean regret that came."""
