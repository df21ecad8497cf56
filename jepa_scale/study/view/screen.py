"""A study on one screen: how far it is, its cells, what is running, what failed, what to expect."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from jepa_scale.study.queue.owners import task_of
from jepa_scale.study.view.grid import DIVERGED, FAILED, RUNNING, ColourScale, cells_of, grid_lines, number, scale_of
from jepa_scale.study.view.status import WORDS, RunState, Status, duration

_LISTED = 3
"""Running and failed runs that are named even where the grid would take all of the screen."""
_SENTENCE = 3
"""Lines of a sentence."""
_LEAST = 4
"""Lines of a grid that still says something: widths, two sizes, and what was cut off."""


@dataclass(frozen=True)
class Overview:
    """A renderable of what is known of a study; it fits the console it is put on."""

    status: Status
    outlooks: Mapping[str, str] = field(default_factory=dict)
    """One sentence for each arm."""
    trouble: str = ""
    """Why this is not the latest; else empty."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.size.height
        # One line is the terminal's, on which the cursor stands.
        for line in self.lines(options.max_width, max(height - 1, 1)):
            line.no_wrap, line.overflow = True, "ellipsis"
            yield line

    def lines(self, width: int, height: int) -> list[Text]:
        """All that there is to say, in no more lines than ``height``."""
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
        """What runs beside the cells are at, and why nothing newer is shown."""
        found = []
        for purpose in dict.fromkeys(run.point.purpose for run in self.status.runs if run.point.purpose != "cell"):
            runs = [run for run in self.status.runs if run.point.purpose == purpose]
            done = sum(run.state == "done" for run in runs)
            found.append(Text(f"{purpose}: {done} of {len(runs)} runs done", "dim"))
        return [*found, *_wrapped(self.trouble, width, "bold")]

    def _grids(self, width: int, height: int) -> list[Text]:
        """Grids of arms, as many as fit: the arm with most going on first, a line for each other one."""
        arms: dict[str, list[RunState]] = {}
        for run in self.status.runs:
            if run.point.purpose == "cell":
                arms.setdefault(run.point.arm, []).append(run)
        if not arms:
            return []
        scale = scale_of(cell for runs in arms.values() for cell in cells_of(runs).values())
        found = _packed(_legend(scale, self.status.runs), width)
        order = sorted(arms, key=lambda arm: -sum(run.state == "running" for run in arms[arm]))
        for index, arm in enumerate(order):
            others = len(order) - index - 1
            room = height - len(found) - min(others, 2)
            block = self._block(arm, arms[arm], scale, width, room if index == 0 else 10**6)
            if index and len(block) > room:
                lines = [_of_arm(name, arms[name]) for name in order[index:]]
                return found + _cut(lines, height - len(found), "more arms")
            found += block
        return found

    def _block(
        self, arm: str, runs: Sequence[RunState], scale: ColourScale | None, width: int, height: int
    ) -> list[Text]:
        title = [Text(_printable(arm), "bold")] if arm else []
        said = _wrapped(self.outlooks.get(arm, ""), width)
        cells = cells_of(runs)
        room = height - len(title) - len(said)
        if room < _LEAST:
            said, room = [], height - len(title)
        return [*title, *grid_lines(cells, scale, width, max(room, 2)), *said]


def _head(status: Status) -> list[Text]:
    done, counts = status.counts["done"], status.counts
    total = f"{done} of {'up to ' * (status.most is not None)}{status.total} runs done"
    found = [Text(status.name, "bold"), Text(total)]
    if status.diverged:
        found.append(Text(f"{status.diverged} of them diverged"))
    found += [
        Text(f"{counts[state]} {words}", "bold" if state == "failed" else "")
        for state, words in WORDS.items()
        if counts[state] and state != "waiting"
    ]
    if status.left is not None:
        low, high = (duration(seconds) for seconds in status.left)
        found.append(Text(f"about {low} to {high} left" if low != high else f"about {low} left"))
    return found


def _jobs(status: Status) -> list[Text]:
    """SLURM's jobs by state, and what keeps them waiting."""
    if status.unknown:
        return [Text(f"which jobs live is not known: {_printable(status.unknown)}")]
    found = [Text(words) for words in status.jobs]
    if found:
        found[0] = Text("jobs: ").append(found[0])
    return [*found, *([Text("cancelled", "bold")] if status.cancelled else [])]


def _legend(scale: ColourScale | None, runs: Sequence[RunState]) -> list[Text]:
    if scale is None:
        return [Text("no regret yet", "dim")]
    found = [Text("regret so far, mean over seeds"), scale.legend(), Text("least of a row", "underline")]
    there = {
        f"{RUNNING} running, counted at its last epoch": any(run.state == "running" for run in runs),
        f"{FAILED} failed": any(run.state == "failed" for run in runs),
        f"{DIVERGED} diverged": any(run.state == "done" and run.reason for run in runs),
    }
    return [*found, *(Text(words) for words, shown in there.items() if shown)]


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


def _listed(runs: Sequence[RunState], said: Callable[[RunState], Text], words: str, room: int) -> list[Text]:
    return _cut([said(run) for run in runs], room, words)


def _cut(lines: list[Text], room: int, words: str) -> list[Text]:
    """As many lines as there is room for; the last one counts those that are left out."""
    if len(lines) <= room:
        return lines
    kept = lines[: max(room - 1, 0)]
    left = len(lines) - len(kept)
    counted = f"… and {left} {words}" if words.startswith("more") else f"… and {left} more {words}"
    return [*kept, Text(counted, "dim")][: max(room, 0)]


def _packed(parts: Sequence[Text], width: int) -> list[Text]:
    """Parts side by side, broken between two of them where the line is full."""
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
    """On one line, without what would move the cursor: errors quote whatever they met."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
