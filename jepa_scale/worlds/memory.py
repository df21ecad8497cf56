"""Refuse what would not fit into this machine's memory, before any of it is allocated."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

_UNLIMITED = 2**60
"""Bytes; version 1 of control groups writes a number about 2^63 where there is no limit."""


@lru_cache(maxsize=2)
def machine_memory(root: Path = Path("/")) -> int | None:
    """Bytes of physical memory, or of this process's control group where that is less; None where nothing says.

    SLURM, Docker and systemd bound a job's memory by its control group, and end what exceeds it without a word.
    ``root`` is where ``proc`` and ``sys`` are.
    """
    known = [size for size in (*_physical(), *_control_groups(root)) if 0 < size < _UNLIMITED]
    return min(known, default=None)


def check_fits(needed: int, what: str, remedy: str, memory: int | None = None) -> None:
    """Refuse what needs more bytes than there are; ``memory`` is this machine's unless given.

    Raises
    ------
    ValueError
        Says how many bytes ``what`` needs, how many there are, and the remedy.
    """
    available = machine_memory() if memory is None else memory
    if available is not None and needed > available:
        raise ValueError(
            f"expected {what} to fit into the memory of this machine, {in_gb(available)}, got a need of at least "
            f"{in_gb(needed)}: {remedy}"
        )


def table_bytes(actions: int, states: int) -> int:
    """Bytes of P(x'|x, a), (A, N, N), and of its cumulative sums that trajectories are drawn by, in float64."""
    return 2 * 8 * actions * states**2


def check_tables(actions: int, states: int, memory: int | None = None) -> None:
    """Refuse a finite world whose dense tables would not fit; ``memory`` in bytes is this machine's unless given.

    Raises
    ------
    ValueError
        Says how many bytes they need.
    """
    needed = table_bytes(actions, states)
    check_fits(needed, f"P(x'|x, a) of {actions} actions and {states} states", "choose a smaller world", memory)


def in_gb(size: int) -> str:
    """A number of bytes in GB, its power of ten alone where it is absurd."""
    if size < 10**12:
        return f"{size / 1e9:.3g} GB"
    # Python neither divides nor prints whole numbers of any length.
    return f"{size // 10**9:,} GB" if size < 10**18 else f"10^{int((size.bit_length() - 1) * math.log10(2)) - 9} GB"


def _physical() -> Iterator[int]:
    try:
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        # Not on Windows.
        return


def _control_groups(root: Path) -> Iterator[int]:
    """Limits of the process's control group and of those that it lies in, of versions 1 and 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, group = (*line.split(":", 2), "", "")[:3]
        if kinds not in ("", "memory"):
            continue
        top, name = ("sys/fs/cgroup", "memory.max") if not kinds else ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        inside = Path(group.strip("/"))
        for folder in (inside, *inside.parents):
            yield from _limit(root / top / folder / name)


def _limit(path: Path) -> Iterator[int]:
    try:
        yield int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # No such group from inside a container, or no limit: "max".
        return
