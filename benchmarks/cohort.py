"""Runs per hour of one core: cohorts of M against the same runs one after another, as a study's worker does them.

Both run in one process, in turns, and CPU time is counted, so that other work on the machine matters little; ratios
are medians over turns, the last column that of wall time. Whole runs are timed: data, training, estimates of every
epoch, checkpoints, records. The plain world never repeats an observation; of the finite one's, each is encoded once a
step in a cohort. Goals: at M = 6 a ratio of 1.4 in plain worlds and of 2 in finite ones.

    OMP_NUM_THREADS=1 python benchmarks/cohort.py [key=value …] [--sizes 1 4 6 16 64] [--repeats 3] [--cases finite]

With --equal SEEDS: whether runs end with the same exact regret alone and in cohorts, by two one-sided t tests of the
differences of pairs (level .05 each), the margin being 1 % of what random plans lose.

    OMP_NUM_THREADS=1 python benchmarks/cohort.py --equal 20

With trainer.accelerator=gpu: the quickstart's network and the CNN of two_rooms at 32 pixels, M = 1, 4, 16, 64, on one
GPU. Ratios are of wall time there, and two tables more tell what a step launches from the host, how many kernels that
are, which share of the time kernels run, and why a step is not recorded, if it is not. Goals: at M = 64 ratios of 20
and 5. Where there is no GPU it says so and ends.

    OMP_NUM_THREADS=1 python benchmarks/cohort.py trainer.accelerator=gpu
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from jepa_scale.records import Batch
from jepa_scale.runs.build import build
from jepa_scale.runs.cohort import Job, run_cohort
from jepa_scale.runs.config import compose
from jepa_scale.runs.run import run
from jepa_scale.training.cohort.stack import Stack, Trainee

CASES = {
    "finite": ["world=nuisance", "planner.score=density", "optimizer.base_k=null", "optimizer.lr=0.007", "data.n=3000"],
    "plain": ["world=linear_gaussian", "planner=none", "data.n=3000"],
    "pixels": ["world=two_rooms", "encoder=cnn", "planner=none", "data.n=3000"],
}
"""The quickstart's run at n = 3000, k = 16, the same model of continuous observations and actions, and a CNN."""
CPU_CASES, GPU_CASES = ["finite", "plain"], ["finite", "pixels"]

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


class Busy:
    """Share of the time in which the GPU has worked, as its driver samples it, in percent; None without pynvml."""

    def __init__(self) -> None:
        self._seen: list[int] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Busy:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.2):
            try:
                self._seen.append(torch.cuda.utilization())
            except Exception:  # none, or a driver that does not say, as of a part of a GPU
                return

    @property
    def percent(self) -> float | None:
        return statistics.mean(self._seen) if self._seen else None


def trainee(config: dict, device: torch.device) -> Trainee:
    """A run before its first step, without Lightning around it, on a device."""
    parts = build(config)
    module = parts.module.to(device)
    steps = config["trainer"]["epochs"] * config["trainer"]["steps_per_epoch"]
    built = module.optimizer_settings.build(module.named_parameters(), steps, module.rates)
    loader = parts.data.train_dataloader()
    loader.data = loader.data.to(device)
    schedule = built["lr_scheduler"]["scheduler"]
    return Trainee(module, built["optimizer"], schedule, loader, config["trainer"]["gradient_clip"])


def step_alone(one: Trainee, number: int) -> None:
    """A training step as PyTorch's own loop takes it."""
    batch = one.loader.data.take(one.loader.chosen(number))
    loss = one.module.training_step(Batch(batch.observations, batch.actions), number)
    one.optimizer.zero_grad()
    loss.backward()
    if one.clip is not None:
        torch.nn.utils.clip_grad_norm_(one.module.parameters(), one.clip)
    one.optimizer.step()
    one.schedule.step()
    one.module.on_train_batch_end(None, None, number)


def profiled(base: dict, size: int, device: torch.device, steps: int = 20) -> str:
    """Launches, kernels and milliseconds of a step of ``size`` runs, and the share of it in which kernels run."""
    made = [trainee({**base, "seed": seed}, device) for seed in range(size)]
    why = ""
    advance: Callable[[int, int], None]
    if size == 1:

        def advance(step: int, count: int) -> None:
            for number in range(step, step + count):
                step_alone(made[0], number)
    else:
        stack = Stack(made, static=True)
        stack.check(0)
        advance = stack.advance

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    advance(0, 1)
    advance(1, steps)
    wait()
    # Without the profiler, which slows the host down.
    started = time.perf_counter()
    advance(1 + steps, steps)
    wait()
    seconds = (time.perf_counter() - started) / steps
    with torch.profiler.profile() as profile:
        advance(1 + 2 * steps, steps)
        wait()
    events = profile.key_averages()
    on_device = [event for event in events if event.device_type != torch.autograd.DeviceType.CPU]
    launched = sum(event.count for event in events if "LaunchKernel" in event.key or "GraphLaunch" in event.key)
    kernels, working = (
        sum(getattr(event, name) for event in on_device) for name in ("count", "self_device_time_total")
    )
    if size > 1:
        why = stack.why_plain or ("recorded" if device.type == "cuda" else "taken on the CPU")
    share = working / 1e6 / steps / seconds
    return f"{size:4d} {launched / steps:9.1f} {kernels / steps:8.1f} {1e3 * seconds:8.3f} {share:6.1%}  {why}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", help="default: 1 4 6 16 64, on a GPU without 6")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=sorted(CASES))
    parser.add_argument("--equal", type=int, metavar="SEEDS", help="compare final regrets instead of speed")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    on_gpu = "trainer.accelerator=gpu" in arguments.overrides
    if on_gpu and not torch.cuda.is_available():
        print("There is no GPU here: nothing was measured.")
        return
    sizes = arguments.sizes or ([1, 4, 16, 64] if on_gpu else [1, 4, 6, 16, 64])
    cases = arguments.cases or (GPU_CASES if on_gpu else CPU_CASES)
    if arguments.equal:
        print("    world  seeds     alone       sd difference [90 % interval]      largest  p(margin)")
        for world in WORLDS:
            print(equal_ends(world, arguments.equal, arguments.overrides), flush=True)
        return
    if on_gpu:
        print(torch.cuda.get_device_name(), f"torch {torch.__version__}")
    compare(cases, sizes, arguments.repeats, arguments.overrides, on_gpu)
    if on_gpu:
        for case in cases:
            base = compose(["logger=none", *CASES[case], *arguments.overrides])
            print(f"\n{case}: a step\n   M  launches  kernels       ms   busy")
            for size in sizes:
                print(profiled(base, size, torch.device("cuda")), flush=True)


def compare(cases: list[str], sizes: list[int], repeats: int, overrides: list[str], on_gpu: bool) -> None:
    """Print runs per hour alone and in cohorts: of CPU time, and on a GPU, which works beside the CPU, of wall time."""
    clock = int(on_gpu)
    print(f" case     M  alone runs/h  cohort runs/h  ratio (least … most)  wall{'  GPU busy' if on_gpu else ''}")
    for case in cases:
        base = compose(["logger=none", *CASES[case], *overrides])
        # Imports, the world's truth and the allocator are paid for here.
        with tempfile.TemporaryDirectory() as folder:
            alone([{**base, "seed": 1000}], Path(folder))
        for size in sizes:
            configs = [{**base, "seed": seed} for seed in range(size)]
            # Of a large cohort's runs alone a few tell the time of one.
            few = configs[: min(size, 6)]
            rows, busy = [], Busy()
            for _ in range(repeats):
                with tempfile.TemporaryDirectory() as folder:
                    solo = [seconds / len(few) for seconds in alone(few, Path(folder))]
                    with Busy() if on_gpu else contextlib.nullcontext(busy) as busy:
                        cohort = [seconds / size for seconds in together(configs, Path(folder))]
                rows.append(
                    (3600 / solo[clock], 3600 / cohort[clock], solo[clock] / cohort[clock], solo[1] / cohort[1])
                )
            hour, joint, ratio, wall = (statistics.median(column) for column in zip(*rows, strict=True))
            spread = f"({min(row[2] for row in rows):.2f} … {max(row[2] for row in rows):.2f})"
            line = f"{case:>6} {size:4d} {hour:13.0f} {joint:14.0f} {ratio:6.2f} {spread:>14} {wall:5.2f}"
            percent = "not known: pip install nvidia-ml-py" if busy.percent is None else f"{busy.percent:.0f} %"
            print(f"{line}  {percent}" if on_gpu else line, flush=True)


if __name__ == "__main__":
    main()
