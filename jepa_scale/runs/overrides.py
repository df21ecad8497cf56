"""Overrides of a configuration: ``group=option``, ``key.path=value``, ``+key=value`` and ``~key``."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jepa_scale.runs import schema
from jepa_scale.runs.errors import UserError
from jepa_scale.texts import parse_yaml

ALIASES = {
    "trainer.max_epochs": "trainer.epochs",
    "trainer.limit_train_batches": "trainer.steps_per_epoch",
    "trainer.gradient_clip_val": "trainer.gradient_clip",
}
"""Lightning's names of settings, and this package's."""
SEVERAL = ("logger",)
"""Groups with several options at once, as in ``logger=[wandb,csv]``."""
_NAMED = ("callbacks", "logger")
"""Groups that hold leaves by name, to which more may be added."""


@dataclass(frozen=True)
class Override:
    """A value to set, or a key to delete."""

    path: str
    value: Any = None
    adds: bool = False
    """Whether the key may be one that its leaf's class does not declare."""
    deletes: bool = False


Choices = dict[str, str | tuple[str, ...]]


def split(texts: Sequence[str], options: Mapping[str, Sequence[str]]) -> tuple[Choices, list[Override]]:
    """Parse overrides into options of groups, and values.

    Raises
    ------
    UserError
        If one cannot be parsed, or names an option that its group does not have.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    choices: Choices = {}
    values: list[Override] = []
    for text in texts:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise UserError(
                f"cannot read the override {text!r}: expected key=value ({str(error).splitlines()[0]})"
            ) from None
        if override.is_sweep_override():
            raise UserError(f"the override {text!r} has several values: expected key=value with one value")
        group = ALIASES.get(override.key_or_group, override.key_or_group)
        if override.is_delete():
            values.append(Override(group, deletes=True))
            continue
        value = override.value()
        listed = value if group in SEVERAL and isinstance(value, list) else [value]
        chosen = tuple(name for name in listed if isinstance(name, str))
        if group in options and len(chosen) == len(listed):
            if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(options[group]):
                raise UserError(f"unknown option {text!r}: {group} has {', '.join(options[group])}")
            choices[group] = chosen[0] if len(chosen) == 1 else chosen
        else:
            values.append(Override(group, value, adds=override.is_add()))
    return choices, values


def applied(config: dict[str, Any], overrides: Sequence[Override]) -> list[str]:
    """Change a configuration in place; return one sentence for every override that cannot be.

    A new ``_target_`` comes before the settings of its class, wherever it is given, and drops those of the old one; an
    option for a part, such as ``world.behaviour=scripted``, comes before both.
    """
    parts = [one for one in overrides if "." in one.path and _named_leaf(one.path.rpartition(".")[2], one.value)]
    others = [one for one in overrides if one not in parts]
    targets = sorted((one for one in others if one.path.endswith("._target_")), key=lambda one: one.path.count("."))
    others = [one for one in others if one not in targets]
    return [problem for one in (*parts, *targets, *others) for problem in _apply(config, one)]


def _apply(config: dict[str, Any], override: Override) -> list[str]:
    node: Any = config
    parts = override.path.split(".")
    for depth, name in enumerate(parts[:-1]):
        if not isinstance(node, dict):
            return [schema.unknown_key(".".join(parts[: depth + 1]), [])]
        if name not in node:
            # A new leaf, by name in its group or inside another leaf.
            room = depth == 1 and parts[0] in _NAMED and "_target_" not in node
            if parts[-1] != "_target_" or not (room or "_target_" in node):
                return [schema.unknown_key(".".join(parts[: depth + 1]), _keys(node))]
            node[name] = {}
        if node[name] is None and parts[-1] == "_target_" and depth == len(parts) - 2 and "_target_" in node:
            # A part that is left out by default.
            node[name] = {}
        node = node[name]
    return _end(node, parts, override)


def _end(node: Any, parts: list[str], override: Override) -> list[str]:
    last, path = parts[-1], ".".join(parts)
    if not isinstance(node, dict):
        return [schema.unknown_key(path, [])]
    if override.deletes:
        if last not in node or not ("_target_" in node or (len(parts) == 2 and parts[0] in _NAMED)):
            return [f"~{path}: expected a setting of a leaf, or a callback or logger by name, to leave out"]
        del node[last]
        return []
    if last == "_target_" and node.get(last) != override.value:
        node.clear()
    elif last not in node:
        new = len(parts) == 2 and parts[0] in _NAMED and isinstance(override.value, Mapping)
        inside = "_target_" in node and (override.adds or schema.takes(node["_target_"], path, last))
        # Free keywords, such as the options of an environment.
        inside = inside or ("_target_" not in node and len(parts) > 2 and override.adds)
        if last != "_target_" and not inside and not new:
            return [schema.unknown_key(path, _keys(node, path))]
    elif isinstance(node[last], dict) and not isinstance(override.value, dict):
        named = _named_leaf(last, override.value) if len(parts) > 1 else None
        if named is not None:
            node[last] = named
            return []
        keys, options = _keys(node[last], path), ", ".join(_leaves(last))
        either = f"{options}, or " if options else ""
        return [f"{path}: expected {either}one of its keys ({', '.join(keys)}) to be set, got {override.value!r}"]
    node[last] = override.value
    return []


def _named_leaf(group: str, name: Any) -> dict[str, Any] | None:
    """Return an option of the group that a part of a leaf is called by, as in ``world.behaviour=held``."""
    leaf = _leaves(group).get(name) if isinstance(name, str) else None
    return None if leaf is None else parse_yaml(leaf.read_text(encoding="utf-8"))


def _leaves(group: str) -> dict[str, Path]:
    # They are found beside the configuration, whose module reads overrides.
    from jepa_scale.runs.leaves import options

    return options(group)


def _keys(node: Mapping[str, Any], path: str = "") -> list[str]:
    """Return the keys that a node has, and those that its class takes."""
    taken = schema.keywords_of(node["_target_"], path) if "_target_" in node and path else []
    return list(dict.fromkeys([key for key in node if key != "_target_"] + taken))


_LINK = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
"""A reference to a key of the configuration. Hydra's other resolvers read the environment and files: they stay text."""


def links_in(config: Any, path: str = "") -> dict[str, str]:
    """Return values that refer to others, such as ``${model.k}``, by path."""
    if isinstance(config, Mapping):
        found: dict[str, str] = {}
        for name, value in config.items():
            found |= links_in(value, f"{path}.{name}".lstrip("."))
        return found
    return {path: config} if isinstance(config, str) and _LINK.search(config) else {}


def resolved(config: Mapping[str, Any], links: Mapping[str, str]) -> dict[str, Any]:
    """Return a copy of a configuration with its links replaced by what they refer to.

    A value that is one link takes what it refers to, a number or leaf too; inside a text a link becomes text.

    Raises
    ------
    UserError
        If one refers to nothing, or to itself.
    """
    whole = copy.deepcopy(dict(config))
    for path, text in links.items():
        parent = _at(whole, path.split(".")[:-1], text)
        parent[path.split(".")[-1]] = _value(whole, links, text, (path,))
    return whole


def _value(config: dict[str, Any], links: Mapping[str, str], text: str, above: tuple[str, ...]) -> Any:
    def of(match: re.Match[str]) -> Any:
        path = match.group(1)
        if path in above:
            raise UserError(f"cannot resolve {text}: it refers to itself, by {' → '.join((*above, path))}")
        if path in links:
            return _value(config, links, links[path], (*above, path))
        *parents, last = path.split(".")
        node = _at(config, parents, text)
        if last not in node:
            raise UserError(f"cannot resolve {text}: the configuration has no {path}")
        return copy.deepcopy(node[last])

    alone = _LINK.fullmatch(text)
    return of(alone) if alone else _LINK.sub(lambda match: str(of(match)), text)


def _at(config: Any, parts: Sequence[str], text: str) -> dict[str, Any]:
    for part in parts:
        if not isinstance(config, dict) or part not in config:
            raise UserError(f"cannot resolve {text}: the configuration has no {'.'.join(parts)}")
        config = config[part]
    if not isinstance(config, dict):
        raise UserError(f"cannot resolve {text}: {'.'.join(parts)} has no keys")
    return config
