"""Ridge regression that is fitted on some episodes and judged on others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOLDS = 10
_PENALTIES = (1e-9, 1e-4, 1e-2)
"""Ridge as a share of the rows for regressors of variance 1; the one that predicts best out of sample is used.

The smallest one resolves what a leader's tremor of a thousandth of its way tells; the largest one is for few rows."""


@dataclass(frozen=True)
class Folds:
    """Parts of the rows: whole episodes, or stretches of rows if there are fewer episodes than parts."""

    part: NDArray[np.int64]
    """(n,) part of each row."""
    cluster: NDArray[np.int64]
    """(n,) cluster of each row for standard errors: episodes, or the parts."""

    @classmethod
    def of(cls, groups: NDArray[np.int64]) -> Folds:
        """Cut rows with the episode of each into parts."""
        values, order = np.unique(groups, return_inverse=True)
        if len(values) < FOLDS:
            part = np.arange(len(groups)) * FOLDS // len(groups)
            return cls(part, part)
        return cls(order % FOLDS, order)


@dataclass(frozen=True)
class Share:
    """A share of variance with the standard error over clusters."""

    value: float
    error: float


class Regression:
    """Ridge regression of one target on subsets of one design matrix, whose moments are computed once.

    Parameters
    ----------
    blocks
        Regressors by name, each (n, d).
    target
        (n, D).
    folds
        Parts of the rows.
    """

    def __init__(self, blocks: dict[str, NDArray[np.float64]], target: NDArray[np.float64], folds: Folds) -> None:
        self.folds, self.target = folds, target
        ends = np.cumsum([1, *(block.shape[1] for block in blocks.values())])
        self._place = {
            name: np.arange(start, stop) for name, start, stop in zip(blocks, ends[:-1], ends[1:], strict=True)
        }
        self._design = np.concatenate([np.ones((len(target), 1)), *blocks.values()], axis=1)
        self._moments = []
        for part in range(FOLDS):
            mine = folds.part == part
            table = self._design[mine]
            self._moments.append((table.T @ table, table.T @ target[mine]))
        self._left = sum(left for left, _ in self._moments)
        self._right = sum(right for _, right in self._moments)
        self.penalty = min(_PENALTIES, key=lambda size: self._errors(list(blocks), size).sum())

    def errors(self, names: list[str]) -> NDArray[np.float64]:
        """Return squared errors out of sample (n, D) with the blocks ``names`` and a constant."""
        return self._errors(names, self.penalty)

    def coefficients(self, names: list[str], wanted: str) -> NDArray[np.float64]:
        """Return the coefficients (folds, d, D) of the block ``wanted`` among ``names``, with each part left out."""
        used = self._columns(names)
        rows = np.searchsorted(used, self._place[wanted])
        return np.stack([self._weights(used, part, self.penalty)[rows] for part in range(FOLDS)])

    def share(self, fewer: NDArray[np.float64], more: NDArray[np.float64], scale: NDArray[np.float64]) -> Share:
        """Return by how much ``more`` lowers the errors of ``fewer``, in units of ``scale`` (D,), mean over D."""
        return clustered(((fewer - more) / scale).mean(axis=1), self.folds.cluster)

    def _columns(self, names: list[str]) -> NDArray[np.int64]:
        return np.concatenate([[0], *(self._place[name] for name in names)]).astype(np.int64)

    def _weights(self, used: NDArray[np.int64], part: int, penalty: float) -> NDArray[np.float64]:
        left = (self._left - self._moments[part][0])[np.ix_(used, used)]
        right = (self._right - self._moments[part][1])[used]
        size = np.sqrt(np.maximum(np.diag(left), 1e-300))
        return (
            np.linalg.solve(left / size / size[:, None] + penalty * np.eye(len(left)), right / size[:, None])
            / (size[:, None])
        )

    def _errors(self, names: list[str], penalty: float) -> NDArray[np.float64]:
        used = self._columns(names)
        errors = np.empty_like(self.target)
        for part in range(FOLDS):
            mine = self.folds.part == part
            errors[mine] = self.target[mine] - self._design[np.ix_(mine, used)] @ self._weights(used, part, penalty)
        return errors**2


def clustered(values: NDArray[np.float64], cluster: NDArray[np.int64]) -> Share:
    """Return the mean of values (n,) with a standard error that takes clusters, not rows, for independent."""
    count = np.bincount(cluster)
    mean = float(values.mean())
    rest = np.bincount(cluster, values) - mean * count
    used = int((count > 0).sum())
    return Share(mean, float(np.sqrt((rest**2).sum() * used / max(1, used - 1)) / len(values)))


def ratio(part: NDArray[np.float64], whole: NDArray[np.float64], cluster: NDArray[np.int64]) -> Share:
    """Return Σ part / Σ whole (n,) with the clustered error of a ratio: whatever moves both moves it little.

    >>> whole = np.random.default_rng(0).exponential(size=400)
    >>> share = ratio(0.9 * whole, whole, np.arange(400) // 10)
    >>> round(share.value, 6), round(share.error, 6)
    (0.9, 0.0)
    """
    value = float(part.sum() / whole.sum())
    return Share(value, clustered(part - value * whole, cluster).error / float(whole.mean()))
