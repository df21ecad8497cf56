"""Collecting in environments and evaluating models there, against the bare loops that cannot be avoided.

    python benchmarks/environments.py [PACKAGE:ID …]

``collect`` is the CPU time of collecting trajectories over that of stepping the bare environment with as many random
actions; ``evaluate`` is the CPU time of planning some 100 tasks with a model of width 16 over that of the model's
roll-outs alone (as many, from zeros); seconds are of this process, on one thread.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from functools import partial

os.environ["JEPA_SCALE_CACHE"] = "off"
os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import torch

from jepa_scale.callbacks.base import Context
from jepa_scale.callbacks.success import tried
from jepa_scale.planners.cem import CEM
from jepa_scale.planners.planning import predicted_cost
from jepa_scale.records import Evaluation
from jepa_scale.runs.build import build_module
from jepa_scale.runs.config import compose
from jepa_scale.worlds.behaviour import Held
from jepa_scale.worlds.gymnasium_env import GymnasiumEnv

NAMES = ("Pendulum-v1", "gymnasium_robotics:PointMaze_UMaze-v3", "Reacher-v5", "gym_pusht:gym_pusht/PushT-v0")
PLANNER = CEM(horizon=6, candidates=24, iterations=2, elites=4, cost={"final": 0.0, "path": 1.0})
EVALUATION = Evaluation(episodes=34, required_steps=(5, 10, 20), stop_at_goal=True)


def seconds(act) -> float:
    started = time.process_time()
    act()
    return time.process_time() - started


def collecting(name: str, steps: int = 3000, repeats: int = 3) -> tuple[float, float]:
    """Ratio, and steps per CPU second of the bare environment."""
    world = GymnasiumEnv(name, behaviour=Held(5))
    world.sample(16, 5, 0)
    made = world.aside.made

    def bare() -> None:
        generator = np.random.default_rng(0)
        made.reset(seed=0)
        for _ in range(steps):
            action = world.units.actions(world.units.random(generator))[0]
            _, _, ended, cut, _ = made.step(action)
            if ended or cut:
                made.reset()

    ratios, floors = [], []
    for repeat in range(repeats):
        floor = seconds(bare)
        ratios.append(seconds(partial(world.sample, steps // 50, 50, 1 + repeat)) / floor)
        floors.append(floor)
    return float(np.median(ratios)), steps / float(np.median(floors))


def evaluating(name: str) -> tuple[float, float, int]:
    """Ratio to the roll-outs alone, CPU seconds, and tasks."""
    settings = ["world.behaviour=held", "world.frameskip=2", "world.repeat_action=true", "world.store=false"]
    parts = ["planner=cem", "objective=vicreg", "predictor=mlp", "model.k=16", "optimizer.base_k=null"]
    config = compose(["world=gymnasium", f"world.environment={name}", *settings, *parts])
    world = GymnasiumEnv(name, behaviour=Held(5), frameskip=2, repeat_action=True, store=False)
    module = build_module(config, world, torch.ones(1)).eval()
    context = Context(world, "same_action", PLANNER, 16, EVALUATION)
    results = tried(context, module)
    # Again, now that the references are known.
    whole = seconds(lambda: tried(context, module))
    steps = int(results.outcomes["model"].steps.sum())

    @torch.no_grad()
    def alone() -> None:
        cost = predicted_cost(module, PLANNER, world.action_space, torch.zeros(16, 16), torch.zeros(16, 16))
        plans = torch.zeros(16, PLANNER.candidates, PLANNER.horizon, world.action_space.size)
        for _ in range(-(-steps // 16) * PLANNER.iterations):
            cost(plans)

    return whole / seconds(alone), whole, len(results.trial.kept)


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print(f"{'environment':42} {'collect':>8} {'bare steps/s':>13} {'evaluate':>9} {'seconds':>8} {'tasks':>6}")
    for name in sys.argv[1:] or NAMES:
        try:
            ratio, speed = collecting(name)
            relative, cost, tasks = evaluating(name)
        except ValueError as error:
            print(f"{name:42} {error}")
            continue
        print(f"{name:42} {ratio:8.2f} {speed:13.0f} {relative:9.2f} {cost:8.1f} {tasks:6d}")


if __name__ == "__main__":
    main()
