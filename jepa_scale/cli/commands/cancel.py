"""The ``cancel`` command: cancel a study's SLURM jobs."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

GROUP = "cluster"


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "cancel",
        help="cancel a study's SLURM jobs; finished runs are kept",
        description="Cancel a study's SLURM jobs, so that none starts again. Rerun the sweep command to resume.",
    )
    parser.add_argument("study", type=Path, help="study folder")
    parser.set_defaults(resumes=True)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Cancel a study's jobs and print how many ended."""
    from jepa_scale.studies.launching.cancel import cancel_study

    tasks, runs = cancel_study(parsed.study)
    if not tasks:
        print("no job was left to cancel")
        return 0
    print(f"{tasks} tasks were cancelled; runs that they were at, and that wait again where they stopped: {runs}")
    print("the sweep command goes on with them")
    return 0
