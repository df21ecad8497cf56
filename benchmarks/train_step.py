"""What Lightning and the callbacks cost: `Trainer.fit` against a bare torch loop of the same model and data.

Both run in one process, in turns. On CPUs the process's CPU time is counted, so that other work on the machine matters
little; on a GPU, where the process waits, wall time. Promise, for the quickstart's model: ratio ≤ 1.15 without
callbacks and ≤ 1.3 with all, callbacks ≤ 10 % of a run. Ratios are medians over repeats, with least and most.

    OMP_NUM_THREADS=1 python benchmarks/train_step.py [--repeats 5] [--widths 2 16 64] [key=value …]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning as L
import torch

from jepa_scale.callbacks.base import EpochCallback
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose
from jepa_scale.runs.run import run


def clock(config: dict) -> Callable[[], float]:
    """Seconds of CPU time, or of wall time where a device is waited for."""
    return time.process_time if config["trainer"]["accelerator"] == "cpu" else time.perf_counter


def bare(config: dict) -> float:
    """Seconds of the same training with nothing around it: same batches, same optimiser, same clipping."""
    parts = build(config)
    settings = config["trainer"]
    device = torch.device("cuda" if settings["accelerator"] == "gpu" else "cpu")
    encoder, predictor, objective = (
        part.to(device) for part in (parts.module.encoder, parts.module.predictor, parts.module.objective)
    )
    steps = settings["epochs"] * settings["steps_per_epoch"]
    parameters = [*encoder.parameters(), *predictor.parameters()]
    module = parts.module
    built = module.optimizer_settings.build(module.named_parameters(), steps, module.rates)
    optimizer, schedule = built["optimizer"], built["lr_scheduler"]["scheduler"]
    data = parts.data.windows.to(device)
    rows, size = len(data), config["data"]["batch_size"]
    observations, acting = data.observations.values, data.actions.values
    order, place = torch.randperm(rows, device=device), 0
    now = clock(config)
    started = now()
    for _ in range(steps):
        if place + size > rows:
            order, place = torch.randperm(rows, device=device), 0
        chosen = order[place : place + size]
        place += size
        first = data.starts[chosen]
        latents = encoder(torch.cat([observations[first], observations[first + 1]]))
        current, following = latents.chunk(2)
        actions = acting[first]
        loss = objective.one_step(predictor(current, actions), following, actions)
        optimizer.zero_grad()
        loss.backward()
        if settings["gradient_clip"] is not None:
            torch.nn.utils.clip_grad_norm_(parameters, settings["gradient_clip"])
        optimizer.step()
        schedule.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return now() - started


def timed(function: Callable[..., Any], now: Callable[[], float], spent: list[float]) -> Callable[..., Any]:
    """The same function; ``spent`` takes the seconds of each call."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        started = now()
        try:
            return function(*arguments, **keywords)
        finally:
            spent.append(now() - started)

    return call


def ours(config: dict) -> tuple[float, float, float]:
    """Seconds of `Trainer.fit` and of the whole run, and the share of the run spent in callbacks."""
    now = clock(config)
    fits: list[float] = []
    callbacks: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(L.Trainer, "fit", timed(L.Trainer.fit, now, fits)),
        patch.object(EpochCallback, "on_train_epoch_end", timed(EpochCallback.on_train_epoch_end, now, callbacks)),
    ):
        started = now()
        run(config, Path(folder) / "run")
        whole = now() - started
    return sum(fits), whole, sum(callbacks) / whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--widths", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64])
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("   k  bare steps/s  fit without callbacks/bare       fit/bare  whole run/bare  callbacks of run")
    shares = []
    for k in arguments.widths:
        logged = compose([f"model.k={k}", *arguments.overrides])
        plain = compose([f"model.k={k}", "logger=none", "callbacks=none", *arguments.overrides])
        steps = logged["trainer"]["epochs"] * logged["trainer"]["steps_per_epoch"]
        rows = []
        for repeat in range(arguments.repeats + 1):
            floor, lean, (fitted, whole, share) = bare(logged), ours(plain)[0], ours(logged)
            # The first round pays for imports, the world's truth and the allocator.
            if repeat:
                rows.append((floor, lean / floor, fitted / floor, whole / floor, share))
        floor, lean, fitted, whole, share = (statistics.median(column) for column in zip(*rows, strict=True))
        shares.append(share)
        spreads = [f"({min(row[at] for row in rows):.2f} … {max(row[at] for row in rows):.2f})" for at in (1, 2)]
        print(
            f"{k:4d} {steps / floor:13.0f} {lean:12.2f} {spreads[0]} {fitted:9.2f} {spreads[1]} {whole:15.2f} "
            f"{share:17.1%}",
            flush=True,
        )
    print(f"mean share of callbacks over widths: {statistics.mean(shares):.1%}")


if __name__ == "__main__":
    main()
