"""What a plan costs by search and by a network: CPU time of CEM and of an amortised planner, on one thread.

The models are not trained: a plan takes as long whatever the weights are. What each reaches is in the README
(`jepa-scale study amortised`).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from jepa_scale.planners.base import Planner, plan
from jepa_scale.planners.planning import predicted_cost
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose
from jepa_scale.runs.stages import finetuning

SETTINGS = (
    "world=point_mass", "objective=latent", "predictor=gru", "model.normalise=true", "model.k=32", "data.n=2000",
    "data.horizon=3", "planner=cem", "optimizer.base_k=null", "logger=none", "finetune=distill",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200, help="starts and goals planned for at a time (default: 200)")
    parser.add_argument("--rounds", type=int, default=21)
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = compose(list(SETTINGS))
    parts = finetuning(config, build(config))
    module, planner, space = parts.module.eval(), parts.context.planner, parts.context.world.action_space
    assert isinstance(planner, Planner)
    assert module.policy is not None
    generator = torch.Generator().manual_seed(0)
    observed = torch.randn(given.pairs, *parts.context.world.observation_shape, generator=generator)
    goals = module.encode(torch.randn(observed.shape, generator=generator))
    drawn = planner.draw(given.pairs, space, generator)

    def search() -> None:
        starts = module.encode(observed)
        plan(planner, predicted_cost(module, planner, space, starts, goals), drawn, space)

    def answer() -> None:
        module.policy(module.encode(observed), goals)

    def encode() -> None:
        module.encode(observed)

    found: dict[str, list[float]] = {"CEM": [], "amortised": [], "encoder alone": []}
    with torch.no_grad():
        for _ in range(given.rounds):
            for name, run in zip(found, (search, answer, encode), strict=True):
                found[name].append(seconds(run))
    base = statistics.median(found["CEM"])
    print(
        f"{given.pairs} pairs at a time, plans of {planner.horizon} steps; medians of {given.rounds} interleaved rounds"
    )
    for name, values in found.items():
        middle = statistics.median(values)
        print(f"{name:>14}: {1e6 * middle / given.pairs:8.1f} µs of CPU a plan, 1/{base / middle:.0f} of CEM's")


def seconds(run: Callable[[], None]) -> float:
    """CPU time of a call."""
    started = time.process_time()
    run()
    return time.process_time() - started


if __name__ == "__main__":
    main()
