"""Dials of a study: the configuration keys that it varies, which are columns of its table and names in laws."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Value = int | float | str | bool
Scale = Literal["log", "linear", "categorical"]
SCALES = ("log", "linear", "categorical")


@dataclass(frozen=True)
class Dial:
    """A configuration key with the values that a study gives it.

    Examples
    --------
    >>> dial = declare("trainer.steps_per_epoch", [50, 100, 200])
    >>> dial.name, dial.scale, dial.reference
    ('steps_per_epoch', 'log', 200)
    """

    key: str
    """Dotted path in a run's configuration."""
    name: str
    """Name of the column of the table, of Optuna's parameter and of the variable in laws."""
    scale: Scale
    values: tuple[Value, ...]
    """Values that the study gives it: numbers in ascending order, categories as written."""
    label: str
    """Label of the dial's axis in figures."""

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers, which laws can read."""
        return self.scale != "categorical"

    @property
    def reference(self) -> Value:
        """The value at which figures of n and k are drawn: the largest number, or the first category."""
        return self.values[-1] if self.numeric else self.values[0]

    def written(self) -> Any:
        """The dial as a study file writes it: a plain list where only the values are given."""
        plain = declare(self.key, self.values)
        if (plain.name, plain.scale) == (self.name, self.scale):
            return list(self.values)
        return {"values": list(self.values), "scale": self.scale, "name": self.name}


N_KEY, K_KEY = "data.n", "model.k"
_DECLARED = {N_KEY: ("n", "training transitions n"), K_KEY: ("k", "latent width k")}
"""Names and labels of the dials that the theory is about, by configuration key."""
_LABELS = {"optimizer.lr": "learning rate", "optimizer.weight_decay": "weight decay"}
"""Labels of other keys whose last part is no word, or not enough of one."""


def declare(key: str, values: Sequence[Value], scale: Scale | None = None, name: str | None = None) -> Dial:
    """Return the dial of a key; name and scale follow from the key and the values unless they are given.

    A scale is logarithmic where all numbers are above 0, so that it stays the same when the study grows.
    """
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if key in _DECLARED:
        own, label = _DECLARED[key]
        return Dial(key, own, "log", tuple(sorted(values)), label)
    if scale is None:
        scale = "categorical" if not numbers else "log" if all(float(value) > 0 for value in values) else "linear"
    ordered = tuple(sorted(values)) if scale != "categorical" else tuple(values)
    own = name or re.sub(r"\W", "_", key.rpartition(".")[2])
    return Dial(key, own, scale, ordered, label_of_key(key) if name is None else own.replace("_", " "))


def label_of_key(key: str) -> str:
    """Return the words for a configuration key in sentences and on axes.

    Examples
    --------
    >>> label_of_key("optimizer.lr"), label_of_key("trainer.steps_per_epoch")
    ('learning rate', 'steps per epoch')
    """
    declared = _DECLARED.get(key, ("", _LABELS.get(key)))[1]
    return declared or re.sub(r"\W", "_", key.rpartition(".")[2]).replace("_", " ")


def wrong_dials(content: Any, taken: Sequence[str]) -> dict[str, list[str]]:
    """Return a sentence for each mistake in the dials of a study file, by key; by an empty one where it is about all.

    ``taken`` are names of columns that a dial must not have.
    """
    if not isinstance(content, Mapping) or not content:
        wanted = f"configuration keys with lists of values, such as {{{N_KEY}: [1000, 3000], {K_KEY}: [4, 8]}}"
        return {"": [f"dials: expected {wanted}, got {content!r}"]}
    found = {str(key): _wrong(key, written) for key, written in content.items()}
    problems = {key: sentences for key, sentences in found.items() if sentences}
    if problems:
        return problems
    names: dict[str, str] = {}
    for key, written in content.items():
        name = read(key, written).name
        if key not in _DECLARED and name in ("n", "k", "seed", *taken):
            problems[key] = [f"dials.{key}: the table has a column {name!r} of its own; add name: to the dial"]
        elif name in names:
            problems[key] = [f"dials.{key}: expected another name than that of {names[name]}; add name: to one of them"]
        names[name] = str(key)
    return problems


def read(key: str, written: Any) -> Dial:
    """Return a dial of a study file in which ``wrong_dials`` found no mistake."""
    if isinstance(written, Mapping):
        return declare(key, written["values"], written.get("scale"), written.get("name"))
    return declare(key, written)


def run_at(dials: Sequence[Dial], n: int, k: int, seed: int) -> dict[str, Value]:
    """Return a single run as a study file writes it, with dials other than n and k at their reference."""
    sizes = {N_KEY: n, K_KEY: k}
    return {dial.key: sizes.get(dial.key, dial.reference) for dial in dials} | {"seed": seed}


def _wrong(key: Any, written: Any) -> list[str]:
    where = f"dials.{key}"
    if not isinstance(key, str) or key == "seed" or not re.fullmatch(r"\w+(\.\w+)*", key):
        return [f"dials: expected configuration keys such as trainer.steps_per_epoch, got {key!r}"]
    settings = written if isinstance(written, Mapping) else {"values": written}
    strange = sorted(str(name) for name in settings if name not in ("values", "scale", "name"))
    if strange or "values" not in settings:
        return [f"{where}: expected a list, or values, scale and name, got {written!r}"]
    values, scale, name = settings["values"], settings.get("scale"), settings.get("name")
    if not isinstance(values, list) or not values or not all(isinstance(value, int | float | str) for value in values):
        return [f"{where}: expected a list of numbers, texts or truth values, got {values!r}"]
    if len({(type(value), value) for value in values}) != len(values):
        return [f"{where}: expected different values, got {values}"]
    if key in _DECLARED:
        if isinstance(written, Mapping) or not all(type(value) is int and value >= 1 for value in values):
            return [f"{where}: expected a list of whole numbers ≥ 1, got {written!r}"]
        return []
    numbers = all(not isinstance(value, bool | str) for value in values)
    problems = []
    if numbers and not all(abs(value) < float("inf") for value in values):
        problems.append(f"{where}: expected finite numbers, got {values}")
    if not numbers and len({type(value) for value in values}) > 1:
        problems.append(f"{where}: expected values of one kind, got {values}")
    if scale is not None and scale not in SCALES:
        problems.append(f"{where}.scale: expected one of {', '.join(SCALES)}, got {scale!r}")
    elif scale in ("log", "linear") and not numbers:
        problems.append(f"{where}.scale: expected categorical, as the values are no numbers, got {scale}")
    elif scale == "log" and min(values) <= 0:
        problems.append(f"{where}.scale: expected numbers above 0 on a logarithmic scale, got {min(values)}")
    if name is not None and not (isinstance(name, str) and re.fullmatch(r"[A-Za-z_]\w{0,40}", name)):
        problems.append(f"{where}.name: expected letters, digits and _, got {name!r}")
    return problems
