"""The ``sync`` command: upload a study's offline W&B runs."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

GROUP = "wandb"


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "sync",
        help="upload a study's offline W&B runs to the server",
        description="Upload offline runs from a machine with a network, such as a login node. Synced runs and runs in "
        "progress are left out; the parts of a requeued run are sent in order. Rerun the same command to resume.",
    )
    parser.add_argument("study", type=Path, help="study folder, or run folder")
    parser.add_argument(
        "-n", type=int, default=8, metavar="N", help="uploads at a time, each of one run or several (default: 8)"
    )
    parser.add_argument("--entity", help="W&B entity (default: your default one)")
    parser.add_argument("--project", help="W&B project (default: that of the runs)")
    parser.add_argument("--dry-run", action="store_true", help="list the runs without uploading them")
    parser.set_defaults(resumes=True)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Upload offline W&B runs; the exit code is 1 if some failed."""
    from jepa_scale.integrations.wandb.sync import check_login, offline_runs, sync_study
    from jepa_scale.runs.errors import UserError
    from jepa_scale.terminal import Console

    if parsed.n < 1:
        raise UserError(f"-n: expected a whole number ≥ 1, got {parsed.n}")
    offline = offline_runs(parsed.study)
    runs = [run for run in offline if not run.in_progress]
    busy = len(offline) - len(runs)
    apart = f"; {busy} in progress are left for later" if busy else ""
    parts = [part for run in runs for part in run.parts]
    plural = tuple("s" * (len(some) != 1) for some in (runs, parts))
    shown = f"{len(runs)} offline run{plural[0]} to sync, in {len(parts)} part{plural[1]}{apart}"
    if parsed.dry_run or not runs:
        print("".join(f"{part}\n" for part in parts) + shown)
        return 0
    check_login()
    print(shown, flush=True)
    options = [f"--{name}={value}" for name in ("entity", "project") if (value := getattr(parsed, name)) is not None]
    failures = sync_study(parsed.study, runs, options, Console(), parsed.n)
    for run_id, message in failures.items():
        print(f"failed: {run_id}: {message}")
    if failures:
        print(f"{len(failures)} of {len(runs)} runs failed; the same command goes on with them")
    return 1 if failures else 0
