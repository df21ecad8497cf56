"""Objects from leaves of ``conf/``; no torch, which those who only read runs must not wait for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from jepa_scale.laws.law import LawFamily
from jepa_scale.runs.config import conf_dir
from jepa_scale.runs.errors import UserError


def instantiate(path: str, leaf: Mapping[str, Any], **supplied: Any) -> Any:
    """Call a leaf's target with its keywords and what the run supplies.

    Raises
    ------
    UserError
        If the target refuses its arguments; the message names the leaf.
    """
    import hydra
    from hydra.errors import InstantiationException

    try:
        target = hydra.utils.get_object(leaf["_target_"])
        # A part takes of what the run supplies what it asks for.
        asked = inspect.signature(target).parameters
        supplied = {name: value for name, value in supplied.items() if name in asked}
        # Passing objects beside the configuration would have Hydra convert them; a partial takes them as they are.
        return hydra.utils.instantiate(dict(leaf), _partial_=True, _convert_="object")(**supplied)
    except InstantiationException as error:
        raise UserError(f"{path}: {str(error.__cause__ or error).replace('self.', '')}") from None
    except ValueError as error:
        raise UserError(f"{path}: {str(error).replace('self.', '')}") from None


def build_law(name: str) -> LawFamily:
    """Build a law of ``conf/law``.

    Raises
    ------
    UserError
        If there is none of that name, or it refuses its settings.
    """
    import yaml

    path = conf_dir() / "law" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(leaf.stem for leaf in path.parent.glob("*.yaml")))
        raise UserError(f"no law {name!r}: expected one of {known}, or a formula such as 'loss = E + A N^-alpha'")
    law = instantiate(f"law.{name}", yaml.safe_load(path.read_text(encoding="utf-8")))
    assert isinstance(law, LawFamily)
    return law
