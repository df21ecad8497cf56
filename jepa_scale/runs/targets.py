"""Resolving the classes and functions that the leaves of a configuration name."""

from __future__ import annotations

import importlib
import os
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from jepa_scale import trust
from jepa_scale.runs.errors import UserError

MOVED = {
    "jepa_scale.callbacks.logging.wandb_logger": "jepa_scale.integrations.wandb.logger.Wandb",
    "jepa_scale.callbacks.logging.no_logger": "jepa_scale.integrations.loggers.NoLogger",
}
"""Current names of targets that were renamed, so that earlier runs can resume."""


def target_of(name: Any, path: str) -> Any:
    """Return the object that the ``_target_`` of the leaf at ``path`` names, importing only trusted modules.

    Of this package, only targets of its own leaves in the same group of ``conf/`` are allowed: other classes and
    functions may write files or run commands when called.

    Raises
    ------
    UserError
        If the target is not trusted, or does not exist.
    """
    name = MOVED.get(name, name) if isinstance(name, str) else name
    module, _, attribute = str(name).rpartition(".")
    if not isinstance(name, str) or not module:
        raise UserError(f"{path}._target_: expected module.Class of a package, got {name!r}")
    if module.partition(".")[0] == "jepa_scale":
        # A part of a leaf may have a group of its own, as the behaviour policy of a world.
        parts = path.split(".")
        group = next((part for part in reversed(parts[1:]) if parts[0] == "world" and leaves_of(part)), parts[0])
        leaves = leaves_of(group)
        if name not in leaves:
            raise UserError(
                f"{path}._target_: cannot find {name!r} among the leaves of {group}: expected "
                f"{', '.join(sorted(leaves)) or 'none'}"
            )
    elif not trust.trusts(module) and not _of_framework(module, path):
        raise UserError(f"{path}._target_={name}: {trust.refusal(module)}")
    here = os.getcwd()
    if here not in sys.path:
        # As with `python -m`, but last: nothing in this folder hides a module that is installed.
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}._target_: cannot find {name!r} ({error}): expected module.Class of a package"
        ) from None
    if not trust.trusts(module) and _of_framework(module, path):
        wanted = _FRAMEWORK[path.partition(".")[0]][1]
        if not isinstance(found, type) or not wanted & {base.__name__ for base in found.__mro__}:
            top = module.partition(".")[0]
            raise UserError(
                f"{path}._target_: expected a class of kind {' or '.join(sorted(wanted))}, got {name!r}; --allow {top} "
                "allows any other that you trust"
            )
    return found


_HARMLESS = {"EarlyStopping", "LearningRateMonitor", "StochasticWeightAveraging", "GradientAccumulationScheduler"}
_FRAMEWORK = {
    "optimizer": (("torch.optim",), {"Optimizer", "LRScheduler"}),
    "encoder": (("torch.nn",), {"Module"}),
    "predictor": (("torch.nn",), {"Module"}),
    "callbacks": (("lightning.pytorch.callbacks", "pytorch_lightning.callbacks"), _HARMLESS),
}
"""Modules of torch and Lightning of which a group takes classes with these bases, with no need to allow them: none that
writes files, or sends something, where a configuration says."""


def _of_framework(module: str, path: str) -> bool:
    names, _ = _FRAMEWORK.get(path.partition(".")[0], ((), set()))
    return any(module == name or module.startswith(f"{name}.") for name in names)


def leaves_of(group: str) -> frozenset[str]:
    """Names of this package's targets in the leaves of a group of ``conf/``, including nested ones."""
    from jepa_scale.runs.config import conf_dir

    return _leaves_of(conf_dir() / group)


@lru_cache(maxsize=64)
def _leaves_of(folder: Path) -> frozenset[str]:
    texts = [leaf.read_text(encoding="utf-8") for leaf in sorted(folder.glob("*.yaml"))]
    names = re.findall(r"_target_: *([\w.]+)", "\n".join(texts))
    return frozenset(name for name in names if name.startswith("jepa_scale."))
