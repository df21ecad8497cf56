"""Makes jepa_scale/laws/forecasters/library.json: what the members of a stack were worth on studies that are known.

Two halves: surfaces of exact learners on random worlds (theory/learning_curve.py), where the mean of a few data sets
stands for runs, and every study of trained networks in benchmarks/tables with more than three sizes. For each cut with
at least three sizes below it: where the study stood, the quantiles of the members' forecasts of larger cells and what
came, the CRPS of the better simple forecaster, and the stack's misses, its weights taken from other studies and its own
back-tests.
Of trained studies also when their runs learnt, and what they were set back by at the next size.

    python benchmarks/library.py                    # 3 to 5 minutes on one core
    python benchmarks/library.py --surfaces 24 --out /tmp/library.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from forecast import LEAST_SIZES, SIMPLE, cuts_of, forecasters, studies

from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.forecasters.averaging import Forecasts, averaged
from jepa_scale.laws.forecasters.base import Forecaster, Seen, thinned
from jepa_scale.laws.forecasters.library import VERSION, Library, distance_class, from_dict, situation
from jepa_scale.laws.forecasters.setback import RISE
from jepa_scale.laws.forecasters.stack import Stack, misses
from jepa_scale.laws.lateness import expected_share
from jepa_scale.laws.noise import pooled_noise
from jepa_scale.laws.scores import crps
from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.theory.learners import fit_per_action, fit_shared
from jepa_scale.theory.learning_curve import learning_curve
from jepa_scale.theory.planning import PlanningProblem, goal_weights, plan_values
from jepa_scale.worlds import families
from jepa_scale.worlds.lowrank import LowRank
from jepa_scale.worlds.nuisance import Nuisance
from jepa_scale.worlds.persistence import Persistence
from jepa_scale.worlds.torus import Torus

NOTHING = Library((), ())
LEAST_REFERENCE = 2e-3
"""Smallest CRPS, in units of random regret, that others are measured by."""
MOST_CELLS = 8
"""Cells ahead of a cut that are kept."""
Cut = tuple[Seen, Seen]
"""What a forecaster sees, and the cells ahead."""


def random_world(generator: np.random.Generator, number: int) -> FiniteWorld:
    """A world of one of six kinds."""
    slip, blur, side = (
        float(generator.uniform(0, 0.95)),
        float(generator.uniform(0, 1.5)),
        int(generator.integers(3, 6)),
    )
    kind = ("torus", "nuisance", "dirichlet", "doubly_stochastic", "lowrank", "persistence")[number % 6]
    if kind == "torus":
        return Torus(int(generator.integers(4, 10)), slip=slip, blur=blur).finite
    if kind == "nuisance":
        return Nuisance(
            Torus(side, slip=slip, blur=blur), observations_per_state=int(generator.choice([2, 4, 8]))
        ).finite
    if kind == "persistence":
        values, stays = int(generator.choice([2, 3, 4])), float(generator.uniform(0, 1))
        return Persistence(Torus(side, slip=slip, blur=0.0), nuisance_values=values, persistence=stays).finite
    if kind == "lowrank":
        states, rank = int(generator.integers(30, 100)), int(generator.integers(3, 25))
        concentration = float(generator.uniform(0.05, 0.6))
        return LowRank(states=states, rank=rank, concentration=concentration, world_seed=number).finite
    made = getattr(families, kind)(generator, int(generator.integers(16, 90)))
    assert isinstance(made, FiniteWorld)
    return made


def exact_surface(generator: np.random.Generator, number: int) -> list[Cut]:
    """Cuts of one surface of an exact learner."""
    world, problem = random_world(generator, number), PlanningProblem(1, goal_law="uniform")
    start, step = (
        float(generator.choice([30, 100, 300, 1000])),
        float(generator.choice([2, 10**0.5, 10**0.5, 10**0.75])),
    )
    sizes = [round(start * step**place) for place in range(int(generator.integers(5, 8)))]
    least = int(generator.choice([1, 2, 4]))
    widths = [least * 2**place for place in range(6) if least * 2**place <= world.states]
    learner = fit_shared if generator.random() < 0.6 else fit_per_action
    curve = learning_curve(world, problem, sizes, widths, int(generator.choice([2, 3])), generator, learner)
    values, goals = plan_values(world, 1), goal_weights(world, problem)
    random = float((world.context_law[:, None] * goals * (values.max(0) - values.mean(0))).sum())
    runs = (curve.regrets / random).transpose(0, 2, 1).reshape(-1, curve.datasets)
    n, k = (axis.ravel() for axis in np.meshgrid(np.array(sizes, float), np.array(widths, float), indexing="ij"))
    seeds, mean, variance = np.full(len(n), curve.datasets), runs.mean(axis=1), runs.var(axis=1, ddof=1)
    cuts = []
    for cut in np.unique(n)[LEAST_SIZES - 1 : -1]:
        below = n <= cut
        noise = pooled_noise(variance[below], (seeds[below] - 1).astype(float), mean[below], 0.003)
        # What has found its optimum has learnt all there was.
        whole = Seen(n, k, mean, seeds, noise, random, np.zeros(len(n)))
        cuts.append((whole.where(below), whole.where(~below)))
    return cuts


def all_studies(surfaces: int, tables: list[Path]) -> Iterator[tuple[str, str, list[Cut]]]:
    """Name, source and cuts of every study."""
    generator = np.random.default_rng(20_260_627)
    for number in range(surfaces):
        yield f"exact {number}", "exact", exact_surface(generator, number)
    for name, table in studies(tables):
        yield name, "trained", [(seen, ahead) for seen, ahead, _ in cuts_of(table)]


def learnt(name: str, seen: Seen) -> dict[str, Any]:
    """When the runs of a study learnt, size by size but the last, and what they were set back by at the next."""
    late, setback = [], []
    for width in np.unique(seen.k):
        curve = seen.curve(float(width))
        if curve.late is None:
            continue
        rise, shares = np.diff(curve.mean), expected_share(curve.late)[:-1]
        known = np.isfinite(shares)
        late += shares[known].tolist()
        setback += np.where(rise > RISE, rise / (1 - curve.mean[:-1]), 0.0)[known].tolist()
    return {"name": name, "late": rounded(np.array(late)), "setback": rounded(np.array(setback))}


def crps_of(forecaster: Forecaster, cuts: list[Cut]) -> float:
    """Mean CRPS of a forecaster on the cells ahead of every cut."""
    alone, parts = Stack(members={"alone": forecaster}), []
    for seen, ahead in cuts:
        parts.append(crps(alone.member_draws(seen, ahead, NOTHING)[0], ahead.mean))
    return float(np.concatenate(parts).mean())


def remembered(seen: Seen, ahead: Seen, drawn: np.ndarray) -> dict[str, Any]:
    """What is kept of a cut: of many cells ahead, some."""
    chosen = thinned(np.arange(len(ahead.n)), MOST_CELLS)
    kept = Forecasts.of(drawn[:, :, chosen], ahead.mean[chosen])
    return {
        "situation": [None if np.isnan(value) else value for value in rounded(situation(seen))],
        "quantiles": kept.quantiles.round(4).tolist(),
        "observed": kept.observed.round(4).tolist(),
        "misses": [[], [], []],
    }


def rounded(values: np.ndarray) -> list[Any]:
    """Numbers of four digits, for a small file."""
    return np.vectorize(lambda value: float(f"{value:.4g}"), otypes=[float])(values).tolist() if np.size(values) else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surfaces", type=int, default=96, help="surfaces of exact learners (default: 96)")
    parser.add_argument("--out", type=Path, default=Path("jepa_scale/laws/forecasters/library.json"))
    given = parser.parse_args()
    stack, folder = Stack(), Path(__file__).parent / "tables"
    names = list(stack.members)
    simple = forecasters(SIMPLE)
    entries: list[dict[str, Any]] = []
    judged = []
    tables = sorted(folder.glob("*.parquet"))
    curves = [learnt(name, Seen.of(cells_from_table(table, "regret", np.inf))) for name, table in studies(tables)]
    known = from_dict({"members": [], "studies": [{**curve, "source": "trained", "cuts": []} for curve in curves]})
    for name, source, cuts in all_studies(given.surfaces, tables):
        drawn = [stack.member_draws(seen, ahead, known.without(name)) for seen, ahead in cuts]
        reference = max(min(crps_of(one, cuts) for one in simple.values()), LEAST_REFERENCE)
        content = [remembered(seen, ahead, one) for (seen, ahead), one in zip(cuts, drawn, strict=True)]
        when = next((curve for curve in curves if curve["name"] == name and curve["late"]), {})
        entries.append({"name": name, "source": source, "unit": round(reference, 5), "cuts": content, **when})
        judged.append((cuts, drawn))
        scores = np.concatenate(
            [Forecasts.of(one, ahead.mean).scores for one, (_, ahead) in zip(drawn, cuts, strict=True)], axis=1
        )
        print(name, len(cuts), f"{reference:.3f}", rounded(scores.mean(axis=1) / reference), flush=True)
    library = from_dict({"version": VERSION, "members": names, "studies": entries})
    for entry, (cuts, drawn) in zip(entries, judged, strict=True):
        others = library.without(str(entry["name"]))
        for content, (seen, ahead), one in zip(entry["cuts"], cuts, drawn, strict=True):
            weights = stack.weights(seen, others)
            missed = misses(averaged(one, weights), ahead.mean)
            place = distance_class(np.log10(ahead.n / seen.n.max()))
            content["misses"] = [rounded(missed[place == distance]) for distance in range(3)]
    made = {"version": VERSION, "members": names, "settings": settings(stack), "studies": entries}
    given.out.write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")
    print(given.out, given.out.stat().st_size, "bytes")


def settings(stack: Stack) -> dict[str, object]:
    """What the members were, for a test that says when the library has to be made again."""
    return {name: json.loads(json.dumps(dataclasses.asdict(member))) for name, member in stack.members.items()}  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
