"""Runs per hour of one core: cohorts of M against the same runs one after another, as a study's worker does them.

Both run in one process, in turns, and CPU time is counted, so that other work on the machine matters little; ratios
are medians over turns, the last column that of wall time. Whole runs are timed: data, training, estimates of every
epoch, checkpoints, records. The plain world never repeats an observation; of the finite one's, each is encoded once a
step in a cohort. Goals: at M = 6 a ratio of 1.4 in plain worlds and of 2 in finite ones.

    OMP_NUM_THREADS=1 python benchmarks/cohort.py [key=value …] [--sizes 1 4 6 16 64] [--repeats 3] [--cases finite]

With trainer.accelerator=gpu: the same on a GPU, by wall time, and what a step launches there (``cohort_gpu.py``).

With --equal SEEDS: whether runs end with the same exact regret alone and in cohorts, by two one-sided t tests of the
differences of pairs (level .05 each), the margin being 1 % of what random plans lose.

    OMP_NUM_THREADS=1 python benchmarks/cohort.py --equal 20

With --callbacks: the share of CPU time that callbacks take at the end of epochs, of whole cohorts. Goal: ≤ 15 % at
M = 32, k = 64.

    OMP_NUM_THREADS=1 python benchmarks/cohort.py --callbacks --cases finite --sizes 32 model.k=64
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from scipy import stats

from jepa_scale.callbacks.base import EpochCallback
from jepa_scale.runs.cohort import Job, run_cohort
from jepa_scale.runs.config import compose
from jepa_scale.runs.run import run

CASES = {
    "finite": ["world=nuisance", "planner.score=density", "optimizer.base_k=null", "optimizer.lr=0.007", "data.n=3000"],
    "plain": ["world=linear_gaussian", "planner=none", "data.n=3000"],
}
"""The quickstart's run at n = 3000, k = 16, and the same model of continuous observations and actions."""


WORLDS = {
    "nuisance": ["world=nuisance", "planner.score=density", "optimizer.base_k=null", "optimizer.lr=0.007"],
    "torus": ["world=torus", "planner.score=density", "optimizer.lr=0.007"],
}
"""Worlds of exact regret, for the test of equal ends."""
MARGIN = 0.01
"""Largest difference that counts as none, as a share of the regret of random plans."""


def equal_ends(world: str, seeds: int, overrides: list[str]) -> str:
    """Train runs alone and in cohorts of ten, and compare their exact regrets by pairs of one seed."""
    base = compose(["logger=none", *WORLDS[world], "data.n=3000", *overrides])
    configs = [{**base, "seed": seed} for seed in range(seeds)]
    with tempfile.TemporaryDirectory() as folder:
        solo = [run(config, Path(folder) / f"alone-{number}") for number, config in enumerate(configs)]
        joint = []
        for start in range(0, seeds, 10):
            jobs = [Job(one, Path(folder) / f"member-{one['seed']}") for one in configs[start : start + 10]]
            joint += run_cohort(jobs)
    random = solo[0].final["regret/random"]
    pairs = np.array(
        [
            [one.final["regret/density"], two.record.final["regret/density"]]
            for one, two in zip(solo, joint, strict=True)
        ]
    )
    pairs /= random
    difference = pairs[:, 1] - pairs[:, 0]
    error = float(difference.std(ddof=1)) / seeds**0.5
    reach = float(stats.t.ppf(0.95, seeds - 1)) * error
    low, high = difference.mean() - reach, difference.mean() + reach
    p = float(stats.t.sf((MARGIN - abs(difference.mean())) / error, seeds - 1)) if error else 0.0
    return (
        f"{world:>9} {seeds:6d} {pairs[:, 0].mean():8.4f} {pairs[:, 0].std(ddof=1):8.4f} {difference.mean():+10.5f} "
        f"[{low:+.5f}, {high:+.5f}] {np.abs(difference).max():9.5f} {p:9.2g}"
    )


def now() -> tuple[float, float]:
    """Seconds of CPU time of this process, and of wall time."""
    return time.process_time(), time.perf_counter()


def since(started: tuple[float, float]) -> tuple[float, float]:
    """Seconds since then, of both."""
    return now()[0] - started[0], now()[1] - started[1]


def alone(configs: list[dict], folder: Path) -> tuple[float, float]:
    """Seconds of the runs one after another."""
    started = now()
    for number, config in enumerate(configs):
        run(config, folder / f"alone-{number}")
        gc.collect()
    return since(started)


def together(configs: list[dict], folder: Path) -> tuple[float, float]:
    """Seconds of the same runs as a cohort; of a cohort of one, as a study does it, that is the run alone."""
    if len(configs) == 1:
        return alone(configs, folder / "one")
    started = now()
    outcomes = run_cohort([Job(config, folder / f"member-{number}") for number, config in enumerate(configs)])
    gc.collect()
    seconds = since(started)
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return seconds


def callback_share(configs: list[dict]) -> tuple[float, float, dict[str, float]]:
    """Seconds of CPU time of a cohort, those in callbacks at the end of epochs, and milliseconds by callback."""
    spent: dict[str, float] = defaultdict(float)
    original = EpochCallback.on_train_epoch_end

    def timed(callback: EpochCallback, *arguments: Any) -> None:
        started = now()
        original(callback, *arguments)
        spent[type(callback).__name__] += since(started)[0]

    epochs = len(configs) * configs[0]["trainer"]["epochs"]
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(EpochCallback, "on_train_epoch_end", timed),
    ):
        seconds = together(configs, Path(folder))[0]
    return seconds, sum(spent.values()), {name: 1000 * value / epochs for name, value in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 6, 16, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=sorted(CASES), default=sorted(CASES))
    parser.add_argument("--equal", type=int, metavar="SEEDS", help="compare final regrets instead of speed")
    parser.add_argument("--callbacks", action="store_true", help="tell the callbacks' share instead of speed")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.equal:
        print("    world  seeds     alone       sd difference [90 % interval]      largest  p(margin)")
        for world in WORLDS:
            print(equal_ends(world, arguments.equal, arguments.overrides), flush=True)
        return
    if arguments.callbacks:
        print(" case     M  CPU s  callbacks  share  ms of an epoch of a member")
        for case, size in itertools.product(arguments.cases, arguments.sizes):
            base = compose(["logger=none", *CASES[case], *arguments.overrides])
            for _ in range(arguments.repeats):
                seconds, spent, each = callback_share([{**base, "seed": seed} for seed in range(size)])
                listed = ", ".join(f"{name} {value:.1f}" for name, value in each.items())
                print(f"{case:>6} {size:4d} {seconds:6.1f} {spent:10.1f} {spent / seconds:6.1%}  {listed}", flush=True)
        return
    print(" case     M  alone runs/h  cohort runs/h  ratio (least … most)  wall")
    for case in arguments.cases:
        base = compose(["logger=none", *CASES[case], *arguments.overrides])
        # Imports, the world's truth and the allocator are paid for here.
        with tempfile.TemporaryDirectory() as folder:
            alone([{**base, "seed": 1000}], Path(folder))
        for size in arguments.sizes:
            configs = [{**base, "seed": seed} for seed in range(size)]
            # Of a large cohort's runs alone a few tell the time of one.
            few = configs[: min(size, 6)]
            rows = []
            for _ in range(arguments.repeats):
                with tempfile.TemporaryDirectory() as folder:
                    solo = [seconds / len(few) for seconds in alone(few, Path(folder))]
                    cohort = [seconds / size for seconds in together(configs, Path(folder))]
                rows.append((3600 / solo[0], 3600 / cohort[0], solo[0] / cohort[0], solo[1] / cohort[1]))
            hour, joint, ratio, wall = (statistics.median(column) for column in zip(*rows, strict=True))
            spread = f"({min(row[2] for row in rows):.2f} … {max(row[2] for row in rows):.2f})"
            print(f"{case:>6} {size:4d} {hour:13.0f} {joint:14.0f} {ratio:6.2f} {spread:>14} {wall:5.2f}", flush=True)


if __name__ == "__main__":
    import sys

    if "trainer.accelerator=gpu" in sys.argv:
        from cohort_gpu import main as main_on_gpu

        main_on_gpu()
    else:
        main()
