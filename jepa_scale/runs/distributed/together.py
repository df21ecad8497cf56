"""Entry point of a process that trains runs together: ``python -m jepa_scale.runs.distributed.together ENDS JOB …``.

A worker of a cluster starts it as it starts ``process`` for a run alone. ``ENDS`` is a file that is given a line of
JSON for each run as soon as it has ended: what is in its folder then says how. A run that is interrupted has no line.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jepa_scale import signals
from jepa_scale.files import NotWritten
from jepa_scale.runs.distributed.exits import FINISHED, INTERRUPTED, STOPPED, UNWRITTEN
from jepa_scale.runs.distributed.process import PATIENCE
from jepa_scale.runs.errors import CohortEnded, Interrupted, UserError
from jepa_scale.texts import cleaned

if TYPE_CHECKING:
    from jepa_scale.runs.cohort import Job

# Nothing heavy is imported up here: a signal that comes while torch loads, which can take a minute, is to be noted.


@dataclass(frozen=True)
class Member:
    """One run of the cohort, as an argument of the command."""

    folder: str
    """Folder of the run, with its config.yaml."""
    group: str
    """Name of the study in W&B."""
    tags: tuple[str, ...] = ()

    @property
    def argument(self) -> str:
        """The member as JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class End:
    """How one run of the cohort has ended."""

    run: str
    """Name of its folder."""
    alone: str = ""
    """Why it cannot take its steps with the others, and is to be done alone; empty if it is over."""


def read_ends(text: str) -> list[End]:
    """Read the lines of a file of ends; what is written of a line so far is left out."""
    return [End(**json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def main(arguments: list[str]) -> int:
    """Do the runs of some folders together; return an exit code of ``runs.exits``."""
    ends, members = Path(arguments[0]), [Member(**json.loads(text)) for text in arguments[1:]]
    # As for a run alone: a sum over several threads is not the same to the last bit as over one.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from jepa_scale.runs.cohort import Outcome, run_cohort

    jobs: list[Job] = []
    for member in members:
        try:
            jobs.append(_job(member))
        except UserError as error:
            _over(ends, Path(member.folder), error)

    def end(number: int, outcome: Outcome) -> None:
        if outcome.error is None or (isinstance(outcome.error, Exception) and not _whole(outcome.error)):
            _over(ends, jobs[number].path, outcome.error)

    try:
        errors = [outcome.error for outcome in run_cohort(jobs, end)] if jobs else []
    except KeyboardInterrupt:
        return INTERRUPTED
    for kind, code in ((NotWritten, UNWRITTEN), (Interrupted, STOPPED)):
        ended = [error for error in errors if isinstance(error, kind)]
        if ended:
            print(f"jepa-scale: {len(ended)} runs: {ended[0]}", file=sys.stderr)
            return code
    return FINISHED


def _job(member: Member) -> Job:
    from jepa_scale.runs.cohort import Job
    from jepa_scale.runs.folder import RunFolder

    path = Path(member.folder)
    return Job(RunFolder(path).read_config(), path, member.group, tuple(member.tags), PATIENCE)


def _whole(error: BaseException) -> bool:
    """Whether an error ends the process, not one run."""
    return isinstance(error, NotWritten | Interrupted)


def _over(ends: Path, folder: Path, error: BaseException | None) -> None:
    """Write that a run has ended, and its error into its folder."""
    from jepa_scale.runs.folder import atomic_write

    alone = str(error) if isinstance(error, CohortEnded) else ""
    if error is not None and not alone:
        plain = isinstance(error, UserError)
        text = f"{error}\n" if plain else "".join(traceback.format_exception(error))
        print(f"{folder.name}: {text}", file=sys.stderr, end="")
        atomic_write(folder / "error.txt", text)
    with ends.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(End(folder.name, alone))) + "\n")


if __name__ == "__main__":
    signals.install()
    with cleaned():
        sys.exit(main(sys.argv[1:]))
