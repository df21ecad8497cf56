"""What a file format of tables declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jepa_scale.studies.tables.table import Table


@dataclass(frozen=True)
class Format:
    """A file format: endings, first bytes and a reader."""

    endings: tuple[str, ...]
    """Endings of file names, in lower case."""
    rank: int
    """Order in which formats are asked whether they recognise content without a name; the lowest first."""
    recognises: Callable[[bytes], bool]
    """Whether content from standard input has this format."""
    read: Callable[[bytes, str], Table]
    """Reads the content of a file; the second argument is its name for errors."""
