"""No fine-tuning."""

from __future__ import annotations


class NoFineTuning:
    """A run of the stage ``pretrain`` alone."""
