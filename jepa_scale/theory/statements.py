"""Every statement of the theory as something that can be tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jepa_scale.records import BoundValue, Hypothesis
from jepa_scale.theory.bounds import b1, b1_double_prime, b1_prime, b2, b3, b5, t4, t5, t6
from jepa_scale.theory.bounds.base import BoundCase
from jepa_scale.theory.bounds.t3 import Constants
from jepa_scale.theory.graph import normalised_co_occurrence
from jepa_scale.theory.learning import DELTA, certified_regret, excess_risk, learned_once, learned_roll_out
from jepa_scale.theory.spectrum import exact_moments, spectral_loss, spectral_tail
from jepa_scale.theory.trial import Trial

TOLERANCE = 1e-9
"""Rounding allowed for: a bound passed by less is no violation."""


@dataclass(frozen=True)
class StatementOutcome:
    """A bound beside what it bounds."""

    bound: BoundValue
    actual: float
    case: BoundCase | None = None
    """The planner whose regret ``actual`` is."""

    @property
    def violated(self) -> bool:
        """Whether the quantity lies on the wrong side of the bound, or the bound is no number."""
        return self._wrong(self.actual)

    @property
    def refutes(self) -> bool:
        """Whether every hypothesis holds and the bound fails however the planner breaks ties."""
        if not (self.bound.applies and self.violated):
            return False
        return self.case is None or self._wrong(self.case.lucky_regret)

    def _wrong(self, actual: float) -> bool:
        slack = TOLERANCE * (1 + abs(actual))
        if self.bound.lower:
            return not actual >= self.bound.value - slack
        return not actual <= self.bound.value + slack

    @property
    def excess(self) -> float:
        """How far the quantity lies on the wrong side however the planner breaks ties; negative on the right side."""
        actual = self.actual if self.case is None else self.case.lucky_regret
        return self.bound.value - actual if self.bound.lower else actual - self.bound.value

    @property
    def looseness(self) -> float:
        """Bound over quantity (quantity over bound for a floor): ≥ 1 where the statement holds; NaN at 0."""
        above, below = (self.actual, self.bound.value) if self.bound.lower else (self.bound.value, self.actual)
        return above / below if below > TOLERANCE else float("nan")


@dataclass(frozen=True)
class Statement:
    """One claim."""

    name: str
    label: str
    """Short name for tables."""
    says: str
    """The claim in one line."""
    evaluate: Callable[[Trial], StatementOutcome | None]
    """None where the trial has nothing to try the claim on."""
    allowed: float = 0.0
    """Share of violations that the claim itself allows, δ."""


def _identity(trial: Trial) -> StatementOutcome:
    case = trial.case("density")
    moments = exact_moments(trial.world, trial.model.encoder, trial.model.predictor, trial.negatives)
    norms = (normalised_co_occurrence(trial.world, trial.negatives) ** 2).sum((1, 2))
    # Relative to the terms that cancel, each at most (1 + √(E‖g‖² E‖f‖²))².
    lengths = np.trace(moments.hh, axis1=-2, axis2=-1) * np.trace(moments.ff, axis1=-2, axis2=-1)
    scale = norms + (1 + np.sqrt(lengths)) ** 2
    error = float((np.abs(spectral_loss(moments) + norms - case.risk) / scale).max())
    found = Hypothesis("any norms", True, "no assumption (E1)")
    return StatementOutcome(BoundValue("t1", "T1 (Theorem 3.1, any norms)", 1e-10, (found,), "identity_error"), error)


def _tail(trial: Trial) -> StatementOutcome:
    case = trial.case("density")
    tails = np.asarray(spectral_tail(case.constants.singular_values, trial.model.k))
    worst = int((case.risk - tails).argmin())
    found = Hypothesis("rank of GᵀF ≤ k", True, f"k = {trial.model.k}")
    bound = BoundValue("t2", "T2 (Theorem 4.3)", float(tails[worst]), (found,), "risk_floor", 0.0)
    return StatementOutcome(bound, float(case.risk[worst]))


def _shared_floor(trial: Trial) -> StatementOutcome:
    case = trial.case("density")
    return StatementOutcome(b2.value(case.constants, trial.model.k), float(trial.world.policy @ case.risk))


def _latent(trial: Trial, form: t5.Form) -> StatementOutcome | None:
    if trial.model.maps is None:
        return None
    # The paper plans by the distance (eq. 8).
    case = trial.case("inner" if form == "repaired" else "distance", trial.horizon)
    return StatementOutcome(t5.value(case, form), case.regret, case)


def _operator(trial: Trial, form: b3.Form) -> StatementOutcome:
    case = trial.case("density", trial.horizon, "operator", clipped=form == "stationary")
    return StatementOutcome(b3.value(case, form), case.regret, case)


def _margin(trial: Trial) -> StatementOutcome:
    case = trial.case("density", trial.horizon, "operator")
    return StatementOutcome(b5.value(case), case.regret, case)


def _one_step(value: Callable[..., BoundValue]) -> Callable[[Trial], StatementOutcome]:
    def evaluate(trial: Trial) -> StatementOutcome:
        case = trial.case("density")
        return StatementOutcome(value(case), case.regret, case)

    return evaluate


def _t4(form: t4.Form) -> Callable[[Trial], StatementOutcome]:
    def evaluate(trial: Trial) -> StatementOutcome:
        case = trial.case(trial.score)
        return StatementOutcome(t4.value(case, form), case.regret, case)

    return evaluate


def _excess(trial: Trial) -> StatementOutcome:
    return StatementOutcome(*excess_risk(trial))


def _certified(trial: Trial) -> StatementOutcome | None:
    found = certified_regret(trial)
    return None if found is None else StatementOutcome(*found, trial.case("density"))


def _learned(form: Constants, many_steps: bool) -> Callable[[Trial], StatementOutcome | None]:
    def evaluate(trial: Trial) -> StatementOutcome | None:
        learned = learned_roll_out(trial) if many_steps else learned_once(trial)
        if learned is None:
            return None
        return StatementOutcome(t6.value(learned.case, learned.sampling, form), learned.case.regret, learned.case)

    return evaluate


STATEMENTS = (
    Statement("t1", "T1", "L + ‖M̄‖² = R", _identity),
    Statement("t2", "T2", "R(a) ≥ tail_k(a)", _tail),
    Statement("t3", "T3", "excess risk ≤ c₁(Rad + Rad) + c₂(…)", _excess, DELTA),
    Statement("t4_published", "T4 as published", "E ≤ 2 c₀ √R if E q_a is const", _t4("published")),
    Statement("t4", "T4 repaired", "E ≤ 2 c₀ √R if q_a is const", _t4("repaired")),
    Statement(
        "t5", "T5 as published", "T steps: E ≤ 2 T c₃ √R, deterministic", lambda trial: _latent(trial, "published")
    ),
    Statement(
        "t5_repaired", "T5 repaired", "the same, E[ffᵀ] = I and q_a = p", lambda trial: _latent(trial, "repaired")
    ),
    Statement("t6", "T6 (T = 1)", "E ≤ 2 c₀ √(tail + sample error)", _learned("proof", False), DELTA),
    Statement("t6_published_45", "T6 as in Thm 4.5", "as printed, one step", _learned("published_45", False), DELTA),
    Statement("t6_many", "T6 (T > 1)", "E ≤ 2 T c₃ √(tail + sample error)", _learned("proof", True), DELTA),
    Statement("t6_published_46", "T6 as in Thm 4.6", "as printed, T steps", _learned("published_46", True), DELTA),
    Statement("b1", "B1", "E ≤ E[|err(a*)| + |err(ã)|]", _one_step(b1.value)),
    Statement("b1_prime", "B1′", "E ≤ 2 √(ω Σ R)", _one_step(b1_prime.value)),
    Statement("b1_double_prime", "B1″", "E ≤ 2 E max √(q/p)|δ|", _one_step(b1_double_prime.value)),
    Statement("b2", "B2", "Σ π R ≥ tail_k of the stacked M̄", _shared_floor),
    Statement("b3", "B3", "T steps, any kernel, q_a = p", lambda trial: _operator(trial, "stationary")),
    Statement("b3_general", "B3 general", "T steps, any kernel, any q_a", lambda trial: _operator(trial, "general")),
    Statement("b4", "B4", "E ≤ 2 √(ω Σ R⁺), R⁺ held out", _certified, DELTA),
    Statement("b5", "B5", "no regret where 2 err < margin", _margin),
)


def statement(name: str) -> Statement:
    """Look a statement up.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    for found in STATEMENTS:
        if found.name == name:
            return found
    raise ValueError(f"no statement is called {name!r}: choose from {', '.join(one.name for one in STATEMENTS)}")
