"""Regret against the number of steps T at a fixed one-step risk R, beside the lines of T5 and B3 and one through T = 1.

Exact: every plan, start and goal of a deterministic and of a stochastic world. Models have a linear predictor on the
best shared encoder of some width, or on one that was fitted to a sample; latent and operator roll-out of the same one.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jepa_scale.records import BoundValue
from jepa_scale.report.page.style import log_height, styled, to_png
from jepa_scale.theory.bounds import b3, t5
from jepa_scale.theory.bounds.base import BoundCase, WorldConstants
from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.theory.learners import fit_shared, sample_counts
from jepa_scale.theory.model import TabularModel, least_squares_maps, truncated_svd
from jepa_scale.theory.planning import PlanningProblem, random_regret
from jepa_scale.worlds.deterministic_grid import DeterministicGrid
from jepa_scale.worlds.nuisance import Nuisance
from jepa_scale.worlds.torus import Torus

FIGURE = Path(__file__).parent / "figures" / "horizon.png"
WORLDS = {
    "deterministic grid, 6 × 6": (DeterministicGrid(6), (18, 34), 36, (300, 10_000_000)),
    "nuisance, 16 hidden states × 3": (Nuisance(Torus(4, 0.45, 0.0), 3), (3, 5), 48, (1000, 10_000_000)),
}
"""Each with the widths of its best models, and width k and sizes n of its fits."""
NEGATIVES = "pooled"
"""Their law is that of contexts, q = p, wherever contexts follow the behaviour policy's stationary law (B3)."""


@dataclass(frozen=True)
class Line:
    """One model in one world, at T = 1 … ."""

    model: str
    risk: float
    """max_a R(a)"""
    latent: tuple[float, ...]
    operator: tuple[float, ...]
    t5: tuple[BoundValue, ...]
    b3: tuple[BoundValue, ...]


def linear(world: FiniteWorld, encoder: np.ndarray) -> TabularModel:
    return TabularModel.linear(encoder, least_squares_maps(world, encoder, NEGATIVES))


def learned(world: FiniteWorld, n: int, k: int, seed: int = 0) -> TabularModel:
    """Encoder and predictor of a sample; the predictor made linear by regression on f, so that it can be rolled out."""
    fitted = fit_shared(world, sample_counts(world, n, np.random.default_rng(seed)), k)
    encoder = fitted.encoder[0]
    weight = np.sqrt(world.context_law)[:, None]
    maps = np.linalg.pinv(weight * encoder, rcond=1e-9) @ (weight * fitted.predictor)
    return TabularModel.linear(encoder, maps.swapaxes(1, 2))


def follow(name: str, model: TabularModel, constants: list[WorldConstants]) -> Line:
    latent, operator = (
        [BoundCase(one, "density", model, roll_out) for one in constants] for roll_out in ("latent", "operator")
    )
    return Line(
        name,
        float(latent[0].risk.max()),
        tuple(case.regret for case in latent),
        tuple(case.regret for case in operator),
        tuple(t5.value(case) for case in latent),
        tuple(b3.value(case) for case in operator),
    )


def table(name: str, lines: list[Line], floors: list[float]) -> None:
    steps = range(1, len(floors) + 1)
    print(f"\n{name}; regret of random plans " + ", ".join(f"{floor:.3f}" for floor in floors))
    print(f"{'model':22s} {'max R':>6s} {'':9s}" + "".join(f"   T = {t}" for t in steps) + "    r(T)/(T r(1))")
    for line in lines:
        for kind, values in (("latent", line.latent), ("operator", line.operator)):
            shown = "".join(f"{value:8.4f}" for value in values)
            ratio = [value / ((t + 1) * values[0]) if values[0] > 1e-3 else np.nan for t, value in enumerate(values)]
            print(
                f"{line.model:22s} {line.risk:6.2f} {kind:9s}{shown}    "
                + " ".join("   –" if np.isnan(one) else f"{one:.2f}" for one in ratio)
            )
        for bound in (line.t5, line.b3):
            shown = "".join(f"{one.value:8.2f}" for one in bound)
            failed = sorted({each.statement for one in bound[1:] for each in one.hypotheses if not each.holds})
            print(f"{'':29s} {bound[0].label.split()[0]:9s}{shown}    fails: {'; '.join(failed) or 'nothing'}")


@styled
def draw(found: dict[str, tuple[list[Line], list[float]]]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 6.6))
    panels = figure.subplots(2, len(found), squeeze=False, sharex=True)
    for column, (name, (lines, floors)) in enumerate(found.items()):
        above, below = panels[:, column]
        steps = np.arange(1, len(floors) + 1)
        above.plot(steps, floors, color="#66717d", linestyle=(0, (1, 1)), label="random plans")
        for index, line in enumerate(lines):
            colour = f"C{index}"
            above.plot(steps, line.operator, color=colour, marker="o", label=f"{line.model}, R = {line.risk:.2g}")
            above.plot(steps, line.latent, color=colour, marker="D", linestyle="--", markersize=3)
            above.plot(steps, steps * line.operator[0], color=colour, linewidth=0.8, linestyle=":")
            below.plot(steps, np.maximum(line.operator, 1e-4), color=colour, marker="o")
            below.plot(steps, [one.value for one in line.b3], color=colour, linewidth=1.0)
        above.set_title(name)
        above.set_ylim(0, 1.6 * max(max(floors), *(max(line.latent + line.operator) for line in lines)))
        above.legend(loc="upper left", ncols=2, columnspacing=1.0, handlelength=1.5, fontsize=7.5)
        below.axhline(1.0, color="#c2410c", linewidth=0.8)
        log_height(below)
        below.set_xlabel("steps of a plan, T")
        below.set_xticks(steps)
    panels[0][0].set_ylabel("expected regret")
    panels[1][0].set_ylabel("regret (operator) and its bounds")
    figure.supxlabel(
        "R is that of the worst action. Above: solid operator roll-out, dashed latent roll-out, dotted T times the "
        "regret at T = 1.\nBelow: thin lines without markers B3, here equal to T5; a bound above the red line says "
        "nothing. Regrets below 0.0001 are drawn there.",
        fontsize=8, x=0.01, ha="left",
    )  # fmt: skip
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()
    found = {}
    for name, (exact, widths, widest, sizes) in WORLDS.items():
        world = exact.finite
        problems = [PlanningProblem(steps, "reachable") for steps in range(1, given.steps + 1)]
        constants = [WorldConstants.of(world, problem, NEGATIVES) for problem in problems]
        models = {f"best, k = {k}": linear(world, truncated_svd(world, k, NEGATIVES).encoder) for k in widths}
        models |= {f"fit, n = {n:g}": learned(world, n, widest) for n in sizes}
        lines = [follow(label, model, constants) for label, model in models.items()]
        floors = [random_regret(one.values, world.context_law, one.goals) for one in constants]
        table(name, lines, floors)
        found[name] = (lines, floors)
    FIGURE.write_bytes(to_png(draw(found)))
    print(f"\n{FIGURE}")


if __name__ == "__main__":
    main()
