"""Mode in which W&B runs, and the opening of its runs; apart from the logger, which needs Lightning."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

INIT_SECONDS, FINISH_SECONDS = 30.0, 60.0
"""Seconds to wait for the server when a run starts or ends."""


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


def opened(mode: Any, folder: Path, **settings: Any) -> Any:
    """Open a W&B run in a folder, without console output or system monitoring.

    ``settings`` are further ones of ``wandb.init``.

    Raises
    ------
    Exception
        Whatever W&B raises.
    """
    # Its own telemetry waits half a minute for a server at the end of the process.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb.init(
        mode=mode,
        # Absolute: W&B's service may be that of a parent process (WANDB_SERVICE), in another working directory.
        dir=folder.absolute(),
        settings=wandb.Settings(
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
            console="off",
            silent=True,
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True,
        ),
        **settings,
    )
