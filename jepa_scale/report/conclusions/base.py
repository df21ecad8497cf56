"""What a conclusion is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Conclusion:
    """One or two sentences written from the numbers of a study."""

    text: str
    headline: bool = False
    """Whether it belongs to the opening paragraph."""
    alarm: bool = False
    """Whether it says that something failed or contradicts itself."""
