"""Rich's console, safe against control codes in untrusted text, and the named steps of a long command."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import IO, Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status

from jepa_scale.texts import clean

_UNLIMITED = 10_000
"""Columns of an output that no terminal shows: whatever reads it breaks lines itself."""

_FRAMES = 4
"""Frames of a spinner per second."""

Step = Callable[[str], None]
"""Called with the name of each step of a long computation when it begins."""


def untold(name: str) -> None:
    """Say nothing of a step."""


class Console(RichConsole):
    """Rich's console; its own control codes reach the terminal, those in printed texts do not.

    Lines are wrapped on a terminal, or where a width is given; in a pipe or a file every line stays whole.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Not is_terminal: whoever wants colours in a file or a notebook (FORCE_COLOR) wants no broken lines there.
        if not {"width", "force_terminal"} & set(options) and not self.file.isatty():
            self._width, self.soft_wrap = _UNLIMITED, True

    @property
    def file(self) -> IO[str]:
        """The stream itself, however many others stand in for it: control codes of rich's own pass through none."""
        stream: IO[str] = self._file or (sys.stderr if self.stderr else sys.stdout)
        while (inner := getattr(stream, "rich_proxied_file", None)) is not None:
            stream = inner
        return stream

    @file.setter
    def file(self, stream: IO[str]) -> None:
        self._file = stream

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable with their texts cleaned."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=clean(segment.text))


class Steps:
    """Named steps on the standard error: a line that changes on a terminal, elsewhere a line for each that is done."""

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        # Whoever forces colours into a file has no line to redraw there.
        self._redraws = self._console.is_terminal and self._console.file.isatty()
        self._status: Status | None = None
        self._name, self._began = "", 0.0

    def __enter__(self) -> Steps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
        elif kind is None:
            self._done()

    def __call__(self, name: str) -> None:
        """Begin a step, which ends the one before."""
        if not self._redraws:
            self._done()
            self._name, self._began = name, time.monotonic()
        elif self._status is None:
            self._status = self._console.status(f"{clean(name)} …", refresh_per_second=_FRAMES)
            self._status.start()
        else:
            self._status.update(f"{clean(name)} …")

    def _done(self) -> None:
        if self._name:
            seconds = time.monotonic() - self._began
            self._console.print(f"{self._name}: {seconds:.1f} s", highlight=False, markup=False)
