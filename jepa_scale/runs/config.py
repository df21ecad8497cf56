"""Composition of a run's configuration from ``conf/`` and overrides."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from jepa_scale.runs import code, limits, schema
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.overrides import Override, applied, links_in, resolved, split
from jepa_scale.texts import first_line, parse_yaml


def data_dir(name: str, marker: str) -> Path:
    """Find ``conf`` or ``sweeps``: in $JEPA_SCALE_<NAME>, beside an installed package, or in a checkout.

    Raises
    ------
    UserError
        If the folder is in none of these places.
    """
    package = Path(__file__).resolve().parent.parent
    variable = f"JEPA_SCALE_{name.upper()}"
    candidates = [Path(value) for value in [os.environ.get(variable)] if value]
    candidates += [package / name, package.parent / name]
    for candidate in candidates:
        if (candidate / marker).is_file():
            return candidate
    raise UserError(
        f"no {name} folder with {marker} in {', '.join(map(str, candidates))}: reinstall, or set {variable}"
    )


def conf_dir() -> Path:
    """Folder of the configuration groups, ``conf``."""
    return data_dir("conf", "config.yaml")


def groups() -> dict[str, list[str]]:
    """Configuration groups of a run and their options."""
    from jepa_scale.runs.leaves import options

    names = [field.name for field in fields(schema.RunConfig) if (conf_dir() / field.name).is_dir()]
    return {name: list(options(name)) for name in names}


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose and check a run's configuration; ``overrides`` are ``group=option`` or ``key.path=value``.

    Raises
    ------
    UserError
        If the configuration is wrong; names every unknown key, wrong type and impossible value at once.
    """
    choices, values = split(overrides, groups())
    return _replaced(_composed(choices), values)


def read_config(file: Path) -> dict[str, Any]:
    """Read a configuration from a file, such as a run's ``config.yaml`` or what ``train --show`` prints.

    Raises
    ------
    UserError
        If there is no such file, or it holds no configuration; names every wrong key.
    """
    path = file / "config.yaml" if file.is_dir() else file
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}): expected a configuration") from None
    except OSError as error:
        raise UserError(f"{path}: expected a run's config.yaml, got {error.strerror}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a configuration, a mapping of groups, got {type(content).__name__}")
    wrong = schema.problems(content)
    if wrong:
        raise UserError(f"{path}: {'; '.join(wrong)}")
    return content


class Linked(dict[str, Any]):
    """A composed configuration that remembers which values refer to others, such as ``${model.k}``, by path."""

    links: Mapping[str, str]


def compose_linked(overrides: Sequence[str]) -> Linked:
    """Compose a configuration from which others will be made: links follow what is set later.

    Raises
    ------
    UserError
        As ``compose``.
    """
    choices, values = split(overrides, groups())
    config = _deep_copy(_composed(choices))
    applied(config, values)
    whole = Linked(compose(overrides))
    whole.links = links_in(config)
    return whole


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a composed configuration with the values at dotted paths replaced, checked again.

    Raises
    ------
    UserError
        As ``compose``.
    """
    return _replaced(config, [Override(path, value) for path, value in values.items()])


def with_overrides(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a composed configuration with groups and values replaced, checked again.

    Raises
    ------
    UserError
        As ``compose``.
    """
    choices, values = split(overrides, groups())
    leaves = _composed(choices)
    return _replaced({**config, **{group: leaves[group] for group in choices}}, values)


def keys_of(overrides: Sequence[str]) -> list[str]:
    """Groups and dotted paths that overrides change.

    Raises
    ------
    UserError
        If an override cannot be parsed.
    """
    choices, values = split(overrides, groups())
    return [*choices, *(override.path for override in values)]


def _replaced(config: Mapping[str, Any], values: Sequence[Override]) -> dict[str, Any]:
    copy: dict[str, Any] = _deep_copy(config)
    problems = applied(copy, values)
    set_now = {override.path for override in values}
    links = {path: text for path, text in _links(config).items() if path not in set_now} | links_in(copy)
    if links and not problems:
        copy = resolved(copy, links)
    if copy.get("stages", ()) is None:
        # Said once, so that a run is the same whether or not its stages were spelt out.
        copy["stages"] = ["pretrain", "finetune"] if _fine_tunes(copy) else ["pretrain"]
    problems += schema.problems(copy)
    if not problems:
        problems += impossible(copy)
    if problems:
        raise UserError("; ".join(dict.fromkeys(problems)))
    whole = schema.with_defaults(copy)
    return {**whole, code.KEY: code.code_of(whole)}


def with_sizes(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Fast ``with_values`` for values of the right type: a study's cells share the parts that they do not change.

    Raises
    ------
    UserError
        If a value is impossible.
    """
    changed = dict(config)
    for path, value in values.items():
        node = changed
        *groups, key = path.split(".")
        for group in groups:
            node[group] = dict(node[group])
            node = node[group]
        node[key] = value
    links = {path: text for path, text in _links(config).items() if path not in values}
    if links:
        changed = resolved(changed, links)
    problems = impossible(changed)
    if problems:
        raise UserError("; ".join(dict.fromkeys(problems)))
    return changed


def _fine_tunes(config: Mapping[str, Any]) -> bool:
    return not str(config["finetune"].get("_target_")).endswith("NoFineTuning")


def _wrong_stages(config: Mapping[str, Any]) -> list[str]:
    stages, chosen = config["stages"], _fine_tunes(config)
    if stages not in (["pretrain"], ["pretrain", "finetune"]):
        return [f"stages: expected [pretrain] or [pretrain, finetune], got {stages}"]
    if chosen != ("finetune" in stages):
        reason = "a way of fine-tuning is chosen" if chosen else "finetune=none"
        expected = "[pretrain, finetune]" if chosen else "[pretrain], or a way of fine-tuning (finetune=rollout)"
        return [f"stages: expected {expected}, as {reason}, got {stages}"]
    return []


_PRECISIONS = ("32-true", "32", "bf16-mixed", "16-mixed", "16")
"""Precisions with weights in 32 bits, in which estimates are computed."""


def impossible(config: Mapping[str, Any]) -> list[str]:
    """Return one sentence for every well-typed value with which a run is impossible."""
    model, data, trainer = config["model"], config["data"], config["trainer"]
    positive = {
        "model.k": model["k"],
        "data.length": data["length"],
        "data.horizon": data["horizon"],
        "trainer.epochs": trainer["epochs"],
        "trainer.steps_per_epoch": trainer["steps_per_epoch"],
        "trainer.devices": trainer["devices"],
        "trainer.threads": trainer["threads"],
    }
    problems = [f"{path}: expected a whole number ≥ 1, got {value}" for path, value in positive.items() if value < 1]
    if trainer["precision"] not in _PRECISIONS:
        problems.append(f"trainer.precision: expected 32-true or bf16-mixed, got {trainer['precision']}")
    if trainer["precision"] in ("16-mixed", "16") and trainer["gradient_clip"]:
        problems.append(
            f"trainer.precision={trainer['precision']}: expected bf16-mixed, or trainer.gradient_clip=null: gradients "
            "of 16 bits are scaled inside the optimizer, after they would be clipped"
        )
    every = trainer.get("checkpoint_every")
    if every is not None and every < 1:
        problems.append(f"trainer.checkpoint_every: expected a number of steps ≥ 1, or null, got {every}")
    if trainer["devices"] > 1 and data["batch_size"] % trainer["devices"]:
        problems.append(
            f"data.batch_size={data['batch_size']}: expected a multiple of trainer.devices={trainer['devices']}, as "
            "each device takes as many rows of a batch"
        )
    if data["batch_size"] < 2:
        problems.append(f"data.batch_size: expected at least 2 (the loss compares pairs), got {data['batch_size']}")
    elif data["n"] < data["batch_size"]:
        problems.append(
            f"data.n={data['n']} is below data.batch_size={data['batch_size']}: raise data.n or lower data.batch_size"
        )
    if data["horizon"] > data["length"]:
        problems.append(
            f"data.horizon={data['horizon']} is above data.length={data['length']}: no trajectory holds such a window"
        )
    for part in ("heldout", "test"):
        if data[part] < 32 * max(data["length"], 1):
            problems.append(
                f"data.{part}: expected at least 32 trajectories of data.length={data['length']}, got {data[part]}"
            )
    problems += _wrong_stages(config)
    if model["normalise"] and model["k"] < 2:
        problems.append("model.normalise: expected model.k ≥ 2, got 1: one coordinate alone is normalised to 0")
    if model["hidden"] is not None and model["hidden"] < 1:
        problems.append(f"model.hidden: expected a whole number ≥ 1 or null, got {model['hidden']}")
    if trainer["divergence"] <= 0 or (trainer["gradient_clip"] or 1) <= 0:
        problems.append(
            "trainer.divergence and trainer.gradient_clip: expected numbers above 0 (gradient_clip may be null)"
        )
    return problems + limits.unfit(config)


def _composed(choices: Mapping[str, str | tuple[str, ...]]) -> dict[str, Any]:
    """Compose the chosen options; several options of a group become a mapping of leaves by name."""
    from jepa_scale.runs.leaves import folders

    places = tuple(str(folder.resolve()) for folder in folders())
    choices = {**_world_defaults(choices), **choices}
    first = {group: option if isinstance(option, str) else option[0] for group, option in choices.items()}
    config = dict(_compose_groups(tuple(sorted(first.items())), places))
    for group, options in choices.items():
        if not isinstance(options, str):
            compositions = ({**first, group: option} for option in options)
            leaves = (_compose_groups(tuple(sorted(chosen.items())), places)[group] for chosen in compositions)
            config[group] = dict(zip(options, leaves, strict=True))
    return config


def _world_defaults(choices: Mapping[str, str | tuple[str, ...]]) -> dict[str, str]:
    """Return the options of other groups that the chosen world begins with: ``conf/world_defaults/WORLD.yaml``.

    Hydra allows no override of the defaults list below an interpolated group, so the files are read here.

    Raises
    ------
    UserError
        If such a file does not map groups to their options.
    """
    from jepa_scale.runs.leaves import options

    world = choices.get("world")
    file = options("world_defaults").get(world) if isinstance(world, str) else None
    if file is None:
        return {}
    content, known = parse_yaml(file.read_text(encoding="utf-8")), groups()
    if not isinstance(content, dict) or any(option not in known.get(group, ()) for group, option in content.items()):
        raise UserError(f"{file}: expected options by group, such as objective: vicreg, got {content}")
    return content


@lru_cache(maxsize=32)
def _compose_groups(choices: tuple[tuple[str, str], ...], places: tuple[str, ...]) -> dict[str, Any]:
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    try:
        chosen = [f"{group}={option}" for group, option in choices]
        if len(places) > 1:
            chosen.append(f"hydra.searchpath=[{','.join(f'file://{place}' for place in places[1:])}]")
        with hydra.initialize_config_dir(version_base="1.3", config_dir=places[0]):
            composed = hydra.compose("config", overrides=chosen)
    except HydraException as error:
        raise UserError(f"cannot compose the configuration: {error.__cause__ or error}") from None
    container = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _links(config: Mapping[str, Any]) -> Mapping[str, str]:
    return config.links if isinstance(config, Linked) else {}


def _deep_copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _deep_copy(item) for key, item in value.items()}
    return [_deep_copy(item) for item in value] if isinstance(value, list) else value
