"""What makes a spectrum mean something else: collapse, clocks, names of trajectories, shifted or idle actions."""

from __future__ import annotations

import numpy as np

from jepa_scale.auditing.sampled import Sample
from jepa_scale.estimators.energy import joined, room, total_energy
from jepa_scale.estimators.jackknife import Jackknifed
from jepa_scale.estimators.moments import GROUPS
from jepa_scale.records.findings import Finding

_ROUNDING = 1e-5
"""Deviation over root mean square below which a latent is collapsed: float32 resolves 10⁻⁷."""
_CLOCK = 0.98
_CONSTANT = 1e-3
"""Share of a direction's variance that lies within trajectories, below which it is a name."""
_MOST = 128
"""Most directions that are looked at for shifted actions."""
_CLEAR = 0.02
"""Share of the energy that an action adds for certain, or does not add for certain."""


def notes_of(sample: Sample, level: float) -> tuple[Finding, ...]:
    """Return everything that is found."""
    collapsed = _collapsed(sample)
    if collapsed or len(np.unique(sample.trajectories % GROUPS)) < 2 or sample.left.rows.shape[1] == 0:
        return tuple(collapsed)
    return (*_clock(sample), *_constants(sample), *_actions(sample, level))


def _collapsed(sample: Sample) -> list[Finding]:
    found = []
    for name, values in {"z": sample.z, "z_next": sample.following}.items():
        mean = values.mean(0, dtype=np.float64)
        deviation = np.sqrt(((values - mean) ** 2).mean())
        size = float(np.sqrt((mean**2).mean()))
        if deviation <= _ROUNDING * size:
            found.append(Finding("collapsed", name, {"ratio": float(deviation / max(size, 1e-300))}))
    return found


def _clock(sample: Sample) -> list[Finding]:
    time = sample.time.astype(np.float32)
    latents = sample.left.rows
    if time.max(initial=0) < 4 or latents.shape[1] + 1 > room(len(time)):
        return []
    known = float(total_energy(latents, _standard(time[:, None]), sample.trajectories, sample.weights).value)
    return [Finding("time_index", "z", {"r2": min(known, 1.0)})] if known > _CLOCK else []


def _constants(sample: Sample) -> list[Finding]:
    """Directions whose variance lies between trajectories; ``left`` has variance 1 in all of them."""
    _, place, counts = np.unique(sample.trajectories, return_inverse=True, return_counts=True)
    latents = sample.left.rows.astype(np.float64)
    # Two rows for each trajectory and direction, or chance alone leaves some without variance.
    if len(counts) < 2 or len(latents) < 2 * len(counts) + 2 * latents.shape[1]:
        return []
    sums = np.zeros((len(counts), latents.shape[1]))
    np.add.at(sums, place, latents)
    within = latents - (sums / counts[:, None])[place]
    shares = np.linalg.eigvalsh(within.T @ within / (len(latents) - len(counts)))
    count = int((shares < _CONSTANT).sum())
    return [Finding("trajectory_constants", "z", {"count": count})] if count else []


def _actions(sample: Sample, level: float) -> list[Finding]:
    """Compare what the actions of the rows before, of the row and after it add to z and the z before."""
    acting, before = sample.acting, sample.before
    if acting.shape[1] == 0:
        return []
    after = np.full(len(before), -1)
    rows = np.flatnonzero(before >= 0)
    after[before[rows]] = rows
    kept = (before >= 0) & (after >= 0)
    latents, right = sample.left.rows[:, :_MOST], sample.right.rows[:, :_MOST]
    shifted = {-1: acting[before], 0: acting, 1: acting[after]}
    size = 2 * latents.shape[1] + 3 * acting.shape[1] + right.shape[1]
    if size > room(int(kept.sum())):
        return []
    base = np.hstack([latents, latents[before]])[kept]
    groups = sample.trajectories[kept]
    weights = None if sample.weights is None else sample.weights[kept]

    def seen(lags: tuple[int, ...]) -> Jackknifed:
        left = joined(base, *(shifted[lag][kept] for lag in lags))
        return total_energy(left, right[kept], groups, weights)

    whole = seen((-1, 0, 1))
    gains = {}
    for lag in shifted:
        rest = seen(tuple(other for other in shifted if other != lag))
        gains[lag] = _difference(whole, rest, level)
    total = max(float(whole.value), 1e-12)
    if gains[0][2] < _CLEAR * total:
        for lag, side in ((1, "late"), (-1, "early")):
            if gains[lag][1] > _CLEAR * total:
                where = "after" if lag > 0 else "before"
                return [Finding("actions_shifted", where, {"rows": 1, "side": side})]
    if gains[0][2] < 0.5 * _CLEAR * total and gains[0][1] <= 0:
        return [Finding("actions_unused", values=dict(zip(("gain", "low", "high"), gains[0], strict=True)))]
    return []


def _difference(more: Jackknifed, less: Jackknifed, level: float) -> tuple[float, float, float]:
    gain = more.minus(less)
    low, high = gain.interval(level)
    return float(gain.value), float(low), float(high)


def _standard(values: np.ndarray) -> np.ndarray:
    return np.asarray((values - values.mean(0)) / np.maximum(values.std(0), 1e-12), dtype=np.float32)
