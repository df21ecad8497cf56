"""Starting a run on several devices from a process that is not one of its ranks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jepa_scale.runs.distributed.exits import FAILED, FINISHED, REFUSED, STOPPED
from jepa_scale.runs.distributed.ranks import attend, command_of, start
from jepa_scale.runs.folder import RunFolder


def run_ranks(
    config: Mapping[str, Any],
    path: Path,
    group: str | None = None,
    epochs: bool = True,
    accept_mixed: bool = False,
    tags: Sequence[str] = (),
) -> int:
    """Start the ranks of a run on this machine, wait for them and return an exit code of ``runs.exits``.

    With ``epochs`` the first rank prints a line for each epoch. Errors are on standard error.

    Raises
    ------
    UserError
        As ``runs.run.run``, before any rank is started.
    KeyboardInterrupt
        After Ctrl-C, once the ranks have saved and ended.
    """
    from jepa_scale.runs.run import preflight

    folder = RunFolder(path)
    folder.check(config, accept_mixed)
    preflight(config)
    with folder.locked():
        folder.claim(config, accept_mixed)
        if folder.read_record() is not None:
            return FINISHED
    options = [
        *(["--epochs"] if epochs else []),
        *(["--group", group] if group else []),
        *(f"--tag={tag}" for tag in tags),
    ]
    ranks = start(command_of(path, *options), os.environ, config["trainer"]["devices"])
    code = attend(ranks)
    if code in (FINISHED, STOPPED, REFUSED):
        return code
    where = f"; see {folder.error_path}" if folder.error_path.exists() else ""
    print(f"jepa-scale: {ranks.failure}, and the others were ended{where}", file=sys.stderr)
    return FAILED
