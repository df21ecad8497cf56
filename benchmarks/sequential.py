"""Runs needed for the interval of a whole grid: cells chosen one by one by the forecasts, at random, or small n first.

Surfaces of exact learners on random worlds (as in library.py, other seeds), whose largest size is to be forecast at the
width that is best there. The grid is every run of all smaller sizes. Every rule begins with one run of each of two
sizes × up to three widths; then `ScalingDesignSampler` (which has four widths to begin with; cost n) or a simple rule
chooses single runs of the grid, until the 90 % interval of the answer is as narrow as the grid's, or the grid is spent.
Printed: share of the grid's runs and of its cost Σ n, and the error of the median then, in units of random plans'
regret; at the end how often the interval held the truth.

    python benchmarks/sequential.py [--surfaces 8]
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass

import numpy as np
from library import random_world

from jepa_scale.laws.adaptive import DesignSettings, Runs, propose
from jepa_scale.laws.forecasters.base import Seen
from jepa_scale.laws.forecasters.stack import Stack
from jepa_scale.laws.noise import pooled_noise
from jepa_scale.shapes import Float64
from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.theory.learners import fit_shared
from jepa_scale.theory.learning_curve import learning_curve
from jepa_scale.theory.planning import PlanningProblem, goal_weights, plan_values

SEEDS, DRAWS = 3, 800
STRATEGIES = ("forecasts", "random", "small n first")


@dataclass(frozen=True)
class Surface:
    """Runs of a grid: y of each (size, width, seed), in units of random plans' regret."""

    n: Float64[np.ndarray, " sizes"]
    k: Float64[np.ndarray, " widths"]
    runs: Float64[np.ndarray, "sizes widths seeds"]

    @property
    def target(self) -> tuple[float, float, float]:
        """Largest size, the width that is best there, and its mean."""
        last = self.runs[-1].mean(axis=1)
        return float(self.n[-1]), float(self.k[last.argmin()]), float(last.min())


def surface(world: FiniteWorld, generator: np.random.Generator) -> Surface:
    """Regrets of exact learners on a world."""
    sizes = [round(100 * 3.0**place) for place in range(6)]
    widths = [2**place for place in range(1, 7) if 2**place <= world.states]
    curve = learning_curve(world, PlanningProblem(1, goal_law="uniform"), sizes, widths, SEEDS, generator, fit_shared)
    values, goals = plan_values(world, 1), goal_weights(world, PlanningProblem(1, goal_law="uniform"))
    random = float((world.context_law[:, None] * goals * (values.max(0) - values.mean(0))).sum())
    return Surface(np.array(sizes, float), np.array(widths, float), (curve.regrets / random).transpose(0, 2, 1))


def seen_of(made: Surface, taken: Counter[tuple[int, int]]) -> Seen:
    """Cells of the runs taken; of each cell the first seeds."""
    cells = sorted(taken)
    values = [made.runs[i, j, : taken[i, j]] for i, j in cells]
    mean, seeds = np.array([one.mean() for one in values]), np.array([len(one) for one in values])
    noise = (0.03, 0.1)
    if (seeds > 1).any():
        variance = np.array([one.var(ddof=1) for one in values if len(one) > 1])
        noise = pooled_noise(variance, (seeds[seeds > 1] - 1).astype(float), mean[seeds > 1], 0.003)
    n, k = (np.array([axis[cell[place]] for cell in cells]) for place, axis in enumerate((made.n, made.k)))
    return Seen(n, k, mean, seeds, noise, 1.0)


def interval(seen: Seen, n: float, k: float) -> tuple[float, float, float]:
    """Median and ends of the 90 % interval at a point."""
    drawn = Stack().fit(seen).draws(np.array([n]), np.array([k]), DRAWS, np.random.default_rng(5))
    low, middle, high = np.quantile(drawn, [0.05, 0.5, 0.95])
    return float(middle), float(low), float(high)


def by_forecasts(made: Surface, taken: Counter[tuple[int, int]]) -> tuple[int, int]:
    """Return the cell that the sampler of `sampler: design` takes next."""
    n, k, _ = made.target
    settings = DesignSettings(
        tuple(made.k.astype(int)), tuple(made.n[:-1].astype(int)), int(k), int(n), cap=SEEDS, ceiling=1.0
    )
    cells = [(i, j, seed) for (i, j), count in taken.items() for seed in range(count)]
    sizes, widths, _ = (np.array(axis) for axis in zip(*cells, strict=True))
    runs = Runs(made.k[widths], made.n[sizes], np.array([made.runs[cell] for cell in cells]))
    chosen = propose(settings, runs, settings.cells[1])
    assert chosen is not None
    return int(np.flatnonzero(made.n == chosen.n)[0]), int(np.flatnonzero(made.k == chosen.k)[0])


def play(made: Surface, strategy: str, goal: float, seed: int) -> tuple[float, float, float, float]:
    """Shares of the grid's runs and cost until the interval is as narrow as ``goal``; its error; whether it held."""
    generator = np.random.default_rng(seed)
    n, k, truth = made.target
    sizes, widths = len(made.n) - 1, len(made.k)
    near = int(np.flatnonzero(made.k == k)[0])
    first = sorted({0, near, widths - 1, widths // 2})[:3] if widths > 2 else list(range(widths))
    first = sorted({*first[:2], near})
    taken = Counter({(i, j): 1 for i in (0, sizes // 2) for j in first})
    whole = [(i, j) for i in range(sizes) for j in range(widths)]
    while True:
        middle, low, high = interval(seen_of(made, taken), n, k)
        open_ = [cell for cell in whole if taken[cell] < SEEDS]
        if high - low <= goal or not open_:
            cost = sum(made.n[i] * count for (i, _), count in taken.items()) / (made.n[:-1].sum() * widths * SEEDS)
            return (
                sum(taken.values()) / (len(whole) * SEEDS),
                float(cost),
                abs(middle - truth),
                float(low <= truth <= high),
            )
        if strategy == "forecasts":
            taken[by_forecasts(made, taken)] += 1
        elif strategy == "random":
            taken[open_[int(generator.integers(len(open_)))]] += 1
        else:
            taken[min(open_, key=lambda cell: (taken[cell] > 0, made.n[cell[0]], taken[cell]))] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surfaces", type=int, default=8)
    given = parser.parse_args()
    generator = np.random.default_rng(77)
    print("| surface | grid: runs, width, error | " + " | ".join(STRATEGIES) + " |")
    print("|---" * (2 + len(STRATEGIES)) + "|")
    results: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in STRATEGIES}
    number = 0
    while len(results["random"]) < given.surfaces:
        number += 1
        made = surface(random_world(generator, number), generator)
        n, k, truth = made.target
        sizes, widths = len(made.n) - 1, len(made.k)
        grid = Counter({(i, j): SEEDS for i in range(sizes) for j in range(widths)})
        middle, low, high = interval(seen_of(made, grid), n, k)
        if made.runs[-1].mean() > 0.9:
            continue  # nothing was learned there
        shown = []
        for name in STRATEGIES:
            found = play(made, name, high - low, number)
            results[name].append(found)
            shown.append(" / ".join(f"{value:.2f}" for value in found[:2]) + f" / {found[2]:.3f}")
        print(
            f"| {number} | {sum(grid.values())}, {high - low:.3f}, {abs(middle - truth):.3f} | {' | '.join(shown)} |",
            flush=True,
        )
    means = [np.mean(results[name], axis=0) for name in STRATEGIES]
    print("| mean; inside | | " + " | ".join(f"{a:.2f} / {b:.2f} / {c:.3f}; {d:.2f}" for a, b, c, d in means) + " |")


if __name__ == "__main__":
    main()
