"""Where a study was read from: the file and the lines of its keys, for whoever finds a mistake later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from jepa_scale.texts import yaml_lines


@dataclass(frozen=True)
class Origin:
    """File of a study and its text.

    Examples
    --------
    >>> origin = Origin("my.yaml", "name: mine\\noverrides:\\n- world=torus\\n")
    >>> origin.at("overrides", "0")
    'my.yaml: line 3: '
    """

    file: str = ""
    """Empty for a study that was read from no file."""
    text: str = ""

    @cached_property
    def lines(self) -> Mapping[tuple[str, ...], int]:
        """The line of each key and list item, by the keys that lead to it."""
        return yaml_lines(self.text) if self.text else {}

    def line(self, *place: str) -> str:
        """Return the line of a key, or of the nearest one above it, to begin a sentence with."""
        depths = range(len(place), 0, -1)
        line = next((self.lines[place[:depth]] for depth in depths if place[:depth] in self.lines), None)
        return "" if line is None else f"line {line}: "

    def at(self, *place: str) -> str:
        """Return the file and the line."""
        return (f"{self.file}: " if self.file else "") + self.line(*place)

    def of_override(self, index: int) -> str:
        """Return the same of an override by its place; nothing for one of the command line."""
        return self.at("overrides", str(index)) if ("overrides", str(index)) in self.lines else ""
