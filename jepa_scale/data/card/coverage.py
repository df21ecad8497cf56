"""How far a recording reaches: states that recur, entropy, and what more of the same recording would add."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from jepa_scale.data.alignment.features import Rows
from jepa_scale.data.alignment.regression import FOLDS, Folds, clustered
from jepa_scale.data.card.policy import neighbour_entropy
from jepa_scale.data.card.record import Coverage, CurvePoint, Sample, Value

RESOLUTION = 0.25
_PAIRED = 2000
"""Rows that are paired."""
_PRINCIPAL = 8
"""Largest number of principal coordinates of which the entropy is estimated."""
_VARIANCE = 0.95
"""Share of the variance that they hold, if that many are enough."""
_LADDER = 6
_HELD = 0.2
"""Share of the episodes that the curve is measured on."""
_RIDGE = 1e-4


def coverage_of(rows: Rows, folds: Folds) -> Coverage:
    """Estimate coverage on coordinates with deviation 1; distances are root mean squares over coordinates."""
    current = rows.observation(0)
    states, bounded = _states(current, rows.groups)
    leading = _principal(current)
    parts = np.array([neighbour_entropy(leading[folds.part != part]) for part in range(FOLDS)])
    entropy = Value(neighbour_entropy(leading), float(np.sqrt((FOLDS - 1) * parts.var())), len(leading))
    return Coverage(RESOLUTION, states, bounded, entropy, leading.shape[1], _curve(rows))


def _states(values: NDArray[np.float64], groups: NDArray[np.int64]) -> tuple[Value, bool]:
    """Return 1 / P(two rows of different episodes lie within the resolution), and whether none did."""
    step = max(1, len(values) // _PAIRED)
    values, groups = values[::step], groups[::step]
    episodes, place = np.unique(groups, return_inverse=True)
    if len(episodes) < 2:
        return Value(float("nan"), float("nan"), 0), False
    tree = cKDTree(values)
    pairs = tree.query_pairs(RESOLUTION * np.sqrt(values.shape[1]), output_type="ndarray")
    first, second = place[pairs[:, 0]], place[pairs[:, 1]]
    apart = first != second
    met = np.zeros((len(episodes), len(episodes)))
    np.add.at(met, (first[apart], second[apart]), 1)
    met = met + met.T
    counts = np.bincount(place).astype(np.float64)
    possible = np.outer(counts, counts)
    np.fill_diagonal(possible, 0)
    total, met_total = possible.sum() / 2, met.sum() / 2
    if met_total == 0:
        return Value(float(total), float("nan"), int(total)), True
    rest_met, rest = met_total - met.sum(axis=1), total - possible.sum(axis=1)
    # The jackknife of the logarithm: the ratio itself is skewed.
    left = np.log(np.maximum(rest, 1)) - np.log(np.maximum(rest_met, 0.5))
    spread = float(np.sqrt((len(left) - 1) * left.var()))
    value = float(total / met_total)
    return Value(value, value * spread, int(total), positive=True), False


def _principal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = values - values.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    shares = np.cumsum(sizes**2) / max((sizes**2).sum(), 1e-300)
    count = min(_PRINCIPAL, int(np.searchsorted(shares, _VARIANCE)) + 1, int((sizes > 1e-9 * sizes[0]).sum()))
    turned = centred @ axes[:count].T
    return turned / turned.std(axis=0)


def _curve(rows: Rows) -> tuple[CurvePoint, ...]:
    """Measure held-out episodes against the first n rows, n doubling up to all others, by whole episodes."""
    groups = rows.groups
    order = list(dict.fromkeys(groups.tolist()))
    held = set(order[: max(1, round(_HELD * len(order)))])
    if len(order) < 10:
        return ()
    test = np.isin(groups, list(held))
    training = [np.flatnonzero(groups == episode) for episode in order if episode not in held]
    current = rows.observation(0)
    step = (rows.observation(1) - rows.observation(0))[:, rows.moving]
    design = np.concatenate([np.ones((len(groups), 1)), rows.past(0), rows.bent(0), rows.action(0)], axis=1)
    held_clusters = np.unique(groups[test], return_inverse=True)[1]
    counts = np.unique(np.maximum(2, np.round(len(training) / 2.0 ** np.arange(_LADDER - 1, -1, -1)).astype(int)))
    points = []
    for count in counts:
        chosen = np.concatenate(training[:count])
        near = cKDTree(current[chosen]).query(current[test])[0] / np.sqrt(current.shape[1])
        distance = clustered(near, held_clusters)
        errors = _left(design, step, chosen, test)
        rest = clustered(errors, held_clusters)
        values = np.linalg.eigvalsh(np.cov(current[chosen].T).reshape(current.shape[1], -1))
        spread = float(values.sum() ** 2 / max((values**2).sum(), 1e-300))
        distance_at, left_at = (Value(found.value, found.error, int(test.sum())) for found in (distance, rest))
        points.append(CurvePoint(len(chosen), int(count), distance_at, left_at, spread))
    return tuple(points)


def _left(
    design: NDArray[np.float64], step: NDArray[np.float64], chosen: NDArray[np.int64], test: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the squared errors (n_test,) relative to the variance of held-out steps, mean over coordinates."""
    table = design[chosen]
    size = np.sqrt((table**2).mean(axis=0))
    size[size == 0] = 1
    left = (table / size).T @ (table / size)
    # As many regressors as rows shrink the fit by half.
    penalty = max(_RIDGE * len(table), min(table.shape[1] / 10, len(table) / 10))
    weights = np.linalg.solve(left + penalty * np.eye(len(left)), (table / size).T @ step[chosen])
    errors = np.square(step[test] - (design[test] / size) @ weights)
    return (errors / np.maximum(step[test].var(axis=0), 1e-300)).mean(axis=1)


def sample_of(rows: Rows) -> Sample:
    """Compare the error of means over episodes with that of independent rows: n_eff = n Var_iid / Var_clustered.

    Variances of means are those of the observations' coordinates, averaged. With G episodes the ratio is uncertain by a
    share of √(2 / (G − 1)).
    """
    n = len(rows.rows)
    current = rows.observation(0)
    _, cluster = np.unique(rows.groups, return_inverse=True)
    episodes = int(cluster.max()) + 1
    if episodes < 2:
        return Sample(n, Value(float("nan"), float("nan"), n))
    errors = np.array([clustered(column, cluster).error for column in current.T])
    independent = current.var(axis=0) / n
    effective = float(np.clip(n * independent.sum() / max((errors**2).sum(), 1e-300), 1, n))
    return Sample(n, Value(effective, effective * float(np.sqrt(2 / (episodes - 1))), n, positive=True))
