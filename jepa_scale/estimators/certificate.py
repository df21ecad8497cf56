"""The hold-out certificate (B4): upper bounds on risk that hold with stated probability, from data not trained on.

Three things must hold, and no function here can see them:

* the rows are independent: one transition per trajectory (``one_per_trajectory``), or fresh draws;
* the model, its inner-product bound and the order of the rows were fixed before these rows were looked at. Choosing the
  best of m models by its certificate needs δ/m for each;
* rows come from the law that the statement is about: contexts p, actions π that do not look at x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_scale.records import Negatives
from jepa_scale.shapes import Float64, Int64
from jepa_scale.theory.bounds.b4 import certified
from jepa_scale.theory.concentration import betting_upper
from jepa_scale.theory.holdout import (
    BLOCK,
    block_losses,
    block_losses_pooled,
    block_products,
    check_products,
    loss_range,
    negative_products,
)


@dataclass(frozen=True)
class HeldOutModel:
    """One model on the held-out rows.

    Raises
    ------
    ValueError
        If shapes disagree or an embedding is not finite.
    """

    predicted: NDArray[np.floating]
    """(n, k) h = g(f(x), a)"""
    observed: NDArray[np.floating]
    """(n, k) z = f(x⁺)"""
    inner_bound: float
    """c ≥ |g(f(x), a)ᵀ f(x')| for every x, a, x': the maximum over a finite world, or the product of the norm caps."""

    def __post_init__(self) -> None:
        if self.predicted.ndim != 2 or self.predicted.shape != self.observed.shape:
            raise ValueError(f"expected one shape (n, k), got {self.predicted.shape=} and {self.observed.shape=}")
        if not (np.isfinite(self.predicted).all() and np.isfinite(self.observed).all()):
            raise ValueError("expected finite embeddings, got NaN or infinity: the model has diverged")


@dataclass(frozen=True)
class CertifiedMean:
    """One action's estimate and its upper confidence bound."""

    action: int
    n: int
    """Independent pairs (x, x⁺) used."""
    value: float | None
    """Mean of the block losses, or of their differences; None where there was no certificate."""
    standard_error: float | None
    """Of ``value``; None for fewer than two blocks."""
    upper: float | None
    """The mean's upper confidence bound, simultaneous over actions; None where there was no certificate."""
    note: str
    """Why there is no certificate; empty where there is one."""


@dataclass(frozen=True)
class RiskCertificate:
    """L(a) ≤ upper for all certified actions at once, with probability ≥ 1 − δ."""

    losses: tuple[CertifiedMean, ...]
    squared_norms: tuple[float, ...] | None
    """‖M̄(a)‖²_F; None where unknown."""
    delta: float
    """Over all actions together; each has δ/|A|."""
    block: int
    negatives: Negatives

    @property
    def risk_upper(self) -> tuple[float | None, ...]:
        """Upper bounds on R(a) = L(a) + ‖M̄(a)‖² (T1); None where a term is missing.

        At least 0, as R is: a smaller sum shows that δ has struck.
        """
        norms = self.squared_norms or (None,) * len(self.losses)
        return tuple(
            None if loss.upper is None or norm is None else max(0.0, loss.upper + norm)
            for loss, norm in zip(self.losses, norms, strict=True)
        )


@dataclass(frozen=True)
class ExcessCertificate:
    """R(a) − R_ref(a) ≤ upper for all certified actions at once, with probability ≥ 1 − δ; ‖M̄‖² need not be known."""

    excesses: tuple[CertifiedMean, ...]
    delta: float
    """Over all actions together; each has δ/|A|."""
    block: int
    negatives: Negatives


def one_per_trajectory(
    trajectories: Int64[np.ndarray, " n"], generator: np.random.Generator
) -> Int64[np.ndarray, " independent"]:
    """Row indices, one drawn uniformly from each trajectory: independent rows, if trajectories are.

    A place drawn without looking keeps the law of a transition, p(x) π(a) P(x'|x, a) in a stationary world, else its
    average over the places of a trajectory. The first row *of each action* does not: that the action did not come
    earlier says something about x. So the choice is blind to actions, and an action gets a π(a) share of the
    trajectories. Pass all rows of each trajectory.
    """
    order = np.lexsort((generator.random(len(trajectories)), trajectories))
    first = np.append(True, np.diff(trajectories[order]) != 0)[: len(order)]
    return order[first].astype(np.int64)


def risk_certificate(
    model: HeldOutModel,
    actions: Int64[np.ndarray, " n"],
    action_count: int,
    delta: float,
    squared_norms: Float64[np.ndarray, " A"] | None = None,
    negatives: Negatives = "same_action",
    block: int = BLOCK,
    trajectories: Int64[np.ndarray, " n"] | None = None,
) -> RiskCertificate:
    """Certify L(a), and R(a) where ‖M̄(a)‖² is known: R(a) ≤ L̂(a) + ε + ‖M̄(a)‖² (B4), ε by ``betting_upper``.

    δ is split evenly over actions (union bound), seen or not. With pooled negatives every second row, whatever its
    action, is set aside as x' ~ q; the pairs are the other half.

    ``trajectories`` are ids, checked to be distinct; None states that rows are independent.

    Raises
    ------
    ValueError
        If lengths disagree, an action or δ is out of range, two rows share a trajectory, or a product exceeds the
        model's bound.
    """
    _check_rows(model, actions, action_count, delta, trajectories)
    if squared_norms is not None and len(squared_norms) != action_count:
        raise ValueError(f"expected ‖M̄(a)‖² of {action_count} actions, got {len(squared_norms)}")
    low, high = _range(model, negatives, block)
    losses = _certify(
        lambda rows, rivals: _losses(model, rows, rivals, block),
        actions,
        action_count,
        (low, high),
        delta,
        negatives,
        block,
    )
    norms = None if squared_norms is None else tuple(float(norm) for norm in squared_norms)
    return RiskCertificate(losses, norms, delta, block, negatives)


def excess_certificate(
    model: HeldOutModel,
    reference: HeldOutModel,
    actions: Int64[np.ndarray, " n"],
    action_count: int,
    delta: float,
    negatives: Negatives = "same_action",
    block: int = BLOCK,
    trajectories: Int64[np.ndarray, " n"] | None = None,
) -> ExcessCertificate:
    """Certify L(a) − L_ref(a) = R(a) − R_ref(a) by the paired block losses of both models on the same rows.

    Raises
    ------
    ValueError
        As ``risk_certificate``, for either model.
    """
    _check_rows(model, actions, action_count, delta, trajectories)
    _check_rows(reference, actions, action_count, delta, trajectories)
    low, high = _range(model, negatives, block)
    reference_low, reference_high = _range(reference, negatives, block)
    excesses = _certify(
        lambda rows, rivals: _losses(model, rows, rivals, block) - _losses(reference, rows, rivals, block),
        actions,
        action_count,
        (low - reference_high, high - reference_low),
        delta,
        negatives,
        block,
    )
    return ExcessCertificate(excesses, delta, block, negatives)


def regret_certificate(risk_upper: Float64[np.ndarray, " A"], omega: float, multiplicity: float) -> float:
    """Upper bound on expected regret, 2 M √(ω Σ_a R_upper(a)): B1′ at the certified risks.

    It holds on the certificate's event, so with probability ≥ 1 − δ, for T = 1 and the density score.
    ω = max μ(x_g|x₀) q_a(x_g) and M as in ``theory.bounds.b1_prime``, q of the certificate's negatives.

    Raises
    ------
    ValueError
        If an R_upper is negative or not finite, or a constant is not positive and finite.
    """
    if not (np.isfinite(risk_upper) & (risk_upper >= 0)).all():
        raise ValueError(
            f"expected a certified R(a) ≥ 0 for every action, got {risk_upper.tolist()}: an action without a "
            "certificate leaves the regret without one"
        )
    if not (0 < omega < np.inf and 0 < multiplicity < np.inf):
        raise ValueError(f"expected positive finite constants, got {omega=}, {multiplicity=}")
    return certified(risk_upper, omega, multiplicity)


def _check_rows(
    model: HeldOutModel, actions: np.ndarray, action_count: int, delta: float, trajectories: np.ndarray | None
) -> None:
    if len(actions) != len(model.predicted):
        raise ValueError(f"expected one action per row, got {len(actions)} for {len(model.predicted)} rows")
    if not 0 < delta < 1:
        raise ValueError(f"expected a failure probability in (0, 1), got {delta=}")
    if len(actions) and not 0 <= actions.min() <= actions.max() < action_count:
        raise ValueError(f"expected actions in 0 … {action_count - 1}, got {actions.min()} … {actions.max()}")
    if trajectories is not None and len(np.unique(trajectories)) != len(actions):
        raise ValueError(
            f"expected independent rows, got {len(actions)} rows of {len(np.unique(trajectories))} trajectories: "
            "choose rows with one_per_trajectory"
        )


def _range(model: HeldOutModel, negatives: Negatives, block: int) -> tuple[float, float]:
    # The sharper lower end needs the own and cross products to be one matrix of rank k.
    width = model.predicted.shape[1] if negatives == "same_action" else None
    return loss_range(_rounded_up(model), block, width)


def _rounded_up(model: HeldOutModel) -> float:
    """Bound on products of embeddings that carry the rounding of float32."""
    return model.inner_bound * (1 + 1e-5)


def _losses(model: HeldOutModel, rows: np.ndarray, rivals: np.ndarray | None, block: int) -> np.ndarray:
    predicted, observed = (part[rows].astype(np.float64) for part in (model.predicted, model.observed))
    check_products(block_products(predicted, observed, block), _rounded_up(model))
    if rivals is None:
        return block_losses(predicted, observed, block)
    negatives = model.observed[rivals].astype(np.float64)
    check_products(negative_products(predicted, negatives, block), _rounded_up(model))
    return block_losses_pooled(predicted, observed, negatives, block)


def _certify(
    losses_of: Callable[[np.ndarray, np.ndarray | None], np.ndarray],
    actions: np.ndarray,
    action_count: int,
    ends: tuple[float, float],
    delta: float,
    negatives: Negatives,
    block: int,
) -> tuple[CertifiedMean, ...]:
    rivals = np.arange(1, len(actions), 2) if negatives == "pooled" else None
    pairs = np.arange(0, len(actions), 1 if rivals is None else 2)
    certified = []
    for action in range(action_count):
        rows = pairs[actions[pairs] == action]
        rows = rows[: len(rows) // block * block]
        if len(rows) == 0:
            seen = int((actions[pairs] == action).sum())
            note = f"action {action} has {seen} independent pairs, fewer than one block of {block}: hold out more data"
            certified.append(CertifiedMean(action, 0, None, None, None, note))
            continue
        values = losses_of(rows, rivals)
        error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
        upper = betting_upper(values, *ends, delta / action_count)
        certified.append(CertifiedMean(action, len(rows), float(values.mean()), error, upper, ""))
    return tuple(certified)
