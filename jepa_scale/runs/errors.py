"""Errors that a user can mend: one line that names the thing and the remedy."""

from __future__ import annotations


class UserError(ValueError):
    """What was expected, what came, and what to do, in one line; commands print it and end with exit code 2."""
