"""Live progress of a study: runs done, what is running, time left."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class StudyProgress:
    """A bar on a terminal; elsewhere a line whenever a twentieth of the study is done."""

    def __init__(self, console: Console, total: int, already: int) -> None:
        self.console, self.total, self.already = console, total, already
        self.started = time.monotonic()
        self.last_line = already
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("[dim]{task.fields[now]}", justify="left"),
            console=console,
            disable=not console.is_terminal,
        )
        self.task: TaskID = self.bar.add_task("runs", total=total, completed=already, left="", now="")

    def __enter__(self) -> StudyProgress:
        self.bar.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.bar.stop()

    def update(self, done: int, running: Sequence[str]) -> None:
        """Show where the study stands."""
        left = self._time_left(done)
        self.bar.update(self.task, completed=done, left=left, now=" · ".join(running))
        step = max(1, self.total // 20)
        if not self.console.is_terminal and (done >= self.last_line + step or (done == self.total != self.last_line)):
            self.last_line = done
            self.console.print(f"{done}/{self.total} runs done{', ' + left if left else ''}", highlight=False)

    def _time_left(self, done: int) -> str:
        fresh = done - self.already
        if fresh < 1 or done >= self.total:
            return ""
        seconds = (time.monotonic() - self.started) / fresh * (self.total - done)
        return f"about {int(seconds // 60)}:{int(seconds % 60):02d} left"
