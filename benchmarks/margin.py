"""Whether B5 can be used where nothing is exact: a planner's own margins against the model's errors on held-out starts.

B5 says that no regret is left where twice the error of every plan's value is below the margin between the best and the
second best. In a simulator the values are distances of predicted ends from the goal, ‖ẑ_T − z_g‖, of C random plans
from a start; the margin is that between the two best. The error of one plan, |‖ẑ_T − z_g‖ − ‖f(x_T) − z_g‖|, needs
held-out recordings only: its (1 − δ/C)-quantile over recorded windows is above all C errors with probability 1 − δ, if
recorded plans are like those compared. A start is *certified* where twice this quantile is below the margin.

Checked with the true dynamics, which the statement does not use: the share of certified starts, how often the chosen
plan is then truly the best by the model's distances (what the statement promises) and by the task's (what one wants),
beside the same for all starts; and ``oracle``, the share that would be certified were each start's own largest error
known. ``bound`` is the mean over starts of min(2 e, spread of the values) over the mean spread: 1 says nothing. ``AUC``
is the probability that the margin is wider where the chosen plan is the task's best than where it is not; by chance ½.

    jepa-scale train world=point_mass … --folder RUN; python benchmarks/margin.py RUN …
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import jepa_scale
from jepa_scale.api.models import Loaded
from jepa_scale.worlds.arena import Arena

STARTS, WINDOWS, DELTA = 200, 4000, 0.1
HORIZONS, COUNTS = (1, 5), (2, 8, 64)


@dataclass(frozen=True)
class Compared:
    """Values of C plans from S starts: the model's, the true ones by its distances, and the task's."""

    predicted: Tensor
    reached: Tensor
    task: Tensor

    def first(self, count: int) -> Compared:
        return Compared(self.predicted[:, :count], self.reached[:, :count], self.task[:, :count])


@torch.no_grad()
def rolled(model: Loaded, observations: Tensor, plans: Tensor) -> Tensor:
    """ẑ_T of each plan: (S, *shape), (S, C, T, …) → (S, C, k)"""
    latents = model.module.encode(observations)
    return model.module.roll_out(latents[:, None].expand(-1, plans.shape[1], -1), plans)[..., -1, :]


@torch.no_grad()
def compared(model: Loaded, world: Arena, horizon: int, seed: int = 11) -> Compared:
    """Values of random plans on tasks that need so many steps."""
    generator = torch.Generator().manual_seed(seed)
    tasks = world.tasks([horizon], STARTS, seed)
    everyone = torch.arange(len(tasks))
    episodes = world.begin(tasks, everyone, generator)
    most = max(COUNTS)
    plans = world.random_actions(STARTS * most * horizon, generator).unflatten(0, (STARTS, most, horizon))
    goals = model.module.encode(world.goal_views(tasks, torch.randn(STARTS, world.view_numbers, generator=generator)))
    normals = torch.randn(STARTS, world.view_numbers, generator=generator)
    views = world.true_views(episodes.states(everyone), plans, False, normals)
    ends = model.module.encode(views.flatten(0, 2)).unflatten(0, views.shape[:2])
    task = world.true_distances(episodes.states(everyone), plans, tasks, everyone, False)[..., 0]
    predicted = rolled(model, episodes.observe(everyone), plans)
    return Compared((predicted - goals[:, None]).norm(dim=-1), (ends - goals[:, None]).norm(dim=-1), task)


@torch.no_grad()
def errors(model: Loaded, world: Arena, horizon: int, seed: int = 12) -> np.ndarray:
    """|‖ẑ_T − z_g‖ − ‖f(x_T) − z_g‖| of recorded windows, z_g the end of another one."""
    recorded = world.sample(WINDOWS, horizon, seed)
    starts = torch.as_tensor(recorded.observations[:, 0])
    predicted = rolled(model, starts, torch.as_tensor(recorded.actions)[:, None])[:, 0]
    ends = model.module.encode(torch.as_tensor(recorded.observations[:, -1]))
    goals = ends.roll(1, 0)
    return ((predicted - goals).norm(dim=-1) - (ends - goals).norm(dim=-1)).abs().numpy()


def judged(found: Compared, largest: float) -> tuple[float, ...]:
    """The columns of the table after the number of plans."""
    best = found.predicted.sort(dim=1).values
    margin, spread = best[:, 1] - best[:, 0], found.predicted.amax(1) - found.predicted.amin(1)
    chosen = found.predicted.argmin(1)
    certified = (2 * largest < margin).numpy()
    own = (2 * (found.predicted - found.reached).abs().amax(1) < margin).numpy()
    right = (found.reached.argmin(1) == chosen).numpy()
    # The task's distances tie where walls stop two plans at one place: as good as the best is best.
    task = (found.task.gather(1, chosen[:, None])[:, 0] <= found.task.amin(1) + 1e-6).numpy()
    of_certified = [float(truth[certified].mean()) if certified.any() else np.nan for truth in (right, task)]
    lost = float(torch.minimum(torch.full_like(spread, 2 * largest), spread).mean() / spread.mean())
    better, worse = margin.numpy()[task], margin.numpy()[~task]
    ranked = float((better[:, None] > worse[None]).mean()) if len(better) and len(worse) else np.nan
    alone = float(right.mean()), float(task.mean()), float(own.mean())
    return float(certified.mean()), *of_certified, *alone, lost, ranked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    given = parser.parse_args()
    head = ("run", "T", "plans", "certified", "best by model", "best by task", "of all by model", "of all by task")
    head += ("oracle", "bound", "AUC")
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for path in given.runs:
        model = jepa_scale.load(path)
        world = model.world
        if not isinstance(world, Arena):
            raise SystemExit(f"expected runs of a world with a simulator, got {path}")
        name = f"{type(world).__name__}, n = {model.config['data']['n']}, k = {model.config['model']['k']}"
        for horizon in HORIZONS:
            found, error = compared(model, world, horizon), errors(model, world, horizon)
            for count in COUNTS:
                largest = float(np.quantile(error, 1 - DELTA / count, method="higher"))
                shown = " | ".join(f"{value:.2f}" for value in judged(found.first(count), largest))
                print(f"| {name} | {horizon} | {count} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
