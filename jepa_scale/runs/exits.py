"""How a process of a run ends, for whoever started it."""

from __future__ import annotations

from collections.abc import Iterable

FINISHED = 0
"""``record.json`` is there: finished, or diverged."""
FAILED = 1
"""An error of the program; ``error.txt`` in the run's folder holds the traceback."""
REFUSED = 2
"""An error that a user can mend; its sentence is on standard error."""
UNWRITTEN = 74
"""A file could not be written, as on a full disk: no fault of the run's. EX_IOERR of sysexits.h."""
STOPPED = 75
"""Stopped at a signal with everything saved: the same command goes on. EX_TEMPFAIL of sysexits.h."""
INTERRUPTED = 130
"""Ctrl-C: what was saved last is there."""


def worst(codes: Iterable[int]) -> int:
    """The code that stands for several ranks: any failure, else that they were stopped, else that all is done.

    Negative codes are those of ranks that a signal killed. What a rank found wrong comes before what its end did to
    the others.
    """
    found = list(codes)
    order = [REFUSED, FAILED, INTERRUPTED, *sorted(code for code in found if code < 0)]
    order += [code for code in found if code not in (FINISHED, STOPPED)] + [STOPPED]
    return next((code for code in order if code in found), FINISHED)
