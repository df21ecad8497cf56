"""What the actions of a recording owe to the actions before and to the observation, and what they do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

from jepa_scale.data.alignment.features import Rows
from jepa_scale.data.alignment.regression import FOLDS, Folds, Regression, Share, ratio
from jepa_scale.data.card.record import Policy, PolicyKind, Value

_NONE = 0.05
"""Share up to which something counts as unpredicted."""
_OWN = 0.02
"""Share of its step that an action may have of its own to count as a function of the observation."""
_ROUNDING = 1e-12
_NEIGHBOURS = 4
_MOST = 16
"""Largest number of coordinates: beyond it neighbours are too far for an estimate."""
_LARGEST = 4000
"""Largest number of rows for nearest neighbours."""


def policy_of(rows: Rows, folds: Folds) -> Policy:
    """Describe the policy by what predicts its actions, out of sample."""
    n = len(rows.rows)
    action = rows.action(0)
    varying = action.var(axis=0) > 1e-12
    if not varying.any():
        nothing = Value(float("nan"), float("nan"), n)
        return Policy(PolicyKind.CONSTANT, nothing, Value(0.0, 0.0, n), nothing, nothing)
    action = action[:, varying]
    before = rows.action(-1)[:, varying]
    scale = action.var(axis=0)
    mean_error = np.square(action - action.mean(axis=0)) / scale
    likeness = (action - action.mean(axis=0)) * (before - before.mean(axis=0)) / scale
    repeats = ratio(likeness.mean(axis=1), mean_error.mean(axis=1), folds.cluster)
    own = np.concatenate([rows.action(-back) for back in range(1, rows.reach + 1)], axis=1)
    regression = Regression({"own": own, "seen": rows.past(0), "bent": rows.bent(0)}, action, folds)
    seen = _best(regression, (["seen"], ["seen", "bent"]))
    alone = regression.errors(["own"])
    both = _best(regression, (["own", "seen"], ["own", "seen", "bent"]))
    state_share = _explained(mean_error, seen / scale, folds)
    past_share = _explained(mean_error, alone / scale, folds)
    left = np.maximum(alone.mean(axis=0), 1e-300)
    beyond = _explained(alone / left, both / left, folds)
    # Of a slow action the observation predicts nearly all, and nothing of where it goes next: its step is the measure.
    step = np.maximum((action - before).var(axis=0), 1e-300)
    own_share = float((seen.mean(axis=0) / step).mean())
    return Policy(
        _kind(own_share, state_share.value, past_share.value, beyond.value),
        _value(repeats, n),
        entropy(rows.episodes.actions[rows.rows], rows.episodes.action_space.count, folds),
        _value(state_share, n),
        _value(beyond, n),
    )


def _best(regression: Regression, choices: tuple[list[str], list[str]]) -> NDArray[np.float64]:
    return min((regression.errors(names) for names in choices), key=lambda errors: errors.sum())


def _explained(base: NDArray[np.float64], more: NDArray[np.float64], folds: Folds) -> Share:
    return ratio((base - more).mean(axis=1), base.mean(axis=1), folds.cluster)


def _kind(own: float, state: float, past: float, beyond: float) -> PolicyKind:
    if own < _OWN and state > _NONE:
        return PolicyKind.SCRIPTED
    if max(state, past) < _NONE:
        return PolicyKind.RANDOM
    return PolicyKind.STICKY if beyond < _NONE else PolicyKind.FEEDBACK


def effect_of(rows: Rows, folds: Folds) -> Value:
    """Return what a_t explains of x_{t+1} beyond x_t and x_{t−1}, as a share of what those leave, out of sample.

    The effect may depend on the observation where that predicts better.
    """
    target = (rows.observation(1) - rows.observation(0))[:, rows.moving]
    code = rows.action(0)
    blocks = {"past": rows.past(0), "bent": rows.bent(0), "action": rows.crossed(code)}
    plain = Regression({**blocks, "action": code}, target, folds)
    crossed = Regression(blocks, target, folds)
    found: list[tuple[float, Share]] = []
    for regression in (plain, crossed):
        for names in (["past"], ["past", "bent"]):
            base, more = regression.errors(names), regression.errors([*names, "action"])
            # A coordinate that is known to the last bit has no share to explain.
            varies = base.mean(axis=0) > _ROUNDING * np.square(rows.observation(0)).max()
            if not varies.any():
                continue
            scale = base.mean(axis=0)[varies]
            found.append((float(more.sum()), _explained(base[:, varies] / scale, more[:, varies] / scale, folds)))
    if not found:
        return Value(float("nan"), float("nan"), len(rows.rows))
    share = min(found, key=lambda pair: pair[0])[1]
    return _value(share, len(rows.rows))


def entropy(values: NDArray[np.generic], count: int | None, folds: Folds) -> Value:
    """Return the entropy in nats: of counts with Miller and Madow's correction, else of nearest neighbours.

    The nearest neighbours' is that of values with deviation 1 in each coordinate (Kozachenko and Leonenko 1987). Errors
    leave out a tenth of the episodes in turn.
    """

    def estimate(part: NDArray[np.generic]) -> float:
        return _counted(part) if count is not None else neighbour_entropy(_scaled(part))

    whole = estimate(values)
    parts = np.array([estimate(values[folds.part != part]) for part in range(FOLDS)])
    return Value(whole, float(np.sqrt((FOLDS - 1) * parts.var())), len(values))


def _counted(values: NDArray[np.generic]) -> float:
    counts = np.unique(values, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum() + (len(counts) - 1) / (2 * counts.sum()))


def _scaled(values: NDArray[np.generic]) -> NDArray[np.float64]:
    table = values.reshape(len(values), -1).astype(np.float64)
    deviation = table.std(axis=0)
    return (table / np.where(deviation > 0, deviation, 1))[:, deviation > 0]


def neighbour_entropy(values: NDArray[np.float64]) -> float:
    """Return ψ(n) − ψ(k) + log V_d + d E log r_k for k = 4; rows that recur make it −∞, returned as NaN.

    >>> draws = np.random.default_rng(0).normal(size=(4000, 1))
    >>> abs(neighbour_entropy(draws) - 0.5 * np.log(2 * np.pi * np.e)) < 0.05
    True
    """
    if not 0 < values.shape[1] <= _MOST:
        return float("nan")
    values = values[:: max(1, len(values) // _LARGEST)]
    n, size = values.shape
    if n <= _NEIGHBOURS:
        return float("nan")
    radii = cKDTree(values).query(values, k=_NEIGHBOURS + 1)[0][:, -1]
    if (radii <= 0).mean() > 0.01:
        return float("nan")
    volume = size / 2 * np.log(np.pi) - gammaln(size / 2 + 1)
    return float(digamma(n) - digamma(_NEIGHBOURS) + volume + size * np.log(np.maximum(radii, 1e-300)).mean())


def _value(share: Share, n: int) -> Value:
    return Value(share.value, share.error, n)
