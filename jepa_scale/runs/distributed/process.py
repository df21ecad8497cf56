"""Entry point of one process of a run: ``python -m jepa_scale.runs.distributed.process FOLDER``."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from jepa_scale import signals
from jepa_scale.files import NotWritten
from jepa_scale.runs.distributed.exits import FAILED, FINISHED, INTERRUPTED, REFUSED, STOPPED, UNWRITTEN
from jepa_scale.runs.distributed.ranks import LAUNCHER, place
from jepa_scale.runs.errors import Interrupted, UserError
from jepa_scale.texts import cleaned

# Nothing heavy is imported up here: a signal that comes while torch loads, which can take a minute, is to be noted.

PATIENCE = 60.0
"""Seconds to wait for a folder in use: the predecessor of a requeued job may still be dying."""
SUPERVISED = "JEPA_SCALE_SUPERVISED"
"""Environment variable set by a supervisor, which requeues the job or resumes the run in another one."""


def main(arguments: list[str]) -> int:
    """Do the run of a folder, as its only process or as one rank; return an exit code of ``runs.exits``."""
    parser = argparse.ArgumentParser(prog="python -m jepa_scale.runs.distributed.process")
    parser.add_argument("folder", type=Path, help="folder of a run, with its config.yaml")
    parser.add_argument("--group", help="name of the study in W&B")
    parser.add_argument("--tag", action="append", default=[], help="further tag of the run in W&B; may be repeated")
    parser.add_argument("--epochs", action="store_true", help="print a line for each epoch")
    parsed = parser.parse_args(arguments)
    # A sum over several threads is not the same to the last bit as over one; a run's own threads are trainer.threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _follow_launcher()
    before = _written(parsed.folder)
    try:
        _run(parsed.folder, parsed.group, parsed.tag, parsed.epochs)
        return FINISHED
    except Interrupted as stop:
        if place().leads:
            print(f"jepa-scale: {stop}", file=sys.stderr)
            requeue(stop)
        return STOPPED
    except NotWritten as error:
        print(f"jepa-scale: error: {error}", file=sys.stderr)
        return UNWRITTEN
    except UserError as error:
        if _leads():
            print(f"jepa-scale: error: {error}", file=sys.stderr)
            _tell(parsed.folder, f"{error}\n", before)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:
        text = traceback.format_exc()
        _tell(parsed.folder, text, before)
        print(text, file=sys.stderr, end="")
        return FAILED


def _run(path: Path, group: str | None, tags: Sequence[str], epochs: bool) -> None:
    from jepa_scale.runs.folder import RunFolder

    config = RunFolder(path).read_config()
    extra = []
    if epochs:
        from jepa_scale.callbacks.printer import EpochPrinter
        from jepa_scale.terminal import Console

        extra.append(EpochPrinter(Console(), config["planner"]["score"]))
    from jepa_scale.runs.run import run

    run(config, path, group, extra, PATIENCE, tags=tags)


def _leads() -> bool:
    """Whether this process reports for all ranks; one that cannot determine its rank reports for itself."""
    try:
        return place().leads
    except UserError:
        return True


def _written(folder: Path) -> int | None:
    """Modification time of the error file, in the file system's own time."""
    try:
        return (folder / "error.txt").stat().st_mtime_ns
    except OSError:
        return None


def _tell(folder: Path, text: str, before: int | None) -> None:
    """Write the traceback into the run's folder, of the first rank to fail only: other ranks' errors follow from it."""
    from jepa_scale.runs.folder import atomic_write

    if _written(folder) == before:
        atomic_write(folder / "error.txt", text)


def _follow_launcher() -> None:
    """Stop, as at a signal, once the process that started this rank is gone, since nothing else would end it."""
    launcher = os.environ.get(LAUNCHER, "")
    if not launcher.isdigit():
        return

    def watch() -> None:
        while os.getppid() == int(launcher):
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def requeue(stop: Interrupted) -> bool:
    """Requeue the job if the signal was the warning before a time limit; return whether SLURM accepted.

    Not at SIGTERM: a cancelled job is to stay cancelled, and SLURM itself requeues preempted jobs.
    """
    warned = stop.request > 0 and signals.SIGNALS[stop.request - 1] == getattr(signal, "SIGUSR1", None)
    return warned and ask_requeue()


def ask_requeue() -> bool:
    """Have SLURM requeue this job, unless a supervisor does; return whether SLURM accepted.

    The job needs ``#SBATCH --requeue --open-mode=append --signal=USR1@120`` and the run started by srun: then SLURM
    warns the run 120 seconds before the limit, and the requeued job resumes the run. Of an array only this task is
    requeued.
    """
    if os.environ.get(SUPERVISED) or "SLURM_JOB_ID" not in os.environ:
        return False
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
        problem = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        print(f"jepa-scale: job {job} is not queued again ({problem}): submit it once more", file=sys.stderr)
    return not problem


if __name__ == "__main__":
    signals.install()
    with cleaned():
        sys.exit(main(sys.argv[1:]))
