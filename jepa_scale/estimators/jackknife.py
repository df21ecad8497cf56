"""Delete-a-group jackknife: a bias-corrected value and a standard error for any smooth statistic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import t as student

from jepa_scale.shapes import Float64


@dataclass(frozen=True)
class Jackknifed:
    """A statistic θ of the whole sample and θ_(−g) without each group, for groups of unequal size.

    Trajectories, not transitions, are independent, so the groups must be made of whole trajectories. With h_g = n/n_g,
    the form of Busing, Meijer and van der Leeden (1999), which for equal groups is the usual one.
    """

    whole: Float64[np.ndarray, "*shape"]
    """θ, biased upwards for singular values and their squares."""
    left_out: Float64[np.ndarray, "G ..."]
    """One row for each group, θ itself where that has no weight; none where fewer than two have."""
    shares: Float64[np.ndarray, " G"]
    """n_g/n, each group's share of the weight."""

    @classmethod
    def of(cls, values: np.ndarray, weights: np.ndarray) -> Jackknifed:
        """Return the jackknife of a statistic of ``with_left_out`` sums; ``weights`` (G,) are the groups' own."""
        shares = weights / weights.sum() if len(values) > 1 else weights[:0]
        return cls(np.asarray(values[0]), values[1:], shares)

    @cached_property
    def groups(self) -> int:
        """Groups that have any weight, if there are several."""
        return int((self.shares > 0).sum())

    @cached_property
    def value(self) -> Float64[np.ndarray, "*shape"] | np.float64:
        """θ_J = G θ − Σ_g (1 − n_g/n) θ_(−g); θ itself with fewer than two groups. A group without weight adds none."""
        if self.groups < 2:
            return self.whole[()]
        rest = (1 - self.shares) @ self.left_out.reshape(len(self.left_out), -1)
        return (len(self.left_out) * self.whole - rest.reshape(self.whole.shape))[()]

    @cached_property
    def standard_error(self) -> Float64[np.ndarray, "*shape"] | np.float64:
        """√(1/G Σ_g (h_g θ − (h_g − 1) θ_(−g) − θ_J)²/(h_g − 1)); NaN with fewer than two groups."""
        if self.groups < 2:
            return np.full(self.whole.shape, np.nan)[()]
        return np.sqrt((self.deviations**2).mean(0))

    @cached_property
    def deviations(self) -> Float64[np.ndarray, "G ..."]:
        """(h_g θ − (h_g − 1) θ_(−g) − θ_J)/√(h_g − 1), one row for each group with weight.

        Linear in θ: the error of a difference of two coordinates is the root mean square of their rows' difference.
        """
        weighty = self.shares > 0
        sizes = (1 / self.shares[weighty]).reshape(-1, *[1] * self.whole.ndim)
        pseudo = sizes * self.whole - (sizes - 1) * self.left_out[weighty]
        return (pseudo - self.value) / np.sqrt(sizes - 1)

    def interval(self, level: float = 0.95) -> Float64[np.ndarray, "ends ..."]:
        """θ_J ∓ t_{(1+level)/2, G−1} SE, both ends on the first axis.

        On Markov data with a static context per trajectory, 0.95 covered 0.93–0.97 of totals, and 0.84–0.97 of single
        singular values at k/n ≤ 0.012. Single values that are *equal* repel each other in a sample, and their intervals
        are then far too short: with eight equal ones at k/n = 0.004 they covered 0.54–0.79, their total 0.92.
        """
        if self.groups < 2:
            return np.full((2, *self.whole.shape), np.nan)
        half = student.ppf((1 + level) / 2, self.groups - 1) * self.standard_error
        return np.stack([self.value - half, self.value + half])

    def minus(self, other: Jackknifed) -> Jackknifed:
        """Return the difference from a statistic of the same groups, whose errors partly cancel."""
        return Jackknifed(np.asarray(self.whole - other.whole), self.left_out - other.left_out, self.shares)

    def over(self, other: Jackknifed) -> Jackknifed:
        """Return the ratio to a () statistic of the same groups."""
        below = other.left_out.reshape(-1, *[1] * self.whole.ndim)
        return Jackknifed(np.asarray(self.whole / other.whole), self.left_out / below, self.shares)

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Jackknifed:
        """Return the jackknife of a function of θ; the function must act on trailing axes."""
        return Jackknifed(np.asarray(function(self.whole)), np.asarray(function(self.left_out)), self.shares)


def with_left_out(
    parts: Float64[np.ndarray, "G ..."], weights: Float64[np.ndarray, " G"]
) -> Float64[np.ndarray, "rows ..."]:
    """Return the sum over groups, then the sums without each; the sum alone where fewer than two have any weight."""
    whole = parts.sum(0)
    if (weights > 0).sum() < 2:
        return whole[None]
    rows = np.empty((len(parts) + 1, *whole.shape), whole.dtype)
    rows[0] = whole
    np.subtract(whole, parts, out=rows[1:])
    return rows


def average(estimates: Sequence[Jackknifed], weights: Sequence[float] | None = None) -> Jackknifed:
    """Weighted mean of statistics of the same groups, for example over actions; no error where one has none."""
    share = np.ones(len(estimates)) if weights is None else np.asarray(weights, dtype=float)
    share = share / share.sum()
    if any(one.groups < 2 for one in estimates):
        estimates = [Jackknifed(np.asarray(one.value), one.left_out[:0], one.shares[:0]) for one in estimates]
    return Jackknifed(
        np.asarray(sum(w * one.whole for w, one in zip(share, estimates, strict=True))),
        np.asarray(sum(w * one.left_out for w, one in zip(share, estimates, strict=True))),
        np.asarray(sum(w * one.shares for w, one in zip(share, estimates, strict=True))),
    )
