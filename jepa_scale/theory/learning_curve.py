"""Expected risk of exact learners by data size n and width k, and their regret."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_scale.shapes import Float64
from jepa_scale.theory.graph import FiniteWorld, negative_law
from jepa_scale.theory.learners import FittedModel, risk_by_width, sample_counts
from jepa_scale.theory.planning import PlanningProblem, goal_weights, plan_values

Learner = Callable[[FiniteWorld, np.ndarray, int], FittedModel]
"""World, counts, width → fit: ``learners.fit_shared`` or ``learners.fit_per_action``."""

Scorer = Callable[[FiniteWorld, np.ndarray], np.ndarray]
"""World, P̂(x_g|x_0, a) (A, N, N) → score of action a from x_0 towards x_g: ``score_observation`` or ``score_group``."""

_TIE = 1e-9
"""Scores this close, relative to the largest of their start, are taken to differ by rounding only."""


@dataclass(frozen=True)
class LearningCurve:
    """Risk and regret of every data set, size and width; all widths of a data set come from one fit."""

    sizes: NDArray[np.int64]
    """(S,) n, transitions over all actions."""
    widths: NDArray[np.int64]
    """(K,) k, increasing."""
    risks: NDArray[np.float64]
    """(S, datasets, K) Σ_a π(a) R(a)"""
    regrets: NDArray[np.float64]
    """(S, datasets, K) expected one-step regret, in [0, 1]."""

    @property
    def datasets(self) -> int:
        """Data sets at each size."""
        return self.risks.shape[1]

    @property
    def risk(self) -> Float64[np.ndarray, "S K"]:
        """Mean risk over data sets."""
        return self.risks.mean(1)

    @property
    def risk_standard_error(self) -> Float64[np.ndarray, "S K"]:
        """Standard error of ``risk``."""
        return _standard_error(self.risks)

    @property
    def regret(self) -> Float64[np.ndarray, "S K"]:
        """Mean regret over data sets."""
        return self.regrets.mean(1)

    @property
    def regret_standard_error(self) -> Float64[np.ndarray, "S K"]:
        """Standard error of ``regret``."""
        return _standard_error(self.regrets)


@dataclass(frozen=True)
class BestWidth:
    """k*(n), the width of least mean risk or regret among those tried, and how well the data sets determine it."""

    width: NDArray[np.int64]
    """(S,) k of the least mean; of equals the smallest."""
    within_one_standard_error: NDArray[np.int64]
    """(S,) smallest k whose mean exceeds the least by at most one standard error of the *paired* difference."""
    share: NDArray[np.float64]
    """(S,) share of bootstrap resamples of the data sets with the same ``width``."""
    low: NDArray[np.int64]
    """(S,) 2.5 % quantile of k* over the resamples."""
    high: NDArray[np.int64]
    """(S,) 97.5 % quantile."""


def learning_curve(
    world: FiniteWorld,
    problem: PlanningProblem,
    sizes: Sequence[int],
    widths: Sequence[int],
    datasets: int,
    generator: np.random.Generator,
    learner: Learner,
    scorer: Scorer | None = None,
) -> LearningCurve:
    """E over data sets of n transitions of the exact risk Σ_a π(a) R(a) and the exact regret (eq. 12) of a learner.

    R falls with k by the spectral tail and rises by the sample's noise, the two sides of arXiv:2606.27014, Theorems
    4.5/4.6 (our T6), here without their constants. Actions are ranked by ŝ(a) = q(x_g) g(f(x_0), a)ᵀ f(x_g) (B1),
    one observation at a time (``score_observation``) unless ``scorer`` says otherwise; values are counted by goal
    group as in ``planning.plan_values``, and ties are shared evenly. Each data set has a stream of its own, so more
    data sets, or other widths, leave the present ones as they are.

    Raises
    ------
    ValueError
        If the horizon is not 1, a size or ``datasets`` is too small, or the widths do not increase within 1 … N.
    """
    _check(world, problem, sizes, widths, datasets)
    values, goals = plan_values(world, 1), goal_weights(world, problem)
    score = score_observation if scorer is None else scorer
    risks = np.empty((len(sizes), datasets, len(widths)))
    regrets = np.empty_like(risks)
    for row, (size, stream) in enumerate(zip(sizes, generator.spawn(len(sizes)), strict=True)):
        for column, source in enumerate(stream.spawn(datasets)):
            model = learner(world, sample_counts(world, size, source), max(widths))
            risks[row, column] = world.policy @ risk_by_width(world, model)[:, np.array(widths) - 1]
            for place, estimate in enumerate(_densities(world, model, widths)):
                regrets[row, column, place] = _regret(values, score(world, estimate), world.context_law, goals)
    return LearningCurve(np.array(sizes, dtype=np.int64), np.array(widths, dtype=np.int64), risks, regrets)


def score_observation(world: FiniteWorld, estimate: Float64[np.ndarray, "A N N"]) -> Float64[np.ndarray, "A N N"]:
    """P̂(x_g|x_0, a): the score of the goal observation alone, which is all that a planner can form from f(x_g)."""
    del world  # the observation is its own score
    return estimate


def score_group(world: FiniteWorld, estimate: Float64[np.ndarray, "A N N"]) -> Float64[np.ndarray, "A N N"]:
    """Σ of P̂ over the observations of the goal's group, for a planner that is told which observations count as reached.

    The sum averages the nuisance out after the fit, so that a model that is too wide loses little by it.
    """
    labels, index = np.unique(world.goal_groups, return_inverse=True)
    membership = (world.goal_groups[:, None] == labels[None, :]).astype(np.float64)
    return (estimate @ membership)[:, :, index]


def best_risk_width(curve: LearningCurve, generator: np.random.Generator, draws: int = 1000) -> BestWidth:
    """k*(n) of the mean risk."""
    return _best(curve.risks, curve.widths, generator, draws)


def best_regret_width(curve: LearningCurve, generator: np.random.Generator, draws: int = 1000) -> BestWidth:
    """k*(n) of the mean regret."""
    return _best(curve.regrets, curve.widths, generator, draws)


def _densities(world: FiniteWorld, model: FittedModel, widths: Sequence[int]) -> Iterator[np.ndarray]:
    """P̂ of each width in turn, by adding the columns between one width and the next."""
    law = negative_law(world, model.negatives)
    estimate, before = np.zeros((world.actions, world.states, world.states)), 0
    for width in widths:
        added = slice(before, width)
        estimate = estimate + model.predictor[..., added] @ model.encoder[..., added].swapaxes(1, 2)
        before = width
        yield law[:, None, :] * estimate


def _regret(values: np.ndarray, scores: np.ndarray, starts: np.ndarray, goals: np.ndarray) -> float:
    """``planning.expected_regret`` of a planner that draws evenly among equal scores.

    Small data leave many scores at exactly 0, where an argmax would take action 0, often the null one, or follow
    rounding.
    """
    # Of each start by itself: g is huge at a start that is rare, which must not make ties elsewhere.
    chosen = scores >= scores.max(0) - _TIE * np.abs(scores).max((0, 2))[:, None]
    taken = (chosen * values).sum(0) / chosen.sum(0)
    return float((starts[:, None] * goals * (values.max(0) - taken)).sum())


def _best(samples: np.ndarray, widths: np.ndarray, generator: np.random.Generator, draws: int) -> BestWidth:
    if draws < 1:
        raise ValueError(f"expected at least one bootstrap draw, got {draws=}")
    datasets = samples.shape[1]
    least = samples.mean(1).argmin(-1)
    excess = samples - np.take_along_axis(samples, least[:, None, None], axis=2)
    within = (excess.mean(1) <= _standard_error(excess)).argmax(-1)
    weights = generator.multinomial(datasets, np.full(datasets, 1 / datasets), size=draws) / datasets
    found = widths[(weights @ samples).argmin(-1)]
    low, high = np.quantile(found, [0.025, 0.975], axis=1, method="inverted_cdf")
    share = (found == widths[least][:, None]).mean(1)
    return BestWidth(widths[least], widths[within], share, low.astype(np.int64), high.astype(np.int64))


def _standard_error(samples: np.ndarray) -> np.ndarray:
    return samples.std(1, ddof=1) / np.sqrt(samples.shape[1])


def _check(
    world: FiniteWorld, problem: PlanningProblem, sizes: Sequence[int], widths: Sequence[int], datasets: int
) -> None:
    if problem.horizon != 1:
        raise ValueError(
            f"expected a planning problem of horizon 1, got horizon={problem.horizon}: the density score ranks single "
            "actions; roll the model out to plan further"
        )
    if not len(sizes) or min(sizes) < 1:
        raise ValueError(f"expected sizes of at least one transition, got {sizes=}")
    if datasets < 2:
        raise ValueError(f"expected at least 2 data sets, as a standard error needs, got {datasets=}")
    steps = np.diff([0, *widths])
    if not len(widths) or (steps < 1).any() or widths[-1] > world.states:
        raise ValueError(
            f"expected widths that increase within 1 … N={world.states}, got {list(widths)}: sort them, drop the rest"
        )
