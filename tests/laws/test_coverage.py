"""Simulations: what intervals cover, which law is chosen, when the theory gets no verdict. Slow; printed with -s."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from jepa_scale.laws.bootstrap import cluster_pairs, wild_cluster
from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.compare import compare, information
from jepa_scale.laws.fit import fit, fit_table, solve
from jepa_scale.laws.law import Law
from jepa_scale.laws.losses import HuberLog
from jepa_scale.laws.problem import Problem
from jepa_scale.laws.rows import Rows
from jepa_scale.laws.table import backtest_table, default_scale, forecast_table
from jepa_scale.runs.instantiate import build_law
from tests.laws.test_published import DATA, gemstones, kyo_takano
from tests.reference import laws as reference

pytestmark = pytest.mark.slow

GENERIC = Law("generic", "R = E + A k^-alpha + B n^-beta")
TRUTH = np.array([0.05, 1.0, 20.0, 0.7, 0.5])


def grid(widths, samples, seeds, generator, shared, own):
    """Return one data set: every cell has an error that its seeds share, every seed one of its own."""
    k, n, _ = (axis.ravel() for axis in np.meshgrid(widths, samples, range(seeds), indexing="ij"))
    columns = {"k": k.astype(float), "n": n.astype(float)}
    cell = np.repeat(generator.standard_normal(len(widths) * len(samples)), seeds)
    error = shared * cell + own * generator.standard_normal(len(k))
    return {**columns, "R": GENERIC.predict(TRUTH, columns) * np.exp(error)}


@pytest.mark.parametrize("draw", [cluster_pairs, wild_cluster], ids=["cluster pairs", "wild cluster"])
def test_intervals_of_an_extrapolated_mean_cover_under_lack_of_fit(draw):
    widths, samples, level = (4, 8, 16, 64), (300, 1000, 5000, 30000), 0.95
    at = {"k": np.array([256.0]), "n": np.array([3e5])}
    truth = GENERIC.predict(TRUTH, at)[0]
    inside = []
    for seed in range(150):
        columns = grid(widths, samples, 3, np.random.default_rng(seed), shared=0.03, own=0.02)
        rows = Rows.of(GENERIC, columns)
        problem = Problem(GENERIC, rows, HuberLog(np.inf))
        best = solve(problem, rows.weight)
        drawn = draw(problem, rows.weight, best.theta, 200, seed).draws
        low, high = np.quantile(GENERIC.predict(drawn, at)[:, 0], [(1 - level) / 2, (1 + level) / 2])
        inside.append(low <= truth <= high)
    coverage = float(np.mean(inside))
    print(f"{draw.__name__}: nominal {level}, covered {coverage:.3f} of {len(inside)}")
    # Measured elsewhere .948 and .912 with 800 sets; 150 sets know a share of .93 to ± .02.
    assert coverage >= (0.92 if draw is cluster_pairs else 0.88)


WITH, WITHOUT = (
    ((4, 8, 16, 32, 64, 128), (300, 1000, 3000, 10000, 30000, 100000)),
    (
        (4, 6, 8, 12, 16, 32),
        (3000, 6000, 12000, 25000, 50000, 100000),
    ),
)
TRUTHS = {
    "nested_fixed": lambda k, n, tail: (k**-1.5 + 2e-4 * k**2 * n**-0.5) ** 0.5,
    "nested": lambda k, n, tail: (k**-1.5 + 0.18 * k * n**-0.7) ** 0.5,
    "generic": lambda k, n, tail: 0.02 + 1.2 * k**-0.8 + 8 * n**-0.6,
}
LAWS = ("generic", "nested_fixed", "nested")


def selected(truth, widths, samples, seed):
    """Return the law that BIC prefers and the verdict, for 3 seeds of 200 episodes with 5 % between seeds."""
    generator = np.random.default_rng(seed)
    table = reference.make_table(
        truth, target="regret", widths=widths, samples=samples, tails=dict.fromkeys(widths, 1.0)
    )
    mean = table["regret"] * np.exp(0.05 * generator.standard_normal(len(table)))
    table = reference.with_column(table, "regret", generator.binomial(200, np.minimum(mean, 1.0)) / 200)
    families = [build_law(name) for name in LAWS]
    fits = [fit(family, table, "regret", draws=80) for family in families]
    cells = cells_from_table(table, "regret")
    verdict = compare(fits, {one.name: one.on("regret") for one in families}, cells).verdict
    converged = [one for one in fits if one.status == "converged"]
    return min(converged, key=information).law, verdict


@pytest.mark.parametrize("truth", list(TRUTHS))
def test_the_right_law_is_chosen_where_the_grid_shows_the_u_turn(truth):
    found = [selected(TRUTHS[truth], *WITH, seed) for seed in range(40)]
    chosen, verdicts = Counter(law for law, _ in found), Counter(verdict.status for _, verdict in found)
    print(f"truth {truth}, whole grid: chosen {dict(chosen)}, verdicts {dict(verdicts)}")
    assert chosen[truth] >= 0.85 * len(found)
    if truth == "generic":
        # Falls in k everywhere: no U-turn, so nothing may be said for the theory.
        assert verdicts["for"] == 0
    else:
        assert verdicts["against"] == 0
        named = [verdict.law for _, verdict in found if verdict.status == "for"]
        assert sum(law == truth for law in named) >= 0.85 * len(named)


@pytest.mark.parametrize("truth", list(TRUTHS))
def test_no_verdict_where_the_grid_does_not_show_the_u_turn(truth):
    found = [selected(TRUTHS[truth], *WITHOUT, seed) for seed in range(24)]
    refused = sum(verdict.status == "refused" for _, verdict in found)
    print(f"truth {truth}, grid without the U-turn: refused {refused} of {len(found)}, "
          f"BIC would choose {dict(Counter(law for law, _ in found))}")  # fmt: skip
    assert refused >= 0.9 * len(found)


@pytest.mark.skipif(not DATA.is_dir(), reason="the published tables are not beside the checkout")
def test_calibrated_intervals_cover_larger_public_runs_that_plain_ones_miss():
    law, loss = Law("chinchilla", "loss = E + A N^-alpha + B D^-beta"), HuberLog(1e-3)
    tables = {ending: gemstones(ending, run=True) for ending in ("hot_100b+", "cool_end", "hot")}
    tables["kyo_takano"] = (kyo_takano(), None)
    plain, calibrated = [], []
    for name, (columns, run) in tables.items():
        scale = default_scale(law, columns)
        for share in (0.5, 0.75, 0.9):
            inside = scale <= np.quantile(scale, share, method="lower")
            small = {key: values[inside] for key, values in columns.items()}
            large = {key: values[~inside] for key, values in columns.items()}
            cluster = None if run is None else run[inside]
            fitted = fit_table(law, small, loss, cluster=cluster, draws=200)
            track = backtest_table(law, small, scale[inside], loss, cluster=cluster)
            seen = forecast_table(law, fitted, track, large, scale[inside], scale[~inside], True, columns=small)
            covered = [
                ((large["loss"] >= b.low) & (large["loss"] <= b.high)).mean() for b in (seen.plain, seen.calibrated)
            ]
            plain.append(covered[0])
            calibrated.append(covered[1])
            print(f"{name}, smaller {share:.0%}: plain {covered[0]:.2f}, calibrated {covered[1]:.2f}, "
                  f"beyond what was checked {seen.refused.mean():.2f}")  # fmt: skip
    print(f"mean of {len(plain)}: plain {np.mean(plain):.3f}, calibrated {np.mean(calibrated):.3f}, nominal 0.9")
    assert np.mean(calibrated) >= 0.75
    assert np.mean(plain) < np.mean(calibrated)
