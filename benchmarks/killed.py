"""A study of many small runs on one machine, killed twice with SIGKILL: is every run done, and done once?

The runs train in cohorts, in two worker processes. When a quarter of them are done a worker is killed, when half are
the study with its workers; the same command then finishes it. A run is done once if one trial of the queue has its
value and its record is never written again. Each takes 20 steps: bookkeeping, not arithmetic, is what takes the time.

    OMP_NUM_THREADS=1 python benchmarks/killed.py [--runs 1000] [--cohort off]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

SIZES = [100, 200, 300, 400, 500]
TINY = [
    "logger=none", "trainer.epochs=2", "trainer.steps_per_epoch=10", "data.heldout=640", "data.test=640",
    "data.batch_size=32", "model.hidden=16", "world=lowrank",
]  # fmt: skip


def study_file(folder: Path, runs: int) -> Path:
    """Write a study of five sizes, one width and as many seeds as make that many runs."""
    content = {
        "name": "killed",
        "question": "Is every run done once?",
        "dials": {"data.n": SIZES, "model.k": [2]},
        "seeds": list(range(runs // len(SIZES))),
        "laws": ["generic"],
        "bootstrap_draws": 20,
        "overrides": TINY,
    }
    path = folder / "killed.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def records(study: Path) -> dict[str, bytes]:
    """Every record that is there, by run."""
    return {path.parent.name: path.read_bytes() for path in study.glob("runs/*/record.json")}


@contextmanager
def started(file: Path, study: Path, cohort: str) -> Iterator[subprocess.Popen]:
    """The study's command, in the background."""
    command = [sys.executable, "-m", "jepa_scale", "study", str(file), "--folder", str(study), "workers=2"]
    process = subprocess.Popen([*command, f"launcher.cohort={cohort}"], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_for(study: Path, done: int, process: subprocess.Popen) -> None:
    """Wait until so many runs are done.

    Raises
    ------
    RuntimeError
        If the command ends before.
    """
    while len(list(study.glob("runs/*/record.json"))) < done:
        if process.poll() is not None:
            raise RuntimeError(f"expected {done} runs to be done before the study ends, got code {process.returncode}")
        time.sleep(0.05)


def workers_of(process: subprocess.Popen) -> list[int]:
    """Ids of a study's worker processes."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def killed_twice(folder: Path, runs: int, cohort: str = "auto") -> dict[str, int]:
    """Do the study in a folder, with both kills, and return how many runs, trials and records there are.

    ``rewritten`` are records that changed after they were first seen, ``lost`` runs that a kill interrupted.
    """
    file, study = study_file(folder, runs), folder / "study"
    seen: list[dict[str, bytes]] = []
    with started(file, study, cohort) as process:
        wait_for(study, runs // 4, process)
        os.kill(workers_of(process)[0], signal.SIGKILL)
        seen.append(records(study))
        wait_for(study, runs // 2, process)
        process.kill()
        process.wait()
        # Its workers read a pipe from it, and end when that closes.
    seen.append(records(study))
    with started(file, study, cohort) as process:
        if process.wait() != 0:
            raise RuntimeError(f"expected the study to end well, got code {process.returncode}")
    last = records(study)
    from jepa_scale.studies.queue.storage import Queue

    trials = Queue(study, "killed").trials()
    told = Counter(trial.user_attrs["run"] for trial in trials if trial.state.name == "COMPLETE")
    sizes = Counter(json.loads(text)["times"].get("cohort", 1) for text in last.values())
    print("members of cohorts:", ", ".join(f"{count} of {size}" for size, count in sorted(sizes.items())))
    return {
        "runs": len(last),
        "told_once": sum(count == 1 for count in told.values()),
        "told": len(told),
        "rewritten": sum(last[run] != text for earlier in seen for run, text in earlier.items()),
        "lost": sum(trial.state.name == "FAIL" for trial in trials),
        "together": sum(count for size, count in sizes.items() if size > 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--cohort", default="auto")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        counts = killed_twice(Path(folder), parsed.runs, parsed.cohort)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    print(
        f"{time.perf_counter() - began:.0f} s, {usage.ru_utime + usage.ru_stime:.0f} s of CPU without what was killed"
    )


if __name__ == "__main__":
    main()
