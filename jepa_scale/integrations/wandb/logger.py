"""Leaf ``logger=wandb``: its settings, and the mode in which W&B runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from jepa_scale.callbacks.logging import EstimateLogger, LoggedRun


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
            self.project, run.folder, run.run_id, run.group, run.config, self.mode, self.entity, run.tags
        )


def resolve_mode(mode: str) -> Any:
    """Return W&B's mode: ``auto`` is the environment's WANDB_MODE, else online if there is an API key, else offline.

    Raises
    ------
    ValueError
        If the mode, or the environment's, is unknown.
    """
    if mode not in ("auto", "online", "offline", "disabled"):
        raise ValueError(f"expected logger.mode auto, online, offline or disabled; got {mode!r}")
    if mode != "auto":
        return mode
    environment = os.environ.get("WANDB_MODE")
    if environment:
        known = "online", "offline", "disabled", "shared", "run", "dryrun"
        if environment not in known:
            raise ValueError(f"expected WANDB_MODE {', '.join(known[:3])}; got {environment!r}")
        return environment
    return "online" if os.environ.get("WANDB_API_KEY") or _has_netrc_key() else "offline"


def _has_netrc_key() -> bool:
    import netrc

    import wandb

    try:
        host = wandb.Settings().base_url.split("//")[-1]
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
