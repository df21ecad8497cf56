"""CEM by the public path against a bare loop of the same work; the spectral planner against scoring every plan.

CPU seconds of one thread, medians of rounds in which all take turns in one process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from importlib import import_module

import numpy as np
import torch
from torch import Tensor, nn

from jepa_scale.planners.cem import CEM
from jepa_scale.planners.planning import plan_with
from jepa_scale.planners.spectral import Spectral
from jepa_scale.records import ActionSpace
from jepa_scale.shapes import Float64
from jepa_scale.theory.model import truncated_svd
from jepa_scale.theory.planning import all_plans
from jepa_scale.theory.rollout import OperatorRollOut
from jepa_scale.worlds.torus import Torus

PAIRS, LATENT, HIDDEN, HORIZON, CANDIDATES, ITERATIONS, ELITES = 16, 32, 256, 10, 512, 8, 64
SPACE = ActionSpace(None, 2)
PLANNER = CEM(horizon=HORIZON, candidates=CANDIDATES, iterations=ITERATIONS, elites=ELITES, floor=1e-6)


class Model(nn.Module):
    """Latents are given; the predictor is an MLP 34-256-256-32."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(LATENT + SPACE.size, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
            nn.Linear(HIDDEN, LATENT),
        )  # fmt: skip

    def encode(self, observations: Tensor) -> Tensor:
        return observations

    def embed_action(self, actions: Tensor) -> Tensor:
        return actions

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        return self.body(torch.cat([latents, actions], dim=-1))


@torch.no_grad()
def bare(model: Model, starts: Tensor, goals: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The same work pair by pair with nothing around it: plans (B, H, size)."""
    plans = []
    for start, goal in zip(starts, goals, strict=True):
        mean, deviation = torch.zeros(HORIZON, SPACE.size), torch.ones(HORIZON, SPACE.size)
        for _ in range(ITERATIONS):
            tried = (mean + deviation * torch.randn(CANDIDATES, HORIZON, SPACE.size)).clamp(-1, 1)
            latents, actions = start.to(dtype).expand(CANDIDATES, -1), tried.to(dtype)
            for step in range(HORIZON):
                latents = model.body(torch.cat([latents, actions[:, step]], dim=-1))
            costs = (latents.float() - goal).square().sum(-1)
            elite = tried[costs.topk(ELITES, largest=False).indices]
            mean, deviation = elite.mean(0), elite.std(0)
        plans.append(mean)
    return torch.stack(plans)


def medians(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            began = time.process_time()
            work()
            # The first round warms up.
            if turn:
                seconds[name].append(time.process_time() - began)
    return {name: float(np.median(values)) for name, values in seconds.items()}


class AsTorchWorld:
    """The same model as torch_world's planner asks for one; without a past."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def rollout(self, latents: Tensor, actions: Tensor) -> Tensor:
        """(N, 1, k), (N, H, size) → (N, 1 + H, k)"""
        reached = [latents[:, 0]]
        for action in actions.unbind(1):
            reached.append(self.model.predict(reached[-1], action))
        return torch.stack(reached, dim=1)

    def cost(self, reached: Tensor, goals: Tensor) -> Tensor:
        """Squared distance of the last latent: (N, 1 + H, k), (N, k) → (N,)"""
        return (reached[:, -1] - goals).square().sum(-1)


def peers(model: Model, starts: Tensor, goals: Tensor) -> dict[str, Callable[[], object]]:
    """Planners of other libraries for the same work, where they are installed."""
    found: dict[str, Callable[[], object]] = {}
    try:
        planner = import_module("torch_world.planning").CEM(HORIZON, SPACE.size, CANDIDATES, ELITES, ITERATIONS)
        found["torch_world"] = lambda: planner(AsTorchWorld(model), starts[:, None], goals)
    except ImportError as error:
        print(f"torch_world is not timed: {error}")
    try:
        import_module("stable_worldmodel")
        print("stable_worldmodel is not timed: it could be imported nowhere that this script was written on")
    except (ImportError, RuntimeError) as error:
        # RuntimeError: a torchvision that was built for another torch.
        print(f"stable_worldmodel is not timed: {error}")
    return found


def continuous(rounds: int, lowered_rounds: int) -> None:
    torch.manual_seed(0)
    model = Model()
    half = Model().to(torch.bfloat16)
    half.load_state_dict(model.state_dict())
    starts, goals = torch.randn(PAIRS, LATENT), 0.3 * torch.randn(PAIRS, LATENT)

    def ours(pairs: int | None = None, precision: str = "float32"):
        return plan_with(model, PLANNER, starts, goals, SPACE, 0, pairs, precision)

    works: dict[str, Callable[[], object]] = {
        "bare loop": lambda: bare(model, starts, goals),
        "plan_with": ours,
        "plan_with, pairs=16": lambda: ours(PAIRS),
    }
    works |= peers(model, starts, goals)
    found = medians(works, rounds)
    # In a group of its own: where the processor has no bfloat16 it takes several times as long as all others together.
    found |= medians(
        {
            "bare loop, bfloat16": lambda: bare(half, starts, goals, torch.bfloat16),
            "plan_with, bfloat16": lambda: ours(None, "bfloat16"),
        },
        lowered_rounds,
    )
    print(
        f"CEM, {PAIRS} pairs, {PAIRS * HORIZON * CANDIDATES * ITERATIONS} rows of the MLP, {rounds} rounds, "
        f"{lowered_rounds} in bfloat16"
    )
    for name, seconds in found.items():
        print(f"{name:24s} {seconds:7.3f} s   {seconds / found['bare loop']:5.2f} of the bare loop in float32")
    full, lowered = ours().costs, ours(None, "bfloat16").costs
    change = lowered - full
    print(
        f"cost of the chosen plans in float32: {float(full.mean()):.4f}; planned in bfloat16 it is higher by "
        f"{float(change.mean()):+.5f} ± {float(change.std() / PAIRS**0.5):.5f} (mean over pairs), at most "
        f"{float(change.max()):+.5f}"
    )


def batched(rolled: OperatorRollOut, start: int, goal: int, plans: np.ndarray) -> Float64[np.ndarray, " plans"]:
    """Scores of all plans by their operator products, all of them side by side: O(plans · T k²)."""
    reached = rolled.model.predictor[plans[:, 0], start][:, None]
    for last, action in zip(plans.T[:-1], plans.T[1:], strict=True):
        reached = reached @ rolled.links[last, action]
    return (reached[:, 0] @ rolled.model.encoder[goal]) * rolled.law[plans[:, -1], goal]


def shared(rolled: OperatorRollOut, horizon: int, start: int, goal: int) -> Float64[np.ndarray, " plans"]:
    """The same with every prefix computed once, in an order of its own: O(plans · k²)."""
    reached = rolled.model.predictor[:, None, start]
    for _ in range(horizon - 1):
        reached = np.concatenate(list(reached[:, None] @ rolled.links), axis=1)
    return ((reached @ rolled.model.encoder[goal]) * rolled.law[:, goal, None]).ravel()


def operators(rounds: int, horizon: int, k: int) -> None:
    world = Torus(side=6, slip=0.2, blur=0.5).finite
    rolled = OperatorRollOut.of(world, truncated_svd(world, k))
    plans, planner, start, goal = all_plans(world.actions, horizon), Spectral(horizon), 3, 20
    listed = plans.tolist()
    works = {
        "one by one": lambda: max(rolled.score(start, plan, goal) for plan in listed),
        "batched": lambda: batched(rolled, start, goal, plans).max(),
        "batched, shared prefixes": lambda: shared(rolled, horizon, start, goal).max(),
        "spectral": lambda: planner.choose(rolled, np.array([start]), np.array([goal])).score[0, 0],
    }
    values = [work() for work in works.values()]
    assert np.allclose(values, values[-1], rtol=1e-9), values
    # A call of a millisecond is timed by the hundred.
    repeated = {**works, "spectral": lambda: [works["spectral"]() for _ in range(100)]}
    found = medians(repeated, rounds)
    found["spectral"] /= 100
    print(f"\nbest of {world.actions}^{horizon} plans for one start and goal, k = {k}, {rounds} rounds")
    for name, seconds in found.items():
        print(f"{name:24s} {1e3 * seconds:9.3f} ms   {seconds / found['spectral']:7.1f} of spectral")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--bfloat16-rounds", type=int, default=2)
    parser.add_argument("--horizon", type=int, default=6)
    parser.add_argument("--k", type=int, nargs="+", default=[16, 32])
    given = parser.parse_args()
    torch.set_num_threads(1)
    continuous(given.rounds, given.bfloat16_rounds)
    for k in given.k:
        operators(given.rounds, given.horizon, k)


if __name__ == "__main__":
    main()
