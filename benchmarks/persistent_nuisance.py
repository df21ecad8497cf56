"""What a nuisance costs by how long it persists: spectrum against the closed form, and k* of exact learners.

A 4 × 4 torus beside a nuisance of M values that stays with probability ρ. ρ = 0 is fresh noise: the spectrum gains
zeros only. For ρ > 0 every σ_i comes back M − 1 times as ρ σ_i, and the width that is worth its data moves out with
them.
"""

from __future__ import annotations

import argparse

import numpy as np

from jepa_scale.theory.learners import fit_shared
from jepa_scale.theory.learning_curve import best_regret_width, best_risk_width, learning_curve
from jepa_scale.theory.planning import PlanningProblem
from jepa_scale.theory.spectrum import singular_values, spectral_tail
from jepa_scale.worlds.persistence import Persistence, exact_singular_values
from jepa_scale.worlds.torus import Torus

HIDDEN = Torus(4, 0.2, 0.8)
SIZES = (300, 1000, 3000, 10_000, 30_000)
WIDTHS = (*range(1, 25), *range(26, 65, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=int, default=4, help="M, values of the nuisance (default: 4)")
    parser.add_argument("--datasets", type=int, default=20)
    given = parser.parse_args()
    bare = singular_values(HIDDEN.finite)
    print(
        f"N = {16 * given.values}, M = {given.values}, {given.datasets} data sets, shared encoder, T = 1; n = {SIZES}"
    )
    print("rho   ‖M̄‖²  tail_16  off the closed form   k* of risk           k* of regret        regret at k=16, last n")
    for persistence in (0.0, 0.3, 0.6, 0.9, 1.0):
        world = Persistence(HIDDEN, given.values, persistence).finite
        found = singular_values(world)
        error = np.abs(found - exact_singular_values(bare, given.values, persistence)).max()
        curve = learning_curve(
            world, PlanningProblem(), SIZES, WIDTHS, given.datasets, np.random.default_rng(0), fit_shared
        )
        risk, regret = (best(curve, np.random.default_rng(1)).width for best in (best_risk_width, best_regret_width))
        totals = [float(np.mean(spectral_tail(found, k))) for k in (0, 16)]
        columns = (" ".join(f"{k:3d}" for k in each) for each in (risk, regret))
        print(
            f"{persistence:3.1f} {totals[0]:7.2f} {totals[1]:8.3f}  {error:19.1e}  "
            + "     ".join(columns)
            + f"     {curve.regret[-1, WIDTHS.index(16)]:.4f} ± {curve.regret_standard_error[-1, WIDTHS.index(16)]:.4f}"
        )


if __name__ == "__main__":
    main()
