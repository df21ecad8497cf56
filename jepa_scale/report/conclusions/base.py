"""Definition of a conclusion."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Conclusion:
    """A conclusion: one or two sentences derived from the numbers of a study."""

    text: str
    headline: bool = False
    """Whether the conclusion belongs in the opening paragraph."""
    alarm: bool = False
    """Whether the conclusion reports a failure or a contradiction."""
