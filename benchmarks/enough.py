"""How often `jepa-scale data --enough` is right: ladders of known worlds, cut at every rung, against what came.

    python benchmarks/enough.py [WORLD …]

Each world is recorded four times with 16 000 transitions, and each recording gives ladders one and five steps ahead.
From every cut with three rungs below, the next two rungs are forecast and compared with what was measured there,
with no change, and with the power law through the last two rungs. Errors are logarithms of ratios, E(next) / E(last);
an answer is right if twice the data removed more than 5 % of the error where it said so, and less where it said that.
Worlds whose packages are missing are left out. Takes some 10 minutes on one core.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from jepa_scale.data.enough.forecast import forecast
from jepa_scale.data.enough.ladder import FOLDS, Ladder, measure
from jepa_scale.records import ActionSpace, Episodes

TRANSITIONS, RECORDINGS, FEWEST = 16_000, 4, 400


def gymnasium(name: str, length: int = 50, noise: float = 0.0) -> Callable[[int], Episodes]:
    """Record an environment under smooth noise, or held random actions where they are discrete."""

    def record(seed: int) -> Episodes:
        import gymnasium as gym

        world, generator = gym.make(name), np.random.default_rng(seed)
        space = world.action_space
        discrete = hasattr(space, "n")
        episodes, total = [], 0
        while total < TRANSITIONS:
            seen, actions = [np.ravel(world.reset(seed=int(seed * 100_003 + len(episodes)))[0])], []
            hidden: np.ndarray | None = None
            for _ in range(length):
                if discrete:
                    held = hidden is not None and generator.random() >= 0.3
                    hidden = hidden if held else generator.integers(space.n)
                    action = int(hidden)
                else:
                    fresh = generator.normal(size=space.shape)
                    hidden = fresh if hidden is None else 0.8 * hidden + 0.6 * fresh
                    middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
                    action = (np.clip(0.6 * hidden, -1, 1) * half + middle).astype(np.float32)
                step = world.step(action)
                seen.append(np.ravel(step[0]))
                actions.append(action)
                if step[2] or step[3]:
                    break
            if len(actions) >= 8:
                rows = np.array(seen)
                episodes.append((rows + noise * generator.normal(size=rows.shape), np.array(actions)))
                total += len(actions)
        found = (
            ActionSpace(count=int(space.n)) if discrete else ActionSpace(size=int(np.prod(space.shape)), low=-9, high=9)
        )
        return joined(episodes, found)

    return record


def mapped(step: Callable[[np.ndarray, np.ndarray], np.ndarray], size: int, noise: float, inputs: int):
    """Record x⁺ = step(x, a) + noise under independent actions."""

    def record(seed: int) -> Episodes:
        generator = np.random.default_rng(seed)
        episodes = []
        for _ in range(TRANSITIONS // 40):
            actions = generator.uniform(-1, 1, (40, inputs))
            seen = [generator.normal(size=size)]
            for action in actions:
                seen.append(step(seen[-1], action) + noise * generator.normal(size=size))
            episodes.append((np.array(seen), actions))
        return joined(episodes, ActionSpace(size=inputs))

    return record


def linear(size: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """x⁺ = A x + B a with spectral radius 0.95."""
    generator = np.random.default_rng(7)
    matrix = generator.normal(size=(size, size))
    matrix *= 0.95 / np.abs(np.linalg.eigvals(matrix)).max()
    inputs = 0.5 * generator.normal(size=(size, 2))
    return lambda x, a: matrix @ x + inputs @ a


def folded() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """x⁺ = sin(W (x, a)), chaotic."""
    weights = 1.65 * np.random.default_rng(3).normal(size=(4, 5))
    return lambda x, a: np.sin(weights @ np.append(x, a))


def joined(episodes: list[tuple[np.ndarray, np.ndarray]], space: ActionSpace) -> Episodes:
    """Put episodes one after another."""
    lengths = np.array([len(seen) for seen, _ in episodes])
    usable = np.ones(lengths.sum(), bool)
    usable[np.cumsum(lengths) - 1] = False
    actions = np.concatenate([np.concatenate([acts, acts[-1:]]) for _, acts in episodes])
    kind = np.int64 if space.discrete else np.float32
    seen = np.concatenate([rows for rows, _ in episodes]).astype(np.float32)
    return Episodes(seen, actions.astype(kind), lengths, usable, space)


WORLDS = {
    "Pendulum": gymnasium("Pendulum-v1"),
    "Pendulum, noisy": gymnasium("Pendulum-v1", noise=0.1),
    "CartPole": gymnasium("CartPole-v1"),
    "MountainCar": gymnasium("MountainCarContinuous-v0", 100),
    "Acrobot": gymnasium("Acrobot-v1", 100),
    "Reacher": gymnasium("Reacher-v5"),
    "HalfCheetah": gymnasium("HalfCheetah-v5", 100),
    "Hopper": gymnasium("Hopper-v5", 100),
    "Swimmer": gymnasium("Swimmer-v5", 100),
    "PushT": gymnasium("gym_pusht:gym_pusht/PushT-v0", 100),
    "linear": mapped(linear(6), 6, 0.1, 2),
    "linear, noisy": mapped(linear(12), 12, 0.5, 2),
    "folded map": mapped(folded(), 4, 0.0, 1),
    "folded map, noisy": mapped(folded(), 4, 0.1, 1),
}


def judged(ladder: Ladder) -> list[tuple[float, ...]]:
    """Forecast the next rungs from every cut: steps, covered, CRPS, |no change|, |power law|, P(small), was small."""
    rows = []
    for cut in range(3, len(ladder.n)):
        if ladder.n[cut - 1] < FEWEST:
            continue
        below = replace(ladder, n=ladder.n[:cut], episodes=ladder.episodes[:cut], errors=ladder.errors[:cut])
        draws = forecast(below)
        for steps in (1, 2)[: len(ladder.n) - cut]:
            came, last = cut - 1 + steps, cut - 1
            truth = float(np.log(ladder.means[came] / ladder.means[last]))
            left = (ladder.means[:, None] - ladder.errors * ladder.weights) / (1 - ladder.weights)
            ratios = np.log(left[came] / left[last])
            # What the held-out parts tell of the ratio is uncertain too.
            spread = np.sqrt((FOLDS - 1) / FOLDS * np.square(ratios - ratios.mean()).sum())
            gain = draws.gain(float(ladder.n[came] / ladder.n[last]))
            drawn = np.log1p(-gain) + spread * np.random.default_rng(1).standard_normal(len(gain))
            low, high = np.quantile(drawn, [0.05, 0.95])
            shuffled = np.random.default_rng(2).permutation(drawn)
            crps = float(np.abs(drawn - truth).mean() - 0.5 * np.abs(drawn - shuffled).mean())
            power = steps * float(np.log(ladder.means[last] / ladder.means[last - 1]))
            small = (gain < 0.05) | (draws.level * gain < 0.002)
            removed = 1 - float(np.exp(truth))
            came_small = removed < 0.05 or ladder.means[last] * removed < 0.002
            rows.append(
                (steps, low <= truth <= high, crps, abs(truth), abs(truth - power), float(small.mean()), came_small)
            )
    return rows


def main(names: list[str]) -> None:
    """Print a row for each world, and the totals."""
    warnings.filterwarnings("ignore")
    every = []
    head = f"{'world':20s} {'n':>4s} {'covered':>8s} {'CRPS':>7s} {'no change':>10s} {'power law':>10s}"
    print(head + f" {'answered':>9s} {'wrong':>6s}")
    for name in names or WORLDS:
        try:
            recordings = [WORLDS[name](seed) for seed in range(RECORDINGS)]
        except ImportError as error:
            print(f"{name:20s} left out: {error}")
            continue
        ladders = [measure(one, horizon, seed) for seed, one in enumerate(recordings) for horizon in (1, 5)]
        rows = [row for ladder in ladders for row in judged(ladder)]
        every += rows
        show(name, rows)
    show("all", every)


def show(name: str, rows: list[tuple[float, ...]]) -> None:
    """Print one row."""
    table = np.array(rows, float)
    next_rung = table[table[:, 0] == 1]
    enough, more = next_rung[:, 5] >= 0.9, next_rung[:, 5] <= 0.1
    small = next_rung[:, 6] == 1
    wrong = int((enough & ~small).sum() + (more & small).sum())
    answered = int((enough | more).sum())
    print(
        f"{name:20s} {len(table):4d} {table[:, 1].mean():8.2f} {table[:, 2].mean():7.3f} {table[:, 3].mean():10.3f} "
        f"{table[:, 4].mean():10.3f} {answered:4d}/{len(next_rung):<4d} {wrong:6d}",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
