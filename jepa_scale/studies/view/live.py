"""Live view of a study: an overview on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live

from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.view.outlook import Outlooks
from jepa_scale.studies.view.screen import Overview
from jepa_scale.studies.view.status import WORDS, Look, Status, duration

_REFRESH = 1.0
"""Frames per second; no more, as the files are read once a second."""
_SECONDS, _SHARE = 1.0, 0.02
"""Minimum seconds between two reads of a study's files, and the share of time that reading may take."""
_PATIENCE = 5.0
"""Seconds to wait for the last read at the end: a call to SLURM may be in progress."""
_ALONE = 30.0
"""Seconds without a worker before a study counts as abandoned: a starting process spends a while importing."""
SLURM_SECONDS = 30.0
"""Minimum seconds between two squeue calls, so that viewers do not load SLURM."""


class Screen:
    """Output of a live view: an overview on a terminal, else the line that ``line`` returns for each status."""

    def __init__(self, console: Console, line: Callable[[Status], str]) -> None:
        self.console, self.line = console, line
        self.latest: Overview | None = None
        self.live: Live | None = None
        if lively(console):
            self.live = Live(console=console, get_renderable=self._frame, refresh_per_second=_REFRESH)

    def __enter__(self) -> Screen:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *details: object) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, overview: Overview) -> None:
        """Show the current state of a study."""
        first, self.latest = self.latest is None, overview
        if first and self.live is not None:
            self.live.refresh()
        text = self.line(overview.status) if self.live is None else ""
        if text:
            self.console.print(text, highlight=False, soft_wrap=True)

    def _frame(self) -> Overview | str:
        return self.latest or ""


def lively(console: Console) -> bool:
    """Whether a console is a terminal whose lines can be redrawn, whatever the environment's colour settings."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def twentieths(already: int, total: int) -> Callable[[Status], str]:
    """Return a function whose result is a line each time another twentieth of a study is done, else empty."""
    last = already

    def line(status: Status) -> str:
        nonlocal last
        done = status.counts["done"]
        if done < last + max(1, total // 20) and not done == total != last:
            return ""
        last = done
        return f"{done}/{total} runs done{_left(status)}"

    return line


def changes() -> Callable[[Status], str]:
    """Return a function whose result is a line each time the status has changed, else empty."""
    last = ""

    def line(status: Status) -> str:
        nonlocal last
        text = summary(status)
        if text == last:
            return ""
        last = text
        return text + _left(status)

    return line


def summary(status: Status) -> str:
    """Number of runs in each state, in one line."""
    counts = status.counts
    parts = [f"{counts['done']} of {'up to ' * (status.most is not None)}{status.total} runs done"]
    if status.diverged:
        parts.append(f"{status.diverged} of them diverged")
    parts += [f"{counts[state]} {words}" for state, words in WORDS.items() if counts[state]]
    return f"{status.name}: {', '.join(parts)}" + ", cancelled" * status.cancelled


def _left(status: Status) -> str:
    if status.left is None:
        return ""
    low, high = (duration(seconds) for seconds in status.left)
    return f", about {low} to {high} left"


@contextmanager
def shown(study: Path, queue: Queue, console: Console, already: int, total: int, workers: int) -> Iterator[None]:
    """Show a study while this process runs it; a thread reads its files, as any other process could."""
    look = Look(study, queue, SLURM_SECONDS, workers)
    outlooks, ended = Outlooks(look.spec, study, at_once=False), threading.Event()

    def follow() -> None:
        pause = 0.0
        while not ended.wait(pause):
            began = time.thread_time()
            _show(look, outlooks, screen)
            pause = max(_SECONDS, (time.thread_time() - began) / _SHARE)

    with Screen(console, twentieths(already, total)) as screen:
        thread = threading.Thread(target=follow, name="live view", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(_PATIENCE)
            # Interrupted or not, its workers have ended.
            look.at_it = False
            if not thread.is_alive():
                _show(look, outlooks, screen, last=True)


def _show(look: Look, outlooks: Outlooks, screen: Screen, last: bool = False) -> None:
    """Read and show the status once; an error in reading is shown, and does not stop the runs."""
    try:
        status = look.status()
        if screen.live is not None and not last:
            outlooks.follow(status)
        screen.show(Overview(status, outlooks.said))
    except Exception as error:
        if screen.latest is not None:
            trouble = f"not the latest: {type(error).__name__}: {error}"
            screen.latest = Overview(screen.latest.status, screen.latest.outlooks, trouble)


def watch(study: Path, console: Console, seconds: float, tell: Callable[[Status], None] | None = None) -> str:
    """Show a study run by other processes until nothing of it can run any more; return the reason.

    With ``tell`` nothing is shown, and each status is passed to it.

    Raises
    ------
    UserError
        If the folder holds no planned study, or one of its files is damaged.
    KeyboardInterrupt
        If the user interrupts.
    """
    look = Look(study, patience=max(seconds, SLURM_SECONDS))
    outlooks, before, seen = Outlooks(look.spec, study, at_once=True), "", time.monotonic()
    with Screen(console, changes()) as screen:
        while True:
            status = look.status()
            now = summary(status)
            if now != before or attended(look, status):
                seen = time.monotonic()
            why = over(look, status, alone=time.monotonic() - seen >= _ALONE)
            if tell is not None:
                tell(status)
            else:
                if screen.live is not None:
                    (outlooks.finish if why else outlooks.follow)(status)
                screen.show(Overview(status, outlooks.said))
            if why:
                return why
            before = now
            time.sleep(seconds)


def attended(look: Look, status: Status) -> bool:
    """Whether any process works on a study; true if that cannot be determined."""
    return bool(status.unknown or status.held or look.workers(status))


def over(look: Look, status: Status, alone: bool) -> str:
    """Why nothing of a study can run any more; empty while something can.

    Unfinished runs count as abandoned if the study has been ``alone``, without a worker, for long enough and still is.
    """
    counts = status.counts
    open_runs = counts["running"] + counts["waiting"] + counts["lost"]
    # The runs of a design, and those after the ones that tune a budget, are not known before they are begun.
    cells = [run for run in status.runs if run.point.purpose == "cell"]
    known = bool(cells) if status.most is None else sum(run.state == "done" for run in cells) >= status.most
    # Runs that are in no queue may be being put there.
    sure = known and not open_runs and not counts["left"]
    if not sure and (not alone or attended(look, status)):
        return ""
    if open_runs:
        return "nobody is at it any more: the study or sweep command goes on with it"
    if counts["done"] == len(status.runs):
        return "all runs are done"
    return "nothing is left that could run: the study or sweep command tries the rest again"
