"""Exit codes of a run's processes."""

from __future__ import annotations

from collections.abc import Iterable

FINISHED = 0
"""The run has a ``record.json``: it finished, or diverged."""
FAILED = 1
"""An error in the program; ``error.txt`` in the run's folder holds the traceback."""
REFUSED = 2
"""An error that a user can fix; its message is on standard error."""
UNWRITTEN = 74
"""A file could not be written, as on a full disk, which is no error of the run. EX_IOERR of sysexits.h."""
STOPPED = 75
"""Stopped by a signal with everything saved: rerun the same command to resume. EX_TEMPFAIL of sysexits.h."""
INTERRUPTED = 130
"""Interrupted by Ctrl-C; the last checkpoint remains."""


def worst(codes: Iterable[int]) -> int:
    """Combine the exit codes of several ranks: a failure if there is one, else stopped, else finished.

    Negative codes are those of ranks killed by a signal. A rank's own error takes precedence over its consequences for
    other ranks.
    """
    received = list(codes)
    order = [REFUSED, FAILED, INTERRUPTED, *sorted(code for code in received if code < 0)]
    order += [code for code in received if code not in (FINISHED, STOPPED)] + [STOPPED]
    return next((code for code in order if code in received), FINISHED)
