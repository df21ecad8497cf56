"""What the policy of a recording reads: nothing, the observation, or a target that the observation approaches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.alignment.features import Rows
from jepa_scale.data.alignment.regression import FOLDS, Folds, Regression
from jepa_scale.data.alignment.verdict import SURE

_IS_STATE = 1e-3
"""Largest share of an action's step that a function of the state may leave for the action to be that state: 3 %."""
_UNSEEN = 0.02
"""Share of an action's fresh part that past observations may explain before it counts as feedback."""
_FRESH = 0.95
"""Share of an action that neither its past nor past observations explain, from which it counts as drawn afresh."""
_EXACT = 1e-6
"""The same share below which nothing of the action is its own."""


def state_lag(rows: Rows, folds: Folds) -> int | None:
    """Return k where a_t is a linear function of x_{t + k}, up to a constant of each episode; None if there is none.

    The residual is compared with the action's step a_t − a_{t−1}: a position-controlled arm that covers nine tenths of
    its way in a row leaves 1 % of it, a recorder that writes the state itself nothing.
    """
    if rows.episodes.action_space.discrete:
        return None
    action = _within(rows.action(0), rows.groups)
    step = (rows.action(0) - rows.action(-1)).var(axis=0)
    moving = step > 1e-12
    if not moving.any():
        return None
    left = {}
    for k in (-1, 0, 1, 2):
        regression = Regression({"x": _within(rows.observation(k), rows.groups)}, action, folds)
        left[k] = float((regression.errors(["x"]).mean(axis=0)[moving] / step[moving]).mean())
    best = min(left, key=lambda k: left[k])
    return best if left[best] < _IS_STATE else None


def exogenous(rows: Rows, folds: Folds, lag: int) -> bool:
    """Return whether actions seem to be chosen without a view to the observations, if a_{t + lag} is taken at x_t.

    That is: what they do not owe to their own past, x_t and x_{t−1} do not explain either. Where their past and x_{t+1}
    determine them, they may be a function of x_{t+1} in disguise, and do not count.
    """
    action = rows.action(0)
    action = action[:, action.var(axis=0) > 1e-12]
    if not action.shape[1]:
        return False
    own = np.concatenate([rows.action(-back) for back in range(1, rows.reach + 1)], axis=1)
    blocks = {"own": own, "seen": rows.past(-lag), "bent": rows.bent(-lag), "next": rows.observation(1 - lag)}
    regression = Regression(blocks, action, folds)
    alone = regression.errors(["own"])
    for seen in (["own", "seen"], ["own", "seen", "bent"]):
        both = regression.errors(seen)
        feedback = regression.share(alone, both, alone.mean(axis=0))
        if feedback.value > max(_UNSEEN, SURE * feedback.error):
            return False
    # The smaller model is better where observations say nothing.
    left = np.minimum(alone.mean(axis=0), both.mean(axis=0))
    unexplained = float((left / action.var(axis=0)).mean())
    if unexplained > _FRESH:
        return True
    if unexplained < _EXACT:
        return False
    return float((regression.errors(list(blocks)).mean(axis=0) / left).mean()) > _UNSEEN


def follows_target(rows: Rows, lag: int, most: float = 1.3) -> bool:
    """Return whether a_{t + lag} is a place that the state approaches: x⁺ = x + κ (a − x), coordinate by coordinate.

    ``most`` is the largest κ; one above 1 overshoots.
    """
    if rows.episodes.action_space.discrete:
        return False
    values = rows.episodes.observations if rows.episodes.states is None else rows.episodes.states
    if values.dtype == np.uint8 or values.ndim != 2 or values.shape[1] > 512:
        return False
    actions = rows.episodes.actions[rows.rows + lag].astype(np.float64)
    current, following = (np.asarray(values[rows.rows + step], dtype=np.float64) for step in (0, 1))
    fitting, judged = 0, 0
    for action in actions.T:
        if action.std() < 1e-12:
            continue
        judged += 1
        with np.errstate(invalid="ignore", divide="ignore"):
            slopes = [np.cov(column, action)[0, 1] / action.var() for column in current.T]
            likeness = np.nan_to_num([np.corrcoef(column, action)[0, 1] for column in current.T])
        place = int(np.argmax(likeness))
        if likeness[place] < 0.8 or not 0.7 < slopes[place] < 1.4:
            continue
        design = np.column_stack([current[:, place], action, np.ones(len(action))])
        keep, pull, _ = np.linalg.lstsq(design, following[:, place], rcond=None)[0]
        fitting += 0.02 < pull < most and abs(keep + pull - 1) < 0.05
    return judged > 0 and fitting >= 0.75 * judged


@dataclass(frozen=True)
class Loop:
    """Effect of the action times what the policy reads: tr(B C), with the standard error of a jackknife over parts."""

    value: float
    error: float

    @property
    def stabilising(self) -> bool:
        """Whether the action works against what it answers, as a controller's does."""
        return self.value < -SURE / 2 * self.error

    @property
    def reversed(self) -> bool:
        """Whether the action would amplify what it answers: cause and effect may be mixed up."""
        return self.value > SURE / 2 * self.error


def loop(rows: Rows, folds: Folds, effect: Regression, names: list[str], wanted: str, lag: int) -> Loop:
    """Return tr(B C) for the reading that a_{t + lag} is taken at x_t.

    B are the coefficients of a_{t + lag} for x_{t+1}, C those of x_t for a_{t + lag}, within episodes. If an action is
    a stabilising answer to x_{t+1} in truth, both have its sign and the product is positive.
    """
    action = rows.action(lag)
    push = effect.coefficients(names, wanted)[:, : action.shape[1]]
    current = _within(rows.observation(0), rows.groups)
    change = rows.observation(0) - rows.observation(-1)
    reading = Regression({"x": current, "v": change}, _within(action, rows.groups), folds).coefficients(["x", "v"], "x")
    moving = np.flatnonzero(rows.moving)
    traces = np.einsum("fad,fda->f", push, reading[:, moving][:, : push.shape[2]])
    return Loop(float(traces.mean()), float(np.sqrt((FOLDS - 1) * traces.var())))


def depends_on_both(rows: Rows, folds: Folds, lag: int) -> bool:
    """Return whether a_{t + lag} depends on x_t given x_{t+1}: a cause of the step does, an answer to x_{t+1} not."""
    blocks = {"next": rows.observation(1), "own": rows.action(lag - 1), "now": rows.observation(0)}
    regression = Regression(blocks, rows.action(lag), folds)
    without = regression.errors(["next", "own"])
    found = regression.share(without, regression.errors(list(blocks)), without.mean(axis=0))
    return found.value > max(0.2, SURE * found.error)


def _within(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return values (n, d) less the mean of their episode."""
    _, place, count = np.unique(groups, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(place, column) / count for column in values.T], axis=1)
    return values - means[place]
