"""Choices that define a run, and the records that it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from jepa_scale.records.quantities import MEASURED

Negatives = Literal["same_action", "pooled"]
"""Law of the independent x' in the spectral loss: q_a of the row's own action, or q = Σ_a π(a) q_a."""

GoalLaw = Literal["uniform", "data", "reachable"]
"""Law of goals μ(x_g | x_0): uniform on X, the sampling law p, or T steps of the behaviour policy from x_0."""

Score = Literal["distance", "inner", "density"]
"""How a planner ranks plans: −‖ẑ_T − f(x_g)‖², ẑ_Tᵀf(x_g), or q_a(x_g) ẑ_Tᵀf(x_g)."""

BoundedQuantity = Literal["regret", "excess_risk", "identity_error", "risk_floor"]
"""Quantity that a bound is on. Upper: E(ã), R(f̂, ĝ) − R(f*, g*), an identity's rounding error; lower: a risk."""

RunStatus = Literal["finished", "diverged"]


@dataclass(frozen=True)
class Estimate:
    """One number, or one list of numbers, with its uncertainty, its sample size and its place in training."""

    name: str
    """Path-like name, for example ``spectrum/action_0/total``."""
    value: float | tuple[float, ...] | None
    """The number or numbers; None if not identified, see ``flag``."""
    standard_error: float | tuple[float, ...] | None
    """Standard error, shaped like ``value``; 0 if the value is an exact expectation, None if not estimated."""
    n: int | None
    """Number of transitions behind the value; None if the value is exact."""
    epoch: int
    step: int
    """Number of optimiser steps taken."""
    flag: str = ""
    """A reason to distrust the value: ``n_too_small``, ``rank_deficient``, …; empty if there is none."""


@dataclass(frozen=True)
class Hypothesis:
    """One assumption of a theorem, with the result of its check."""

    statement: str
    holds: bool
    detail: str
    """By how much it fails or holds, in words and numbers."""


@dataclass(frozen=True)
class BoundValue:
    """A bound on expected regret or on a risk; never clipped."""

    name: str
    label: str
    """Label of the theorem in the documentation and in the paper, for example ``T4 (Theorem 4.1)``."""
    value: float
    """Value of the bound, in units of the bounded quantity."""
    hypotheses: tuple[Hypothesis, ...]
    quantity: BoundedQuantity = "regret"
    trivial: float = 1.0
    """Bound that holds without any theorem: a regret is ≤ 1; a risk is ≥ 0."""

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
    """Expected regret of a planner: E[max_a V − V(ã)] over starts and goals."""

    value: float
    """Lost probability of ending at the goal, in [0, 1]."""
    standard_error: float
    """Standard error; 0 if the expectation over starts and goals is exact."""
    goal_law: GoalLaw
    score: str
    episodes: int | None
    """Number of sampled start/goal pairs; None if the expectation is exact."""


@dataclass(frozen=True)
class RunRecord:
    """Everything that a study keeps of one run; written atomically, last."""

    run_id: str
    config: Mapping[str, Any]
    status: RunStatus
    reason: str
    """One sentence on why the run did not finish; empty if it did."""
    dials: Mapping[str, int]
    """n, episodes (that the n transitions come from), k, seed, parameters, flops_per_step"""
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
    """SHA-256 of what was trained on; of recordings, of their split as well."""
    times: Mapping[str, float | str] = field(default_factory=dict)
    """All that is not reproducible: wall_seconds, fit_seconds, callback_seconds (since the last resumption) and
    finished_at."""
    pretrained: Mapping[str, float | None] = field(default_factory=dict)
    """``final`` at the last epoch of pretraining; empty where no stage followed it."""
    pretrained_standard_errors: Mapping[str, float | None] = field(default_factory=dict)
    halfway: Mapping[str, float | None] = field(default_factory=dict)
    """Those of ``final`` that a quantity reads when half of the last stage's epochs, rounded down, were done."""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """How success and regret were measured: tolerance, budget, goal law, planner, removed tasks; empty: unknown."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries and lists, ready for JSON."""
        return asdict(self)


ArmValues = Mapping[str, Any]
"""Settings of one arm of a study, by dotted key or configuration group."""


@dataclass(frozen=True)
class RunTable:
    """One row per run, as columns of equal length; see ``COLUMNS`` for their meaning."""

    columns: Mapping[str, NDArray[Any]]

    dials: tuple[str, ...] = ()
    """Columns of the study's dials other than n and k."""

    COLUMNS: ClassVar[Mapping[str, str]] = {
        "run_id": "hash of the resolved configuration",
        "arm": "settings that the study compares, as on the command line; empty where it has no arms",
        "status": "finished | diverged",
        "reason": "one sentence where the run did not finish",
        "n": "training transitions",
        "k": "latent width",
        "seed": "seed of data, initialisation and batches",
        "parameters": "trainable parameters",
        "flops_per_step": "floating point operations of one optimiser step",
        "steps": "optimiser steps",
        "compute": "flops_per_step × steps",
        "episodes": "trajectories that the n transitions come from",
        **{quantity.name: quantity.what for quantity in MEASURED},
        "wall_seconds": "training and estimation, since the last resumption",
    }
    """Meaning of the columns of every table; a table may have more: dials, and estimates that its laws read."""

    def __len__(self) -> int:
        return len(self.columns["run_id"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def where(self, mask: NDArray[np.bool_]) -> RunTable:
        """Return the rows where ``mask`` (one boolean per run) is true."""
        return RunTable({name: column[mask] for name, column in self.columns.items()}, self.dials)

    def at(self, values: Mapping[str, Any]) -> RunTable:
        """Return the rows at fixed values of dials other than n and k; the result no longer has these dials."""
        mask = np.ones(len(self), dtype=bool)
        for name, value in values.items():
            mask &= self[name] == value
        part = self.where(mask)
        return RunTable(part.columns, tuple(name for name in self.dials if name not in values))
