"""The classes and functions that leaves of a configuration name."""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from jepa_scale import trust
from jepa_scale.runs.errors import UserError

MOVED = {
    "jepa_scale.callbacks.logging.wandb_logger": "jepa_scale.integrations.wandb.logger.Wandb",
    "jepa_scale.callbacks.logging.no_logger": "jepa_scale.integrations.loggers.NoLogger",
}
"""Names in configurations of earlier runs, which resume."""


def target_of(name: Any, path: str) -> Any:
    """Return what the ``_target_`` of the leaf at ``path`` names, importing nothing that is not trusted.

    Of this package only what one of its own leaves in the same group of ``conf/`` names: other classes and functions
    of it write files or run commands when they are called.

    Raises
    ------
    UserError
        If it is not trusted, or there is none of that name.
    """
    name = MOVED.get(name, name) if isinstance(name, str) else name
    module, _, attribute = str(name).rpartition(".")
    if not isinstance(name, str) or not module:
        raise UserError(f"{path}._target_: expected module.Class of a package, got {name!r}")
    if module.partition(".")[0] == "jepa_scale":
        group = path.partition(".")[0]
        leaves = leaves_of(group)
        if name not in leaves:
            raise UserError(
                f"{path}._target_: cannot find {name!r} among the leaves of {group}: expected "
                f"{', '.join(sorted(leaves)) or 'none'}"
            )
    elif not trust.trusts(module):
        raise UserError(f"{path}._target_={name}: {trust.refusal(module)}")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}._target_: cannot find {name!r} ({error}): expected module.Class of a package"
        ) from None


def leaves_of(group: str) -> frozenset[str]:
    """Names of this package's classes and functions that leaves of a group of ``conf/`` name, nested ones too."""
    from jepa_scale.runs.config import conf_dir

    return _leaves_of(conf_dir() / group)


@lru_cache(maxsize=64)
def _leaves_of(folder: Path) -> frozenset[str]:
    texts = [leaf.read_text(encoding="utf-8") for leaf in sorted(folder.glob("*.yaml"))]
    found = re.findall(r"_target_: *([\w.]+)", "\n".join(texts))
    return frozenset(name for name in found if name.startswith("jepa_scale."))
