"""Leaf ``logger=wandb``: its settings."""

from __future__ import annotations

from dataclasses import dataclass

from jepa_scale.callbacks.logging import EstimateLogger, LoggedRun
from jepa_scale.integrations.wandb.opening import resolve_mode


@dataclass(frozen=True)
class Wandb:
    """Settings of the W&B logger, which logs each run as a W&B run.

    Raises
    ------
    ValueError
        If the mode, or the one set by the environment, is unknown.
    """

    project: str
    mode: str
    entity: str | None = None

    def __post_init__(self) -> None:
        resolve_mode(self.mode)

    def open(self, run: LoggedRun) -> EstimateLogger | None:
        """Open the W&B run, unless W&B is disabled."""
        from jepa_scale.integrations.wandb.mirror import WandbMirror

        if resolve_mode(self.mode) == "disabled":
            return None
        return WandbMirror(
            self.project, run.folder, run.run_id, run.group, run.config, self.mode, self.entity, run.tags, run.together
        )
