"""Worlds by name."""

from __future__ import annotations

from typing import Any

from jepa_scale.worlds.base import World


def world(name: str, **settings: Any) -> World:
    """Build a world of ``conf/world`` with other settings.

    Parameters
    ----------
    name
        Name of a leaf: ``lowrank``, ``torus``, ``point_mass``, …
    settings
        Its settings by name, in place of the leaf's.

    Raises
    ------
    ValueError
        If there is no such world, or it refuses a setting; the message lists what there is.

    Examples
    --------
    >>> import jepa_scale
    >>> chain = jepa_scale.world("lowrank", states=30)
    >>> chain.finite.states, chain.actions
    (30, 4)
    """
    import yaml

    from jepa_scale.runs.errors import UserError
    from jepa_scale.runs.instantiate import instantiate
    from jepa_scale.runs.leaves import options

    leaves = options("world")
    if name not in leaves:
        raise UserError(f"expected a world of {', '.join(leaves)}; got {name!r}")
    leaf = yaml.safe_load(leaves[name].read_text(encoding="utf-8"))
    unknown = sorted(set(settings) - set(leaf))
    if unknown:
        raise UserError(
            f"world {name}: expected settings of {', '.join(sorted(set(leaf) - {'_target_'}))}; got {unknown}"
        )
    built = instantiate(f"world.{name}", leaf | settings)
    if not isinstance(built, World):
        raise UserError(f"world {name}: expected a World, got {type(built).__name__}")
    return built
