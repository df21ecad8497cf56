"""Make a counterexample as small and as round as it can be while it still is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from jepa_scale.records import Negatives
from jepa_scale.theory.graph import FiniteWorld, negative_law
from jepa_scale.theory.model import TabularModel
from jepa_scale.theory.statements import Statement
from jepa_scale.theory.trial import Trial

VISIBLE = 0.01
"""A violation by less might be taken for rounding by who reads it."""


def shrink(claim: Statement, trial: Trial) -> Trial:
    """Leave out, make plainer and round, one change at a time, until no change keeps the violation in plain sight."""
    found = claim.evaluate(trial)
    kept = min(found.excess, VISIBLE) if found is not None else VISIBLE
    changed = True
    while changed:
        changed = False
        for smaller in _smaller(trial):
            if is_counterexample(claim, smaller, kept):
                trial, changed = smaller, True
                break
    for plainer in _PLAINER:
        changed_one = plainer(trial)
        if changed_one is not None and is_counterexample(claim, changed_one, kept):
            trial = changed_one
    for digits in (0, 1, 2, 3):
        for rounded in _rounded(trial, digits):
            if is_counterexample(claim, rounded, kept):
                return rounded
    return trial


def is_counterexample(claim: Statement, trial: Trial, excess: float = 0.0) -> bool:
    """Whether every hypothesis holds and the bound fails by ``excess`` or more, without help of a tie."""
    outcome = claim.evaluate(trial)
    return outcome is not None and outcome.refutes and outcome.excess >= excess


def _smaller(trial: Trial) -> Iterator[Trial]:
    world, model = trial.world, trial.model
    for dropped in range(world.states if world.states > 1 else 0):
        kept = np.delete(np.arange(world.states), dropped)
        kernel = world.transition[:, kept][:, :, kept]
        if (kernel.sum(-1) <= 0).any():
            continue
        smaller = _world(kernel, world.context_law[kept], world.policy, world.goal_groups[kept])
        yield from _models(trial, smaller, kept, np.arange(world.actions))
    for dropped in range(world.actions if world.actions > 1 else 0):
        kept = np.delete(np.arange(world.actions), dropped)
        smaller = _world(world.transition[kept], world.context_law, world.policy[kept], world.goal_groups)
        yield from _models(trial, smaller, np.arange(world.states), kept)
    if trial.horizon > 2:
        yield Trial(world, model, trial.horizon - 1, trial.goal_law, trial.score, trial.negatives, trial.seed)


def _same_action(trial: Trial) -> Trial | None:
    exact = _exact(trial.world, trial.model.encoder, "same_action")
    return None if exact is None else replace(trial, negatives="same_action", model=exact, _cases={})


def _uniform_law(trial: Trial) -> Trial | None:
    world = trial.world
    plain = _world(world.transition, np.ones(world.states), np.ones(world.actions), world.goal_groups)
    exact = _exact(plain, trial.model.encoder, trial.negatives)
    return None if exact is None else trial.with_parts(plain, exact)


def _inner_product(trial: Trial) -> Trial:
    return replace(trial, score="inner", _cases={})


def _one_hot(trial: Trial) -> Trial | None:
    exact = _exact(trial.world, np.eye(trial.world.states), trial.negatives)
    return None if exact is None else trial.with_parts(trial.world, exact)


_PLAINER: tuple[Callable[[Trial], Trial | None], ...] = (_same_action, _uniform_law, _inner_product, _one_hot)
"""Nothing that the violation does not need should stay in the way of a reader."""


def _models(trial: Trial, world: FiniteWorld, states: np.ndarray, actions: np.ndarray) -> Iterator[Trial]:
    """The model restricted to what is left, and one that is exact there: small risk does not survive a restriction."""
    model = trial.model
    maps = None if model.maps is None else model.maps[actions]
    yield trial.with_parts(world, TabularModel(model.encoder[states], model.predictor[actions][:, states], maps))
    for encoder in (np.eye(world.states), model.encoder[states][:, : world.states]):
        exact = _exact(world, encoder, trial.negatives)
        if exact is not None:
            yield trial.with_parts(world, exact)


def _exact(world: FiniteWorld, encoder: np.ndarray, negatives: Negatives) -> TabularModel | None:
    """Linear g with GᵀF = M̄(a) on an invertible encoder; None where the encoder is not."""
    if encoder.shape[1] != world.states or np.linalg.cond(encoder) > 1e6:
        return None
    law = negative_law(world, negatives)
    density = np.divide(
        world.transition, law[:, None, :], out=np.zeros_like(world.transition), where=law[:, None, :] > 0
    )
    predictor = density @ np.linalg.inv(encoder).T
    maps = np.linalg.solve(encoder[None], predictor).swapaxes(1, 2)
    return TabularModel.linear(encoder, maps)


def _rounded(trial: Trial, digits: int) -> Iterator[Trial]:
    world, model = trial.world, trial.model
    kernel, law = np.round(world.transition, digits), np.round(world.context_law, max(digits, 2))
    if (kernel.sum(-1) <= 0).any() or (law <= 0).any():
        return
    plain = _world(kernel, law, world.policy, world.goal_groups)
    encoder = np.round(model.encoder, digits)
    exact = _exact(plain, encoder, trial.negatives)
    if exact is not None:
        yield trial.with_parts(plain, exact)
    if model.maps is not None:
        yield trial.with_parts(plain, TabularModel.linear(encoder, np.round(model.maps, digits)))
    yield trial.with_parts(plain, TabularModel(encoder, np.round(model.predictor, digits)))


def _world(kernel: np.ndarray, law: np.ndarray, policy: np.ndarray, groups: np.ndarray) -> FiniteWorld:
    _, labels = np.unique(groups, return_inverse=True)
    return FiniteWorld(
        kernel / kernel.sum(-1, keepdims=True), law / law.sum(), policy / policy.sum(), labels.astype(np.int64)
    )
