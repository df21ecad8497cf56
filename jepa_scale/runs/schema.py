"""Types of the configuration, and the check of a composed configuration against them.

A leaf (``_target_`` and keywords) is checked against its target's signature, so a new world or model needs no entry
here.
"""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jepa_scale.records.evaluation import Evaluation
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.targets import target_of


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the model."""

    k: int
    hidden: int | None
    normalise: bool


@dataclass(frozen=True)
class DataConfig:
    """Sizes of the data, in transitions."""

    n: int
    heldout: int
    test: int
    length: int
    horizon: int
    batch_size: int


@dataclass(frozen=True)
class TrainerConfig:
    """Training budget, precision and devices of one run."""

    epochs: int
    steps_per_epoch: int
    gradient_clip: float | None
    divergence: float
    accelerator: str
    devices: int
    precision: str
    threads: int
    checkpoint_every: int | None = None
    """Steps between checkpoints inside an epoch."""
    compile: bool = False
    """Whether to compile encoder and predictor for training."""


@dataclass(frozen=True)
class Leaf:
    """A ``_target_`` with its keywords."""


@dataclass(frozen=True)
class Leaves:
    """One leaf, or several by name (``logger=[wandb,csv]``)."""


@dataclass(frozen=True)
class RunConfig:
    """The whole configuration of a run."""

    seed: int
    model: ModelConfig
    data: DataConfig
    trainer: TrainerConfig
    world: Leaf
    encoder: Leaf
    predictor: Leaf
    objective: Leaf
    optimizer: Leaf
    planner: Leaf
    evaluation: Evaluation
    stages: list[str]
    finetune: Leaf
    logger: Leaves
    callbacks: dict[str, Leaf]
    code: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Code that computes the run, by module (``runs.code``); recorded on composition, never set by users."""


RESERVED = ("_target_", "_partial_", "_args_")
"""Keys of a leaf that are no keywords of its target, as in Hydra."""

INJECTED = {
    "encoder": ("observation_shape", "k", "hidden"),
    "predictor": ("k", "action_space", "hidden"),
    "objective": ("action_counts", "action_space", "k", "head", "observation_shape", "noise_mask", "encoder"),
    "finetune": ("k", "action_space", "planner", "head"),
    "callbacks": ("context",),
    "optimizer": ("params", "optimizer"),
}
"""Constructor arguments that a run supplies itself, so that a configuration must not set them."""


FILLED = {"optimizer": ("T_max", "total_steps", "total_iters")}
"""Arguments that a run supplies unless they are set: the steps of a schedule."""


def problems(config: Mapping[str, Any]) -> list[str]:
    """Return one sentence for every wrong key, type or target of a composed configuration."""
    return list(_check(RunConfig, config, ""))


def why_unusable(config: Any, problem: str) -> str:
    """Return why an earlier run is not usable here: a part of it is not, or another version wrote it."""
    for path, leaf in _leaves_in(config):
        try:
            target_of(leaf["_target_"], path)
        except UserError as error:
            return f"a part of this run cannot be used here: {error}"
    return f"written by another version, or by hand: {problem}"


def _leaves_in(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, node
        for name, value in node.items():
            yield from _leaves_in(value, f"{path}.{name}".lstrip("."))


def _check(expected: Any, value: Any, path: str) -> Iterator[str]:
    if expected is Leaf:
        yield from _check_leaf(value, path)
    elif expected is Leaves:
        named = by_name(value)
        if not named:
            yield f"{path}: expected a mapping with a _target_, or several by name, got {value!r}"
        for name, leaf in named.items():
            yield from _check_leaf(leaf, f"{path}.{name}" if name else path)
    elif is_dataclass(expected):
        hints = get_type_hints(expected)
        # Keys that have a default came later: configurations from before them are read too.
        needed = [item.name for item in fields(expected) if expected is Evaluation or _has_no_default(item)]
        yield from _check_mapping(hints, needed, value, path)
    elif get_origin(expected) is dict:
        if not isinstance(value, Mapping):
            yield f"{path}: expected a mapping, got {value!r}"
            return
        for name, item in value.items():
            yield from _check(get_args(expected)[1], item, f"{path}.{name}")
    elif not _fits(expected, value):
        yield f"{path}: expected {_name(expected)}, got {value!r}"


def _has_no_default(item: Any) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def by_name(leaves: Any) -> dict[str, Any]:
    """Return the leaves of a group that may have several, by name; a single leaf has the empty name."""
    if not isinstance(leaves, Mapping):
        return {}
    return {"": leaves} if "_target_" in leaves else dict(leaves)


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checked configuration whose leaves state every argument, including the target's defaults.

    A changed default then makes another run. Defaults that are not plain values are left to the target.
    """
    return {name: _filled(value, name) for name, value in config.items()}


def _filled(value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        return value
    whole = {name: _filled(item, f"{path}.{name}") for name, item in value.items()}
    if "_target_" not in whole:
        return whole
    supplied = INJECTED.get(path.split(".")[0], ())
    parameters = inspect.signature(target_of(whole["_target_"], path)).parameters
    supplied = (*supplied, *FILLED.get(path.split(".")[0], ()))
    defaults = {name: item.default for name, item in parameters.items() if name not in (*whole, *supplied)}
    return whole | {name: _plain(default) for name, default in defaults.items() if _is_plain(default)}


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def _check_mapping(hints: Mapping[str, Any], required: list[str], value: Any, path: str) -> Iterator[str]:
    where = path or "the configuration"
    if not isinstance(value, Mapping):
        yield f"{where}: expected a mapping with keys {', '.join(hints)}, got {value!r}"
        return
    for name in value:
        if name not in hints:
            yield unknown_key(f"{path}.{name}".lstrip("."), list(hints))
    for name in required:
        if name not in value:
            yield f"{where}: the key {name!r} is missing"
    for name, item in value.items():
        if name in hints:
            yield from _check(hints[name], item, f"{path}.{name}".lstrip("."))


def _check_leaf(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping) or "_target_" not in value:
        yield f"{path}: expected a mapping with a _target_, got {value!r}"
        return
    try:
        target = target_of(value["_target_"], path)
    except UserError as error:
        yield str(error)
        return
    supplied = INJECTED.get(path.split(".")[0], ())
    hints, needed = _arguments(target)
    keywords = {key: item for key, item in value.items() if key not in RESERVED}
    if value.get("_partial_"):
        needed = []
    elif "_args_" in value:
        needed = needed[len(value["_args_"]) :]
    required = [name for name in needed if name not in (*supplied, *FILLED.get(path.split(".")[0], ()))]
    typed = {name: hint for name, hint in hints.items() if name not in supplied}
    if path == "optimizer" and "params" in hints:
        typed["scheduler"] = Leaf
    if _takes_any(target):
        # Of a factory that passes its keywords on.
        typed |= {name: Any for name in keywords if name not in hints and name not in supplied}
    for name, item in keywords.items():
        # A nested leaf, such as the hidden world of another world.
        if name in typed and isinstance(item, Mapping) and "_target_" in item:
            typed[name] = Leaf
    yield from _check_mapping(typed, required, keywords, path)


def takes(target: Any, path: str, name: str) -> bool:
    """Return whether the class that a leaf names takes a keyword; also where the class cannot be found."""
    try:
        found = target_of(target, path)
    except UserError:
        return True
    known = _arguments(found)[0]
    return name in RESERVED or name in known or _takes_any(found) or (name == "scheduler" and "params" in known)


def keywords_of(target: Any, path: str) -> list[str]:
    """Return the keywords that may be set of the class that a leaf names; none where it cannot be found."""
    try:
        known = _arguments(target_of(target, path))[0]
    except UserError:
        return []
    return [name for name in known if name not in INJECTED.get(path.split(".")[0], ())]


def _takes_any(target: Any) -> bool:
    return any(item.kind is inspect.Parameter.VAR_KEYWORD for item in inspect.signature(target).parameters.values())


@lru_cache(maxsize=256)
def _arguments(target: Any) -> tuple[dict[str, Any], list[str]]:
    """Types of a target's arguments by name, and the names of those without a default."""
    signature = inspect.signature(target)
    # Of a dataclass the class itself: the types of inherited fields are names of their own module, not of its __init__.
    whole = inspect.isfunction(target) or is_dataclass(target)
    try:
        hints = get_type_hints(target if whole else target.__init__)
    except (NameError, TypeError):
        # Of somebody's class whose annotations name what its module does not import at run time.
        hints = {}
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = {name: item for name, item in signature.parameters.items() if item.kind not in variable}
    needed = [name for name in parameters if parameters[name].default is inspect.Parameter.empty]
    return {name: hints.get(name, Any) for name in parameters}, needed


def unknown_key(path: str, allowed: list[str]) -> str:
    """Return the sentence for an unknown key, with the closest existing one."""
    parent, _, name = path.rpartition(".")
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f"did you mean {f'{parent}.{close[0]}'.lstrip('.')!r}? " if close else ""
    return f"unknown key {path!r}: {hint}{parent or 'the configuration'} has {', '.join(sorted(allowed)) or 'no keys'}"


def _fits(expected: Any, value: Any) -> bool:
    if expected is Any:
        return True
    origin = get_origin(expected)
    if origin is Literal:
        return value in get_args(expected)
    if origin in (Union, types.UnionType):
        return any(_fits(option, value) for option in get_args(expected))
    if expected is types.NoneType:
        return value is None
    if expected in (int, float) and isinstance(value, bool):
        return False
    if expected is float:
        return isinstance(value, int | float)
    return not isinstance(expected, type) or isinstance(value, expected)


def _name(expected: Any) -> str:
    if get_origin(expected) is Literal:
        return " | ".join(map(str, get_args(expected)))
    if get_origin(expected) in (Union, types.UnionType):
        return " or ".join(_name(option) for option in get_args(expected))
    return {types.NoneType: "null", int: "an integer", float: "a number", str: "a text", bool: "true or false"}.get(
        expected, getattr(expected, "__name__", str(typing.cast(Any, expected)))
    )
