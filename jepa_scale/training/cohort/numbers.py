"""What models of a stack have that is no function: tensors, and plain numbers, some of them each its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from jepa_scale.training.world_model import WorldModel

PARTS = ("encoder", "predictor", "objective")


class NotStackable(Exception):
    """Runs cannot be trained as one stack; the message says what of them it is."""


@dataclass(frozen=True)
class Slot:
    """A number that the objective, encoder or predictor of each trainee has for itself."""

    module: str
    name: str
    values: list[float]


def parts_of(module: WorldModel) -> nn.ModuleDict:
    """The parts of a model whose steps are taken together."""
    return nn.ModuleDict({name: part for name, part in module.named_children() if name in PARTS})


def state_of(module: WorldModel) -> dict[str, Tensor]:
    """Their parameters and buffers, by the names that they have in a stack."""
    parts = parts_of(module)
    return {f"model.{name}": value for name, value in [*parts.named_parameters(), *parts.named_buffers()]}


def numbers_of(module: WorldModel) -> dict[tuple[str, str], Any]:
    """Plain numbers and texts of all parts, by module and attribute."""
    return {
        (path, name): value
        for path, part in module.named_modules()
        if path
        for name, value in vars(part).items()
        if name != "training" and isinstance(value, int | float | str | tuple)
    }


def slots_of(modules: Sequence[WorldModel]) -> list[Slot]:
    """Numbers in which the models differ.

    Raises
    ------
    NotStackable
        If they differ in anything else.
    """
    every = [numbers_of(module) for module in modules]
    slots = []
    for place, first in every[0].items():
        values = [numbers.get(place) for numbers in every]
        if all(type(value) is type(first) and value == first for value in values):
            continue
        if not all(isinstance(value, float | int) and not isinstance(value, bool) for value in values):
            raise NotStackable(f"they differ in {'.'.join(place)}: {values[0]!r}, {values[-1]!r}")
        slots.append(Slot(*place, [float(value) for value in values]))  # type: ignore[arg-type]
    return slots
