"""How a study's bookkeeping grows with its runs: planning, submitting, claiming, collecting. No run is trained.

Records are copies of one real run's, with a planted regret. SLURM's commands are stand-ins that answer at once; what a
real controller takes for one sbatch and one squeue comes on top. Wall seconds, as a user waits for them.

With --queue: the queue alone, in a journal or, by --storage, on a server, whose database must be empty:

    python benchmarks/cluster.py --queue 60 --trials 100000 --storage postgresql+psycopg2://me@localhost/empty
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from jepa_scale.integrations.slurm import submitting
from jepa_scale.integrations.slurm.launcher import SlurmLauncher
from jepa_scale.records import RunRecord
from jepa_scale.runs.run import run
from jepa_scale.studies.design import DesignPoint, design, design_sampler
from jepa_scale.studies.manifest import read_plan
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.specification.spec import StudySpec, parse_spec

TINY = [
    "world=lowrank", "logger=none", "trainer.epochs=1", "trainer.steps_per_epoch=5", "data.heldout=1600",
    "data.test=1600", "data.batch_size=32", "model.hidden=16",
]  # fmt: skip


def spec_of(trials: int) -> StudySpec:
    """A grid of 20 sizes × 10 widths × as many seeds as are needed."""
    content = {
        "name": "grown",
        "question": "How does bookkeeping grow?",
        "dials": {"data.n": [int(n) for n in np.geomspace(100, 10_000, 20)], "model.k": list(range(2, 12))},
        "seeds": list(range(-(-trials // 200))),
        "laws": ["generic"],
        "bootstrap_draws": 50,
        "overrides": TINY,
    }
    return parse_spec(content, "benchmark")


def stand_ins(folder: Path) -> None:
    """Put SLURM's commands on the path."""
    folder.mkdir()
    for name, script in {
        "sbatch": "cat > /dev/null; echo 7",
        "squeue": "true",
        "scontrol": "echo MaxArraySize=1001",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


def timed(label: str, action: object, *arguments: object) -> object:
    """Call, and print how long it took."""
    started = time.perf_counter()
    result = action(*arguments)  # type: ignore[operator]
    print(f"{label:<58}{time.perf_counter() - started:8.2f} s", flush=True)
    return result


def command(*arguments: str) -> None:
    """A command as a user runs it, imports included."""
    subprocess.run([sys.executable, "-m", "jepa_scale", *arguments], check=False, capture_output=True)


def planted(record: RunRecord, point: DesignPoint, config: dict) -> RunRecord:
    """The record of another cell."""
    noise = np.random.default_rng([point.n, point.k, point.seed]).normal()
    regret = float((0.3 / point.k + 5 / point.n**0.5) * np.exp(0.05 * noise))
    final = {**record.final, f"regret/{config['planner']['score']}": regret}
    dials = {**record.dials, "n": point.n, "k": point.k, "seed": point.seed}
    return replace(record, run_id=point.run_id, config=config, final=final, dials=dials)


def claim_all(study: Path, worker: str, most: int) -> None:
    """Take runs and tell them as failed, as a worker does with ones that end at once."""
    queue = Queue(study, "grown")
    for _ in range(most):
        claim = queue.claim(worker)
        if claim is None:
            return
        queue.fail(claim.trial_id, "not trained")


def throughput(study: Path, workers: int, trials: int) -> None:
    """Runs that several processes take and tell in a second."""
    context = multiprocessing.get_context("spawn")
    share = -(-trials // workers)
    crew = [context.Process(target=claim_all, args=(study, f"w{number}", share)) for number in range(workers)]
    started = time.perf_counter()
    for process in crew:
        process.start()
    for process in crew:
        process.join()
    seconds = time.perf_counter() - started
    print(f"{f'journal: {workers} processes take and tell {trials} runs':<58}{trials / seconds:8.1f} runs/s")


def claim_for(study: Path, url: str | None, worker: str, seconds: float, claimed: multiprocessing.SimpleQueue) -> None:
    """Take runs for so long, and pass on which."""
    queue, until, runs = Queue(study, "grown", url=url), time.perf_counter() + seconds, []
    while time.perf_counter() < until and (claim := queue.claim(worker)) is not None:
        runs.append(claim.run_id)
    claimed.put(runs)


def queue_alone(study: Path, url: str | None, trials: int, seconds: float, workers: int = 8) -> None:
    """What the queue of a study takes that many processes claim from, one run at a time."""
    queue = timed("opening an empty queue", Queue, study, "grown", None, url)
    assert isinstance(queue, Queue)
    points = [DesignPoint(100 + index % 1000, 2 + index % 64, index, {}, f"run{index:09d}") for index in range(trials)]
    timed("planning", queue.plan, points, {})
    timed("planning again, nothing missing", queue.plan, points, {})
    timed("listing all trials, as status does", queue.trials)
    timed("opening it", Queue, study, "grown", None, url)
    context = multiprocessing.get_context("spawn")
    claimed = context.SimpleQueue()
    crew = [context.Process(target=claim_for, args=(study, url, f"w{i}", seconds, claimed)) for i in range(workers)]
    for process in crew:
        process.start()
    runs = [run for _ in crew for run in claimed.get()]
    assert len(runs) == len(set(runs)), "a run was claimed twice"
    label = f"{workers} processes claim for {seconds:g} s, opening included"
    print(f"{label:<58}{len(runs) / seconds:8.1f} runs/s")


def main() -> None:
    """Print what each step takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--claims", type=int, default=400, help="runs taken to measure the journal's throughput")
    parser.add_argument("--no-collect", action="store_true", help="leave out records, report's table and fits")
    parser.add_argument("--queue", type=float, metavar="SECONDS", help="the queue alone, claimed from for so long")
    parser.add_argument("--storage", help="URL of the queue (default: a journal)")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        if parsed.queue:
            queue_alone(root, parsed.storage, parsed.trials, parsed.queue)
            return
        stand_ins(root / "bin")
        spec, study = spec_of(parsed.trials), root / "study"
        submitted: list[float] = []
        submit = submitting._submit

        def clocked(*arguments: object) -> object:
            started = time.perf_counter()
            orders = submit(*arguments)  # type: ignore[arg-type]
            submitted.append(time.perf_counter() - started)
            return orders

        submitting._submit = clocked  # type: ignore[assignment]
        print(f"{parsed.trials} runs, {os.cpu_count()} cores")
        timed("plan and submit", submitting.submit_study, spec, study, SlurmLauncher(), lambda text: None)
        print(f"{'  of which submitting':<58}{submitted[0]:8.2f} s")
        timed(
            "the same again, nothing missing", submitting.submit_study, spec, study, SlurmLauncher(), lambda text: None
        )
        print(f"{'journal':<58}{(study / 'journal.log').stat().st_size / 2**20:8.1f} MiB")
        timed("  opening it", Queue, study, "grown", design_sampler(spec))
        timed("jepa-scale status", command, "status", str(study))
        throughput(study, 8, parsed.claims)
        if parsed.no_collect:
            return
        points = design(spec, study)
        record = run(points[0].config, root / "one")
        for point in points:
            text = json.dumps(planted(record, point, dict(point.config)).to_dict())
            point.folder(study).record_path.write_text(text)
        timed("jepa-scale status, all done", command, "status", str(study))
        timed("jepa-scale collect", command, "collect", str(study))
        assert len(read_plan(study)) == parsed.trials


if __name__ == "__main__":
    main()
