"""Offline W&B runs of a study, brought to the server by W&B's own command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jepa_scale.runs.errors import UserError

_AT_ONCE = 200
"""Folders of one command: between two of them progress is told, and a second Ctrl-C loses little."""


def offline_runs(study: Path) -> list[Path]:
    """Folders of offline W&B runs that have not been synced; of a requeued run there are several, oldest first.

    Raises
    ------
    UserError
        If the folder is not a study's.
    """
    if not (study / "runs").is_dir():
        raise UserError(f"{study} is not a study folder (no runs/): give the folder that `study` or `sweep` wrote")
    found = sorted(study.glob("runs/*/wandb/offline-run-*"))
    return [folder for folder in found if folder.is_dir() and not any(folder.glob("*.wandb.synced"))]


def sync_study(folders: Sequence[Path], options: Sequence[str], say: Callable[[str], None], at_once: int = 8) -> int:
    """Sync folders, several runs at a time and the parts of one in their order; return how many are left.

    What is synced is marked by W&B, so that a sync that was interrupted goes on.
    """
    done = 0
    for first in range(0, len(folders), _AT_ONCE):
        part = folders[first : first + _AT_ONCE]
        # A run's parts stay in one command, which puts them in order of their start.
        command = [sys.executable, "-m", "wandb", "sync", "--yes", "--skip-synced", "-n", str(at_once), *options]
        code = subprocess.run([*command, *map(str, part)], check=False).returncode
        done += sum(any(folder.glob("*.wandb.synced")) for folder in part)
        say(f"{done} of {len(folders)} offline runs are synced")
        if code:
            break
    return len(folders) - done
