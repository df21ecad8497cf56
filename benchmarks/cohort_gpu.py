"""Runs per hour of one GPU, in cohorts and one after another: what ``cohort.py trainer.accelerator=gpu`` measures.

The quickstart's network and the CNN of two_rooms at 32 pixels, M = 1, 4, 16, 64. Runs per hour and ratios are of wall
time, as a GPU works beside the CPU. A second table tells of a step what is launched from the host, how many kernels
that are, its milliseconds, the share of them in which kernels run, and why it is not recorded, if it is not. Goals: at
M = 64 ratios of 20 and 5. Where there is no GPU it says so and ends.

    OMP_NUM_THREADS=1 python benchmarks/cohort.py trainer.accelerator=gpu [key=value …] [--sizes 1 64] [--cases finite]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

# As a script in the same folder is found.
from cohort import CASES, alone, together

from jepa_scale.records import Batch
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose
from jepa_scale.training.cohort.stack import Stack, Trainee

GPU_CASES = {
    "finite": CASES["finite"],
    "pixels": ["world=two_rooms", "encoder=cnn", "planner=none", "data.n=3000"],
}


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


def compare(case: str, base: dict, sizes: list[int], repeats: int) -> None:
    """Print runs per hour alone and in cohorts of each size, by wall time."""
    # Imports, the world's truth, CUDA and its allocator are paid for here.
    with tempfile.TemporaryDirectory() as folder:
        alone([{**base, "seed": 1000}], Path(folder))
    for size in sizes:
        configs = [{**base, "seed": seed} for seed in range(size)]
        # Of a large cohort's runs alone a few tell the time of one.
        few, rows, busy = configs[: min(size, 6)], [], []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                solo = alone(few, Path(folder))[1] / len(few)
                with Busy() as seen:
                    cohort = together(configs, Path(folder))[1] / size
            rows.append((3600 / solo, 3600 / cohort, solo / cohort))
            busy += [] if seen.percent is None else [seen.percent]
        hour, joint, ratio = (statistics.median(column) for column in zip(*rows, strict=True))
        spread = f"({min(row[2] for row in rows):.2f} … {max(row[2] for row in rows):.2f})"
        percent = f"{statistics.mean(busy):.0f} %" if busy else "not known: pip install nvidia-ml-py"
        print(f"{case:>6} {size:4d} {hour:13.0f} {joint:14.0f} {ratio:6.2f} {spread:>14}  {percent}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=sorted(GPU_CASES), default=sorted(GPU_CASES))
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not torch.cuda.is_available():
        print("There is no GPU here: nothing was measured.")
        return
    print(torch.cuda.get_device_name(), f"torch {torch.__version__}")
    bases = {case: compose(["logger=none", *GPU_CASES[case], *arguments.overrides]) for case in arguments.cases}
    print(" case     M  alone runs/h  cohort runs/h  ratio (least … most)  GPU busy")
    for case, base in bases.items():
        compare(case, base, arguments.sizes, arguments.repeats)
    for case, base in bases.items():
        print(f"\n{case}: a step\n   M  launches  kernels       ms   busy")
        for size in arguments.sizes:
            print(profiled(base, size, torch.device("cuda")), flush=True)
