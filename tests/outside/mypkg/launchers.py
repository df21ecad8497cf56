"""Launchers as somebody has them: one that waits, and one of a batch system whose jobs are lines of a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jepa_scale.studies.launching.jobs import JobsUnknown, Task
from jepa_scale.studies.launching.launcher import ClusterLauncher, Launcher
from jepa_scale.studies.launching.local import LocalLauncher


@dataclass(frozen=True)
class Niced(Launcher):
    """Workers of this machine, as if with a lower priority."""

    waits = True
    workers: int = 1
    nice: int = 1
    storage: str | None = None

    def __post_init__(self):
        if not 0 <= self.nice < 20:
            raise ValueError(f"nice: expected 0 … 19, got {self.nice}")

    def start(self, spec, folder, console, accept_mixed=False):
        """Note the priority, then do the runs."""
        Path("nice.txt").write_text(str(self.nice))
        return LocalLauncher(self.workers).start(spec, folder, console, accept_mixed)


@dataclass(frozen=True)
class Bench(ClusterLauncher):
    """Jobs are lines ``NAME|STATE|COMMENT`` of a file."""

    scheme: ClassVar[str] = "bench"
    queue: str = "queue.txt"
    attempts: int = 2
    storage: str | None = None

    def start(self, spec, folder, console, accept_mixed=False):
        """Nothing is submitted here."""

    def _lines(self):
        if not Path(self.queue).exists():
            raise JobsUnknown(f"no {self.queue}: the batch system is down")
        return [line.split("|") for line in Path(self.queue).read_text().splitlines()]

    def tasks(self, jobs):
        """Tasks of the file."""
        wanted = set(jobs)
        return {
            name: Task(name, state, None, "bench", comment)
            for name, state, comment in self._lines()
            if name.partition("_")[0] in wanted
        }

    def cancel(self, jobs):
        """Take lines out of the file."""
        jobs = set(jobs)
        left = [line for line in self._lines() if line[0].partition("_")[0] not in jobs]
        Path(self.queue).write_text("".join("|".join(line) + "\n" for line in left))
