"""What a design saves: error of a forecast at a tenth of the grid's cost, against random and factorial choices.

A simulated grid of 48 cells whose law is known; one run costs n √k + 2000. Every strategy spends the same; the
design's own law forecasts (64, 10⁶) and (256, 10⁶), each beyond the whole grid. Printed also where the design does
not win.
"""

from __future__ import annotations

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from jepa_scale.laws.adaptive import GENERIC, NESTED, DesignSettings, Runs, forecast, propose

WIDTHS = (4, 8, 16, 32, 64, 128)
SIZES = tuple(int(n) for n in np.round(np.geomspace(300, 100_000, 8)))
TARGETS = ((64, 10**6), (256, 10**6))
TRUTHS = {
    "nested": (NESTED, lambda k, n: (0.6 * k**-1.5 + 2.5e-5 * k**2 * n**-0.5) ** 0.5),
    "generic": (GENERIC, lambda k, n: 0.02 + 1.2 * k**-0.8 + 8 * n**-0.6),
}
SETTINGS = DesignSettings(WIDTHS, SIZES, *TARGETS[0])
STRATEGIES = ("random", "factorial, then random", "whole factorial, small n first", "cheapest first", "design")


def cost(k, n):
    return n * np.sqrt(k) + 2000


def play(strategy: str, truth, seed: int, share: float) -> Runs:
    """Spend ``share`` of the grid's cost; one run scatters by 5 % and 200 episodes."""
    generator = np.random.default_rng(seed)
    k, n = SETTINGS.cells
    price = cost(k, n)
    left = share * price.sum()
    chosen, values = [], []
    while True:
        affordable = np.where(price <= left, price, np.inf)
        place = _next(strategy, k, n, affordable, chosen, values, generator)
        if place is None or len(chosen) > 90:
            break
        chosen.append(place)
        mean = truth(k[place], n[place]) * np.exp(0.05 * generator.standard_normal())
        values.append(generator.binomial(200, min(mean, 1.0)) / 200)
        left -= price[place]
    return Runs(k[chosen], n[chosen], np.array(values))


def _next(strategy, k, n, affordable, chosen, values, generator):
    allowed = np.flatnonzero(np.isfinite(affordable))
    if len(allowed) == 0:
        return None
    if strategy == "design":
        found = propose(SETTINGS, Runs(k[chosen], n[chosen], np.array(values)), affordable)
        return None if found is None else int(np.flatnonzero((k == found.k) & (n == found.n))[0])
    if strategy == "factorial, then random":
        for first in SETTINGS.start():
            place = int(np.flatnonzero((k == first[0]) & (n == first[1]))[0])
            if place not in chosen and place in allowed:
                return place
    if strategy in ("random", "factorial, then random"):
        return int(generator.choice(allowed))
    times = np.array([chosen.count(place) for place in range(len(k))])[allowed]
    order = (k[allowed], n[allowed]) if strategy.startswith("whole") else (affordable[allowed],)
    return int(allowed[np.lexsort((*order, times))[0]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--share", type=float, default=0.1)
    given = parser.parse_args()
    print(
        f"RMSE (median |error|) of ln R at {TARGETS} with {given.share:.0%} of the grid's cost, {given.repeats} repeats"
    )
    for name, (law, truth) in TRUTHS.items():
        expected = np.log([truth(*target) for target in TARGETS])
        for strategy in STRATEGIES:
            errors, counts = [], []
            for seed in range(given.repeats):
                runs = play(strategy, truth, seed, given.share)
                predicted = forecast(law, runs, *map(np.array, zip(*TARGETS, strict=True)))
                errors.append(np.log(np.maximum(predicted, 1e-6)) - expected)
                counts.append(len(runs.k))
            root = np.sqrt(np.mean(np.square(errors), axis=0))
            middle = np.median(np.abs(errors), axis=0)
            shown = ", ".join(f"{r:.2f} ({m:.2f})" for r, m in zip(root, middle, strict=True))
            print(f"{name:8s} {strategy:32s} {shown}   {np.mean(counts):.0f} runs")


if __name__ == "__main__":
    main()
