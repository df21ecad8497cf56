"""The alignment check: which row's action leads from a row to the next."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.alignment import policy
from jepa_scale.data.alignment.features import Rows, chosen_rows
from jepa_scale.data.alignment.regression import FOLDS, Folds, Regression, clustered
from jepa_scale.data.alignment.verdict import SURE, Alignment, Gain, Reason, Verdict
from jepa_scale.records import Episodes

REACH = 3
"""Largest lag in rows."""
_FEWEST = 5 * FOLDS
_BESIDE = 0.05
"""Share of the best lag's gain below which another lag's gain counts as none: curvature that the regression misses."""
_LEAST = 1e-3
"""Smallest gain, and partial share, that can decide: below it a model's own errors are as large."""
_SECOND = 0.5
"""Share of the best lag's gain that the last lag needs to decide: a held force moves a place in two rows."""
_REACHED = 0.98
"""Share of its way to the target in a row from which a robot is there."""
_AROUND = 0.25
"""Share of the best lag's gain that earlier ones may have for a target to be that of the row."""
_ROUNDING = 1e-6
"""Standard deviation, relative to the largest value, below which a residual is float32's rounding."""


def alignment(episodes: Episodes, seed: int = 0) -> Alignment:
    """Ask for each lag j = −3 … 3 whether a_{t+j} adds to the prediction of x_{t+1} given x_t, x_{t−1} and other lags.

    Nested models are compared out of sample on whole episodes; standard errors are over episodes. With
    x_{t+1} = f(x_t, a_t) only the lag of the action that was taken adds, however smooth actions are: the neighbours
    of a_t say of x_{t+1} only what they say of a_t. Three things else can make a lag add:

    * a plant that answers d rows late: lag −d. Rows shifted by d the other way give the same recording, so this is
      never called a shift (``Reason.DELAYED``). For the same reason a delay that a shift makes up for is aligned.
    * a policy that answers the observation puts x_{t+1} into a_{t+1}: lag 1 adds though the rows are right. Actions of
      a policy that does not look (``exogenous``) have no such part, and whatever lag adds is a cause. For others the
      lag has to be a single one, and the action has to work against what it answers; else ``Reason.FEEDBACK``.
    * an action that is a function of the state leaves nothing to compare (``Verdict.ACTION_IS_STATE``).

    Only ``Verdict.SHIFTED`` refuses a recording.

    Parameters
    ----------
    episodes
        At most some 12 000 transitions are read, 4 000 of images, from episodes drawn at random. States take the
        observations' place where there are any.
    seed
        Of that choice and of random projections.

    Example
    -------
    >>> import numpy as np
    >>> from jepa_scale.records import ActionSpace, Episodes
    >>> generator = np.random.default_rng(0)
    >>> actions = generator.normal(size=(40, 30, 1))
    >>> places = np.cumsum(actions, axis=1) - actions + 0.1 * generator.normal(size=actions.shape)
    >>> usable = np.tile(np.arange(30) < 29, 40)
    >>> def rows(column):
    ...     return Episodes(places.reshape(-1, 1), column.reshape(-1, 1), np.full(40, 30), usable, ActionSpace())
    >>> alignment(rows(actions)).verdict.value
    'aligned'
    >>> late = alignment(rows(np.roll(actions, 1, axis=1)))
    >>> late.verdict.value, late.lag
    ('shifted', 1)
    """
    rows = _rows(episodes, seed)
    if len(rows.rows) < _FEWEST or not rows.table.shape[1]:
        return _unknown(rows, Reason.TOO_FEW)
    folds = Folds.of(rows.groups)
    state = policy.state_lag(rows, folds)
    # Where the observation holds speeds, the next one tells the target of a robot that is on its way to it.
    on_the_way = state == 1 and policy.follows_target(rows, 0, most=_REACHED)
    if state is not None and not on_the_way:
        return _unknown(rows, None, Verdict.ACTION_IS_STATE, state)
    evidence = _Evidence(rows, folds, interaction=False)
    if not evidence.sure and _affordable(rows):
        evidence = _Evidence(rows, folds, interaction=True)
    return _judged(rows, folds, evidence)


def _rows(episodes: Episodes, seed: int) -> Rows:
    """Choose rows with as many lags as episodes are long enough for."""
    for reach in range(REACH, 0, -1):
        rows = chosen_rows(episodes, seed, reach)
        if len(rows.rows) >= 4 * _FEWEST:
            break
    return rows


def _affordable(rows: Rows) -> bool:
    return len(rows.rows) >= 4 * _FEWEST


class _Evidence:
    """Gains of all lags."""

    def __init__(self, rows: Rows, folds: Folds, interaction: bool) -> None:
        self.interaction = interaction
        lags = range(-rows.reach, rows.reach + 1)
        codes = {str(lag): rows.action(lag) for lag in lags}
        if interaction:
            codes = {name: rows.crossed(code) for name, code in codes.items()}
        target = (rows.observation(1) - rows.observation(0))[:, rows.moving]
        regression = Regression({"past": rows.past(0), "bent": rows.bent(0), **codes}, target, folds)
        # In a linear world bent features only add to the errors.
        past = min((["past"], ["past", "bent"]), key=lambda names: regression.errors([*names, *codes]).sum())
        self.regression, self.names = regression, [*past, *codes]
        base = regression.errors(past)
        # In a world without noise some coordinates are known to the last bit: their rounding is not to be explained.
        known = base.mean(axis=0) <= (_ROUNDING * np.abs(rows.observation(0)).max(axis=0)[rows.moving]) ** 2
        scale = (
            np.where(known, np.inf, base.mean(axis=0)) * (~known).mean() if not known.all() else base.mean(axis=0) + 1
        )
        everything = self.regression.errors(self.names)
        self.explained = self.regression.share(base, everything, scale)
        self.gains = tuple(self._gain(lag, everything, scale) for lag in lags)

    def _gain(self, lag: int, everything: NDArray[np.float64], scale: NDArray[np.float64]) -> Gain:
        without = self.regression.errors([name for name in self.names if name != str(lag)])
        share = self.regression.share(without, everything, scale)
        left = clustered((without / scale).mean(axis=1), self.regression.folds.cluster).value
        return Gain(lag, share.value, share.error, share.value / left if left > 0 else 0.0)

    @property
    def sure(self) -> list[Gain]:
        """The lags that add, but those whose gain is small beside the best one's."""
        sure = [gain for gain in self.gains if gain.sure and min(gain.value, gain.partial) > _LEAST]
        best = max((gain.value for gain in sure), default=0.0)
        return [gain for gain in sure if gain.value > _BESIDE * best]


def _judged(rows: Rows, folds: Folds, evidence: _Evidence) -> Alignment:
    sure = evidence.sure
    if not sure:
        return _found(rows, evidence, Verdict.CANNOT_TELL, Reason.NO_EFFECT, None, None)
    last = max(sure, key=lambda gain: gain.lag)
    free = policy.exogenous(rows, folds, max(last.lag, 0))
    best = max(sure, key=lambda gain: gain.value)
    if free and last.value > _SECOND * best.value:
        return _placed(rows, evidence, last.lag, free)
    # A later action that adds as well says that rows are ahead by a part of one.
    alone = last.lag == 0 and all(gain is best or gain.value < _AROUND * best.value for gain in sure)
    # Robots with inertia and filters answer over some rows, most to the target of this one.
    if len(sure) > 1 and best.lag == 0 and alone and policy.follows_target(rows, 0):
        return _placed(rows, evidence, 0, free)
    if len(sure) > 1:
        reason = Reason.SEVERAL_LAGS if last.lag <= 0 else Reason.FEEDBACK
        return _found(rows, evidence, Verdict.CANNOT_TELL, reason, None, free)
    if last.lag < 0 or policy.follows_target(rows, last.lag):
        answers = last.lag > 0 and not policy.depends_on_both(rows, folds, last.lag)
    elif evidence.interaction:
        # An effect that depends on the place has no sign.
        answers = True
    else:
        loop = policy.loop(rows, folds, evidence.regression, evidence.names, str(last.lag), last.lag)
        answers = loop.reversed if last.lag == 0 else not loop.stabilising
    if answers:
        return _found(rows, evidence, Verdict.CANNOT_TELL, Reason.FEEDBACK, None, free)
    return _placed(rows, evidence, last.lag, free)


def _placed(rows: Rows, evidence: _Evidence, lag: int, free: bool) -> Alignment:
    if lag == 0:
        return _found(rows, evidence, Verdict.ALIGNED, None, 0, free)
    if lag > 0:
        return _found(rows, evidence, Verdict.SHIFTED, None, lag, free)
    return _found(rows, evidence, Verdict.CANNOT_TELL, Reason.DELAYED, lag, free)


def _found(
    rows: Rows, evidence: _Evidence, verdict: Verdict, reason: Reason | None, lag: int | None, free: bool | None
) -> Alignment:
    explained = evidence.explained
    return Alignment(
        verdict, reason, lag, evidence.gains, explained.value, explained.error, len(rows.rows),
        len(np.unique(rows.groups)), evidence.interaction, free,
    )  # fmt: skip


def _unknown(
    rows: Rows, reason: Reason | None, verdict: Verdict = Verdict.CANNOT_TELL, lag: int | None = None
) -> Alignment:
    nothing = float("nan")
    return Alignment(
        verdict, reason, lag, (), nothing, nothing, len(rows.rows), len(np.unique(rows.groups)), False, None
    )


__all__ = ["REACH", "SURE", "alignment"]
