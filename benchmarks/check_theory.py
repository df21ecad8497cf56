"""What it costs to evaluate every statement of the theory.

First once on a torus of 400 observations and 5 actions with the best encoder of width 64; the floor is the singular
value decompositions of M̄(a) that any of it needs. Promise: ≤ 2 s. Then on random small worlds, as `jepa-scale theory`
does it; the floor draws the same worlds and models and evaluates nothing. Promise: 10⁵ trials in ≤ 10 minutes on two
cores.

    OMP_NUM_THREADS=1 python -m benchmarks.check_theory [--side 20] [--trials 10] [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from jepa_scale.theory.attacks import ATTACKS
from jepa_scale.theory.check import attack_theory, draw
from jepa_scale.theory.graph import normalised_co_occurrence
from jepa_scale.theory.statements import STATEMENTS
from jepa_scale.theory.trial import Trial
from jepa_scale.worlds.families import FAMILIES
from jepa_scale.worlds.torus import Torus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20)
    parser.add_argument("--trials", type=int, default=10, help="per family of worlds and of models")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    world = Torus(arguments.side, 0.2, 0.5).finite
    # A linear predictor, so that the latent roll-outs have something to roll.
    model = ATTACKS["whitened"](np.random.default_rng(0), world, "same_action", 64)
    once, bare = [], []
    for _ in range(arguments.repeats):
        started = time.perf_counter()
        trial = Trial(world, model, 2, "reachable", "inner", "same_action", 0)
        outcomes = [claim.evaluate(trial) for claim in STATEMENTS]
        once.append(time.perf_counter() - started)
        started = time.perf_counter()
        np.linalg.svd(normalised_co_occurrence(world), compute_uv=False)
        bare.append(time.perf_counter() - started)
    assert None not in outcomes
    print(f"N = {world.states}, {world.actions} actions: {len(STATEMENTS)} statements, T = 2 where there are steps")
    print(f"  seconds                 {statistics.median(once):8.2f}  (median of {arguments.repeats})")
    print(f"  over bare SVDs          {statistics.median(a / b for a, b in zip(once, bare, strict=True)):8.2f}")

    count = arguments.trials * len(FAMILIES) * len(ATTACKS)
    tried, drawn = [], []
    for repeat in range(arguments.repeats):
        started = time.perf_counter()
        attack_theory(FAMILIES, arguments.trials, seed=repeat)
        tried.append(time.perf_counter() - started)
        generator = np.random.default_rng(repeat)
        started = time.perf_counter()
        for family in FAMILIES.values():
            for attack in ATTACKS:
                for _ in range(arguments.trials):
                    draw(generator, family, attack)
        drawn.append(time.perf_counter() - started)
    print(f"{count} trials of all statements in one process")
    print(f"  milliseconds each       {1e3 * statistics.median(tried) / count:8.2f}")
    print(f"  over drawing alone      {statistics.median(a / b for a, b in zip(tried, drawn, strict=True)):8.2f}")


if __name__ == "__main__":
    main()
