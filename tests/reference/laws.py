"""Laws of R(k, n) the slow way: formulas written out, one scalar problem at a time, global search."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import differential_evolution, least_squares, nnls

from jepa_scale.records import RunTable

WIDTHS = (2, 4, 8, 16, 32, 64)
SAMPLES = (300, 1000, 3000, 10000, 30000)
TAILS = dict(zip(WIDTHS, (9.256, 7.922, 5.765, 2.409, 0.0, 0.0), strict=True))

OBSERVED_REGRET = {
    300: (0.430, 0.41, 0.391, 0.354, 0.358, 0.376),
    1000: (0.389, 0.30, 0.233, 0.170, 0.173, 0.244),
    3000: (0.360, 0.172, 0.076, 0.029, 0.032, 0.063),
    10000: (0.353, 0.147, 0.009, 0.0, 0.0, 0.0),
    30000: (0.353, 0.130, 0.002, 0.0, 0.0, 0.0),
}
OBSERVED_RISK = {
    300: (10.2, 12.0, 14.1, 18.9, 33.0, 82.7),
    1000: (9.8, 9.0, 9.6, 11.5, 23.3, 42.2),
    3000: (9.45, 8.34, 6.87, 5.04, 4.76, 7.69),
    10000: (9.39, 8.19, 6.18, 3.15, 0.54, 0.63),
    30000: (9.385, 8.14, 6.09, 2.95, 0.121, 0.130),
}


def generic(theta, k, n, tail):
    """E + A k^−α + B n^−β, θ = (E, A, B, α, β)."""
    floor, a, b, alpha, beta = theta
    return floor + a * k**-alpha + b * n**-beta


def theory_risk(theta, k, n, tail):
    """A tail + B k^p n^−q, θ = (A, B, p, q)."""
    a, b, p, q = theta
    return a * tail + b * k**p * n**-q


def theory_regret(theta, k, n, tail):
    """√(A tail + B k^p n^−q)."""
    return np.sqrt(theory_risk(theta, k, n, tail))


def make_table(
    truth: Callable[[float, float, float], float],
    *,
    target: str = "risk",
    seeds: int = 3,
    widths=WIDTHS,
    samples=SAMPLES,
    tails=TAILS,
    noise: tuple[float, float] = (0.0, 0.0),
    generator: np.random.Generator | None = None,
    regret_random: float = 1.0,
) -> RunTable:
    """Runs on a full grid: truth(k, n, tail) plus normal noise of sd √(s0² + (c R)²); both targets hold the same."""
    rows = []
    for n in samples:
        for k in widths:
            for seed in range(seeds):
                value = truth(float(k), float(n), tails[k])
                if generator is not None:
                    value += np.hypot(noise[0], noise[1] * value) * generator.standard_normal()
                rows.append((k, n, seed, value, tails[k]))
    k, n, seed, value, tail = (np.array(column) for column in zip(*rows, strict=True))
    other = "regret" if target == "risk" else "risk"
    return RunTable(
        {
            "run_id": np.array([f"{i:04d}" for i in range(len(rows))], dtype=object),
            "status": np.array(["finished"] * len(rows), dtype=object),
            "reason": np.array([""] * len(rows), dtype=object),
            "k": k,
            "n": n,
            "seed": seed,
            target: value,
            other: np.full(len(rows), np.nan),
            "tail": tail,
            "regret_random": np.full(len(rows), regret_random),
        }
    )


def observed_table(target: str, generator: np.random.Generator, seeds: int = 3) -> RunTable:
    """Return a table as a sweep over (k, n) of a finite world gives it: zeros, saturation, tail 0 from k = 32 on."""
    rows = OBSERVED_REGRET if target == "regret" else OBSERVED_RISK

    def truth(k, n, tail):
        mean = rows[int(n)][WIDTHS.index(int(k))]
        return max(mean + (0.03 * mean + 0.002) * generator.standard_normal(), 0.0) if mean else 0.0

    return make_table(truth, target=target, seeds=seeds, regret_random=0.44)


def with_column(table: RunTable, name: str, values) -> RunTable:
    """Return a table with one column replaced."""
    return RunTable({**table.columns, name: np.asarray(values)})


def global_minimum(predict, shape_bounds, terms, power, weights, y, seed=0) -> float:
    """Smallest Σ w (R − y)² by differential evolution over the shapes, then a bounded trust-region polish of all.

    For given shapes and power 1 the coefficients come from scipy's nnls; for power 1/2 they are searched too, with
    R² within [0, 4 max y²] bounding each term at every cell.

    ``predict(coefficients, shapes)`` returns R at the cells with each basis function scaled to maximum 1.
    """
    root = np.sqrt(weights)

    def residual(theta):
        return root * (predict(theta[:terms], theta[terms:]) - y)

    if power == 1.0:

        def coefficients(shapes):
            columns = np.stack([predict(unit, shapes) for unit in np.eye(terms)], axis=1)
            return nnls(root[:, None] * columns, root * y)

        found = differential_evolution(
            lambda shapes: coefficients(shapes)[1] ** 2, shape_bounds, seed=seed, tol=1e-12, maxiter=300, polish=False
        )
        start = np.concatenate([coefficients(found.x)[0], found.x])
    else:
        bounds = [(0.0, 4 * y.max() ** 2)] * terms + list(shape_bounds)
        found = differential_evolution(
            lambda theta: (residual(theta) ** 2).sum(), bounds, seed=seed, tol=1e-12, maxiter=600, polish=False
        )
        start = found.x
    low = np.array([0.0] * terms + [bound[0] for bound in shape_bounds])
    high = np.array([np.inf] * terms + [bound[1] for bound in shape_bounds])
    inside = np.clip(start, low + 1e-12, high - 1e-12)
    polished = least_squares(residual, inside, bounds=(low, high), x_scale="jac", xtol=1e-15, ftol=1e-15, gtol=1e-15)
    return float(min(2 * polished.cost, (residual(start) ** 2).sum()))
