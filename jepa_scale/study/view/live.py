"""A study that is watched: an overview on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live

from jepa_scale.study.queue.storage import Queue
from jepa_scale.study.view.outlook import Outlooks
from jepa_scale.study.view.screen import Overview
from jepa_scale.study.view.status import WORDS, Look, Status, duration

_REFRESH = 1.0
"""Frames per second, which are drawn from what was read last: no faster than it is read."""
_SECONDS, _SHARE = 1.0, 0.02
"""Between two looks at the files of a study, and share of the time that looking may take."""
_PATIENCE = 5.0
"""That a last look is waited for: a question to SLURM may be on its way."""
_ALONE = 30.0
"""That a study is without anybody before it counts as left: who starts one imports for a while first."""
SLURM_SECONDS = 30.0
"""Between two questions to SLURM: squeue is not to be asked by everybody every few seconds."""


class Screen:
    """Where a study is shown; on a terminal as an overview, else as the lines that ``line`` has for a status."""

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
        """Show where a study stands."""
        first, self.latest = self.latest is None, overview
        if first and self.live is not None:
            self.live.refresh()
        text = self.line(overview.status) if self.live is None else ""
        if text:
            self.console.print(text, highlight=False, soft_wrap=True)

    def _frame(self) -> Overview | str:
        return self.latest or ""


def lively(console: Console) -> bool:
    """Whether a console is a terminal whose lines can be drawn again, whatever the environment says of colours."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def twentieths(already: int, total: int) -> Callable[[Status], str]:
    """A line whenever another twentieth of a study is done, and at its end."""
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
    """A line whenever something has changed."""
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
    """Runs by state, in a line."""
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
    """Show a study while this process runs it; a thread looks at its files, as anybody could."""
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
    """Look once; whatever is wrong with the files, the runs are what matters, and go on."""
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
    """Show a study that others run until nothing is left of it that could run, and return why that is so.

    With ``tell`` nothing is shown, and each status is handed over.

    Raises
    ------
    UserError
        If the folder is not a planned study's, or one of its files is damaged.
    KeyboardInterrupt
        If the user has seen enough.
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
    """Whether anybody is at a study, or that cannot be told."""
    return bool(status.unknown or status.held or look.workers(status))


def over(look: Look, status: Status, alone: bool) -> str:
    """Why nothing of a study can run any more; empty while something can.

    What could go on is over where the study has been ``alone`` for long enough, and is now.
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
