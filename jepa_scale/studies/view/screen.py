"""A study on one screen: progress, cells, running and failed runs, and the forecast."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from jepa_scale.studies.queue.owners import task_of
from jepa_scale.studies.view.grid import DIVERGED, FAILED, RUNNING, ColourScale, cells_of, grid_lines, number, scale_of
from jepa_scale.studies.view.status import WORDS, RunState, Status, duration

_LISTED = 3
"""Running runs, and failed ones, that are listed even if the grid could fill the screen."""
_SENTENCE = 3
"""Most lines of a wrapped sentence."""
_LEAST = 4
"""Fewest lines of an informative grid: widths, two sizes, and the count of rows cut off."""


@dataclass(frozen=True)
class Overview:
    """Rich renderable of a study's status, which fits the size of its console."""

    status: Status
    outlooks: Mapping[str, str] = field(default_factory=dict)
    """Forecast of each arm, one sentence each."""
    trouble: str = ""
    """Why the status could not be updated; empty if it is current."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.size.height
        # One line is the terminal's, on which the cursor stands.
        for line in self.lines(options.max_width, max(height - 1, 1)):
            line.no_wrap, line.overflow = True, "ellipsis"
            yield line

    def lines(self, width: int, height: int) -> list[Text]:
        """The whole overview, in at most ``height`` lines."""
        status = self.status
        running = [run for run in status.runs if run.state == "running"]
        failed = [run for run in status.runs if run.state == "failed"]
        top = [*_packed(_head(status), width), *_packed(_jobs(status), width), *self._notes(width)]
        reserved = sum(min(len(runs), _LISTED) + (len(runs) > _LISTED) for runs in (running, failed))
        room = height - len(top)
        grids = self._grids(width, max(room - reserved, min(room, _LEAST + 1)))
        room -= len(grids)
        below = _listed(running, _of_running, "are running", room - min(len(failed), _LISTED + 1))
        below += _listed(failed, _of_failed, "failed", room - len(below))
        return [*top, *grids, *below][:height]

    def _notes(self, width: int) -> list[Text]:
        """Progress of runs that are not cells, and why the status could not be updated."""
        lines = []
        for purpose in dict.fromkeys(run.point.purpose for run in self.status.runs if run.point.purpose != "cell"):
            runs = [run for run in self.status.runs if run.point.purpose == purpose]
            done = sum(run.state == "done" for run in runs)
            lines.append(Text(f"{purpose}: {done} of {len(runs)} runs done", "dim"))
        return [*lines, *_wrapped(self.trouble, width, "bold")]

    def _grids(self, width: int, height: int) -> list[Text]:
        """Grids of as many arms as fit, the most active first; a line for each other arm."""
        arms: dict[str, list[RunState]] = {}
        for run in self.status.runs:
            if run.point.purpose == "cell":
                arms.setdefault(run.point.arm, []).append(run)
        if not arms:
            return []
        scale = scale_of(cell for runs in arms.values() for cell in cells_of(runs).values())
        rows = _packed(_legend(scale, self.status.runs), width)
        order = sorted(arms, key=lambda arm: -sum(run.state == "running" for run in arms[arm]))
        for index, arm in enumerate(order):
            others = len(order) - index - 1
            room = height - len(rows) - min(others, 2)
            block = self._block(arm, arms[arm], scale, width, room if index == 0 else 10**6)
            if index and len(block) > room:
                lines = [_of_arm(name, arms[name]) for name in order[index:]]
                return rows + _cut(lines, height - len(rows), "more arms")
            rows += block
        return rows

    def _block(
        self, arm: str, runs: Sequence[RunState], scale: ColourScale | None, width: int, height: int
    ) -> list[Text]:
        title = [Text(_printable(arm), "bold")] if arm else []
        outlook = _wrapped(self.outlooks.get(arm, ""), width)
        cells = cells_of(runs)
        room = height - len(title) - len(outlook)
        if room < _LEAST:
            outlook, room = [], height - len(title)
        return [*title, *grid_lines(cells, scale, width, max(room, 2)), *outlook]


def _head(status: Status) -> list[Text]:
    done, counts = status.counts["done"], status.counts
    total = f"{done} of {'up to ' * (status.most is not None)}{status.total} runs done"
    parts = [Text(status.name, "bold"), Text(total)]
    if status.diverged:
        parts.append(Text(f"{status.diverged} of them diverged"))
    parts += [
        Text(f"{counts[state]} {words}", "bold" if state == "failed" else "")
        for state, words in WORDS.items()
        if counts[state] and state != "waiting"
    ]
    if status.left is not None:
        low, high = (duration(seconds) for seconds in status.left)
        parts.append(Text(f"about {low} to {high} left" if low != high else f"about {low} left"))
    return parts


def _jobs(status: Status) -> list[Text]:
    """The study's SLURM jobs by state, and why they wait."""
    if status.unknown:
        return [Text(f"which jobs live is not known: {_printable(status.unknown)}")]
    parts = [Text(words) for words in status.jobs]
    if parts:
        parts[0] = Text("jobs: ").append(parts[0])
    return [*parts, *([Text("cancelled", "bold")] if status.cancelled else [])]


def _legend(scale: ColourScale | None, runs: Sequence[RunState]) -> list[Text]:
    if scale is None:
        return [Text("no regret yet", "dim")]
    parts = [Text("regret so far, mean over seeds"), scale.legend(), Text("least of a row", "underline")]
    there = {
        f"{RUNNING} running, counted at its last epoch": any(run.state == "running" for run in runs),
        f"{FAILED} failed": any(run.state == "failed" for run in runs),
        f"{DIVERGED} diverged": any(run.state == "done" and run.reason for run in runs),
    }
    return [*parts, *(Text(words) for words, shown in there.items() if shown)]


def _of_running(run: RunState) -> Text:
    epochs = f" of {run.of_epochs}" if run.of_epochs else ""
    parts = [f"{RUNNING} {_printable(str(run.point))}", f"epoch {run.epochs}{epochs}", duration(run.seconds)]
    if run.regret is not None:
        parts.append(f"regret {number(run.regret)}")
    if task_of(run.owner) is not None:
        parts.append(f"job {task_of(run.owner)}")
    return Text(" · ".join(parts))


def _of_failed(run: RunState) -> Text:
    return Text(f"{FAILED} {_printable(str(run.point))}: {_printable(run.reason)}")


def _of_arm(arm: str, runs: Sequence[RunState]) -> Text:
    states = Counter(run.state for run in runs)
    regrets = [cell.regret for cell in cells_of(runs).values() if cell.regret is not None]
    least = f", least regret {number(min(regrets))}" if regrets else ""
    return Text(f"{_printable(arm)}: {states['done']} of {len(runs)} runs done, {states['running']} running{least}")


def _listed(runs: Sequence[RunState], describe: Callable[[RunState], Text], words: str, room: int) -> list[Text]:
    return _cut([describe(run) for run in runs], room, words)


def _cut(lines: list[Text], room: int, words: str) -> list[Text]:
    """Cut lines to the room there is; the last line counts those left out."""
    if len(lines) <= room:
        return lines
    kept = lines[: max(room - 1, 0)]
    left = len(lines) - len(kept)
    counted = f"… and {left} {words}" if words.startswith("more") else f"… and {left} more {words}"
    return [*kept, Text(counted, "dim")][: max(room, 0)]


def _packed(parts: Sequence[Text], width: int) -> list[Text]:
    """Join parts into lines, wrapping only between parts."""
    lines: list[Text] = []
    for part in parts:
        if lines and len(lines[-1]) + 3 + len(part) <= width:
            lines[-1].append(" · ").append(part)
        else:
            # A part's style is its own: appended to an empty line it does not spread to the next parts.
            lines.append(Text().append(part))
    return lines


def _wrapped(sentence: str, width: int, style: str = "") -> list[Text]:
    lines = textwrap.wrap(_printable(sentence), max(width, 10), max_lines=_SENTENCE, placeholder=" …")
    return [Text(line, style) for line in lines]


def _printable(text: str) -> str:
    """Text on one line without control characters, which quoted errors may contain."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
