"""The statements about learning, tried on samples: empirical risk minimisation (T3, T6) and the hold-out (B4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.records import BoundValue
from jepa_scale.shapes import Float64, Int64
from jepa_scale.theory.bounds import b4, t3
from jepa_scale.theory.bounds.base import BoundCase
from jepa_scale.theory.bounds.t3 import Sampling
from jepa_scale.theory.graph import co_occurrence, normalised_co_occurrence
from jepa_scale.theory.holdout import loss_upper_bound
from jepa_scale.theory.model import TabularModel, least_squares_maps, truncated_svd
from jepa_scale.theory.spectrum import exact_risk, spectral_tail
from jepa_scale.theory.trial import Trial

DELTA = 0.05
"""δ of the statements that hold with probability 1 − δ."""

_CLASS_SIZE = 8
_SIZES = (100, 1000, 10_000)
_HELD_OUT = (100, 1000)


@dataclass(frozen=True)
class Learned:
    """An empirical risk minimiser over a finite class, and what T3 and T6 need to know of it."""

    case: BoundCase
    """(f̂, ĝ) planning."""
    sampling: Sampling
    risk: Float64[np.ndarray, " A"]
    """R(f̂, ĝ, a)"""
    best_risk: Float64[np.ndarray, " A"]
    """min over the class of R(·, a)"""


def minimise_empirical_risk(trial: Trial, linear: bool = False) -> Learned:
    """Draw n transitions for each action and take the least mean empirical loss over 8 models of the trial's width.

    The class: the best shared encoder of that width (``truncated_svd``), the trial's own model, and perturbations of
    both; with linear predictors only if they are to be rolled out.
    """
    world, generator, k = trial.world, np.random.default_rng(trial.seed), trial.model.k
    best = truncated_svd(world, min(k, world.states), trial.negatives)
    if linear:
        best = TabularModel.linear(best.encoder, least_squares_maps(world, best.encoder, trial.negatives))
    models = [best, trial.model]
    while len(models) < _CLASS_SIZE:
        near = models[len(models) % 2]
        size = 10 ** generator.uniform(-2, 0.5)
        if linear:
            assert near.maps is not None
            models.append(TabularModel.linear(near.encoder, near.maps + size * generator.normal(size=near.maps.shape)))
        else:
            models.append(
                TabularModel(near.encoder, near.predictor + size * generator.normal(size=near.predictor.shape))
            )
    n = int(generator.choice(_SIZES))
    counts = _counts(trial, n, generator)
    losses = np.stack([_empirical_loss(counts, model) for model in models])
    risks = np.stack([exact_risk(world, model.encoder, model.predictor, trial.negatives) for model in models])
    chosen = int(losses.mean(1).argmin())
    kappa = float(max(max(np.abs(model.encoder).max(), np.abs(model.predictor).max()) for model in models))
    # Scalar coordinates: each of the models gives k functions to either class.
    complexity = worst_case_complexity(_CLASS_SIZE * k, kappa, n // 2)
    horizon = trial.horizon if linear else 1
    constants = trial.constants(horizon)
    tails = spectral_tail(constants.singular_values, k)
    sampling = Sampling(
        n=n,
        k=k,
        kappa=kappa,
        # The theorems are about one action; they are asked to hold for all at once.
        delta=DELTA / world.actions,
        encoder_complexity=complexity,
        predictor_complexity=complexity,
        minimises=bool((losses[chosen] <= losses.min(0) + 1e-12).all()),
        holds_optimum=bool((risks[0] <= tails + 1e-9).all()),
    )
    case = BoundCase(constants, "inner" if linear else "density", models[chosen])
    return Learned(case, sampling, risks[chosen], risks.min(0))


def learned_once(trial: Trial) -> Learned:
    """The minimiser that plans one step by the density score, drawn once for all statements about it."""
    return trial.once("learned", minimise_empirical_risk)


def learned_roll_out(trial: Trial) -> Learned | None:
    """The minimiser among linear predictors, which plans T steps by latent roll-out; None where g is not linear."""
    if trial.model.maps is None:
        return None
    return trial.once("learned_roll_out", lambda same: minimise_empirical_risk(same, linear=True))


def excess_risk(trial: Trial) -> tuple[BoundValue, float]:
    """T3 beside the largest excess of any action."""
    learned = learned_once(trial)
    return t3.value(learned.sampling), float((learned.risk - learned.best_risk).max())


def certified_regret(trial: Trial) -> tuple[BoundValue, float] | None:
    """B4 beside the regret, n held-out transitions for each action; same-action negatives only."""
    if trial.negatives == "pooled":
        return None
    world, model, generator = trial.world, trial.model, np.random.default_rng(trial.seed)
    n = int(generator.choice(_HELD_OUT))
    # A model that is zero everywhere still needs a range.
    inner = max(float(np.abs(model.predictor @ model.encoder.T).max()), 1e-9)
    norms = (normalised_co_occurrence(world) ** 2).sum((1, 2))
    upper = np.empty(world.actions)
    for action, joint in enumerate(co_occurrence(world)):
        drawn = generator.choice(joint.size, size=n, p=joint.ravel() / joint.sum())
        start, following = np.divmod(drawn, world.states)
        upper[action] = loss_upper_bound(
            model.predictor[action, start], model.encoder[following], inner, DELTA / world.actions
        )
    case = trial.case("density")
    return b4.value(case, upper + norms), case.regret


def _counts(trial: Trial, n: int, generator: np.random.Generator) -> Int64[np.ndarray, "A N N"]:
    joint = co_occurrence(trial.world)
    drawn = [generator.multinomial(n, law.ravel() / law.sum()).reshape(law.shape) for law in joint]
    return np.stack(drawn)


def _empirical_loss(counts: Int64[np.ndarray, "A N N"], model: TabularModel) -> Float64[np.ndarray, " A"]:
    """−2 mean gᵀf⁺ + mean over all n² pairs of (gᵀf')², for each action."""
    law = counts / counts.sum((1, 2), keepdims=True)
    inner = model.predictor @ model.encoder.T
    pairs = law.sum(2)[:, :, None] * law.sum(1)[:, None, :]
    return (pairs * inner**2 - 2 * law * inner).sum((1, 2))


def worst_case_complexity(members: int, bound: float, n: int) -> float:
    """Massart's bound on the Rademacher complexity of a finite class: κ √(2 ln|H| / n), |h| ≤ κ everywhere.

    Source: Massart's finite class lemma (Mohri, Rostamizadeh & Talwalkar 2018, Theorem 3.7).

    Raises
    ------
    ValueError
        If the class is empty, κ is negative or n is below 1.
    """
    if members < 1 or not bound >= 0 or n < 1:
        raise ValueError(f"expected |H| ≥ 1, κ ≥ 0 and n ≥ 1, got {members=}, {bound=}, {n=}")
    return float(bound * np.sqrt(2 * np.log(members) / n))
