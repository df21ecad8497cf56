"""What a reader says of its format; every module of this folder with ``FORMATS`` is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from jepa_scale.records import Episodes


def nothing(path: Path) -> str | None:
    """Return None: a format that has no near miss."""
    return None


@dataclass(frozen=True)
class Format:
    """A format of recorded episodes."""

    name: str
    looks_like: str
    """What a path of this format contains, for the error that lists the formats."""
    recognises: Callable[[Path], bool]
    """Function that tells whether a path is of this format; it reads names only."""
    read: Callable[..., Episodes]
    order: int = 50
    """Formats with a lower number are tried first: the more a format asks for, the lower its number."""
    lacks: Callable[[Path], str | None] = nothing
    """Function that names what is missing where a path is nearly of this format, and what to do; None elsewhere."""


def visible(paths: Iterable[Path]) -> list[Path]:
    """Return paths in order of their names, numbers in them by value, without hidden files.

    Copies from some systems hold a ``._name`` beside every file.
    """
    shown = [path for path in paths if not path.name.startswith((".", "__"))]
    return sorted(shown, key=lambda path: [_part(text) for text in _split(path.name)])


def _split(name: str) -> list[str]:
    parts: list[str] = [""]
    for letter in name:
        if parts[-1] and letter.isdecimal() != parts[-1][-1].isdecimal():
            parts.append("")
        parts[-1] += letter
    return parts


def _part(text: str) -> tuple[int, int, str]:
    return (0, int(text), "") if text.isdecimal() and len(text) < 100 else (1, 0, text)
