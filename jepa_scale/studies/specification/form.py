"""The form of a study file: every field, its type and its limits, as a pydantic model; also its JSON schema.

What is well formed here may still contradict itself or name what is not there: ``spec`` checks that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from jepa_scale.runs.schema import unknown_key

_LIMIT = "limit"
"""Type of our own errors, whose message is what was expected."""


def _different(values: list[Any]) -> list[Any]:
    if len({(type(value), value) for value in values}) < len(values):
        raise PydanticCustomError(_LIMIT, "different values")
    return values


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise PydanticCustomError(_LIMIT, "a finite number")
    return value


Simple = bool | int | float | str
"""A value of a dial or an arm."""
Seeds = Annotated[
    list[Annotated[int, Field(ge=0)]],
    Field(min_length=1, description="a list of whole numbers ≥ 0"),
    AfterValidator(_different),
]
Sizes = Annotated[
    list[Annotated[int, Field(ge=1)]],
    Field(min_length=1, description="a list of whole numbers ≥ 1"),
    AfterValidator(_different),
]
Share = Annotated[float, Field(gt=0, lt=1, description="a number between 0 and 1")]
Positive = Annotated[float, Field(gt=0, description="a number above 0"), AfterValidator(_finite)]
Whole = Annotated[int, Field(ge=1, description="a whole number above 0")]


class Form(BaseModel):
    """A section of a study file; a field's description says what is expected."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FixedSteps(Form):
    """The same number of optimiser steps for every n."""

    rule: Literal["fixed_steps"]


class FixedEpochs(Form):
    """The same number of passes over the data for every n."""

    rule: Literal["fixed_epochs"]
    passes: Positive
    most_steps: Annotated[int, Field(ge=1, description="a whole number ≥ 1")]


class TunedSteps(Form):
    """For every n the number of steps that does best on held-out data."""

    rule: Literal["tuned"]
    steps: Annotated[Sizes, Field(min_length=2, description="at least 2 numbers to choose from, whole and ≥ 1")]
    seeds: Seeds
    widths: Sizes


class Tuning(BaseModel):
    """Learning rates that are compared at the study's widths, on seeds of their own."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    __pydantic_extra__: dict[str, Any] = Field(init=False)

    n: Any = Field(description="one of dials.data.n")
    seeds: Seeds
    widths: Sizes | None = None


class Design(Form):
    """What ``sampler: design`` is to forecast, and when it ends."""

    n: Whole = Field(alias="data.n")
    k: Whole = Field(alias="model.k")
    runs: Whole | None = Field(None, description="a whole number above 0")
    hours: Positive | None = Field(None, description="a number above 0")
    tolerance: Positive | None = Field(None, description="a number above 0")


class DialSettings(Form):
    """A dial with its scale and its name in laws and tables."""

    values: list[Simple]
    scale: Literal["log", "linear", "categorical"] | None = None
    name: str | None = None


class TargetSettings(Form):
    """A quantity that is not declared with its better end."""

    quantity: str
    better: Literal["lower", "higher"] | None = None


class StudyFile(Form):
    """A scaling study of JEPA world models."""

    name: Annotated[
        str,
        Field(
            pattern=r"^[\w-]+$",
            max_length=100,
            description="letters, digits, - and _, at most 100 (it names a folder)",
        ),
    ]
    question: str = Field(description="a text")
    dials: Any = Field(description="configuration keys with lists of values")
    seeds: Seeds
    arms: Any = Field({}, description="a mapping such as {world.noise_std: [0.0, 0.5]}")
    extra: Any = Field([], description="a list of runs")
    overrides: list[str] = Field([], description="a list of key=value texts")
    sampler: Literal["grid", "design"] = Field("grid", description="grid or design")
    launcher: str | dict[str, Any] = Field("local", description="a name, or settings such as {name: slurm, workers: 8}")
    laws: Annotated[list[str], Field(min_length=1, description="a list of laws"), AfterValidator(_different)] = [
        "generic"
    ]
    target: Any = Field("regret", description="a quantity")
    hold_out_largest_n: bool = Field(True, description="true or false")
    level: Share = 0.9
    bootstrap_draws: Annotated[int, Field(ge=20, le=100_000, description="a whole number from 20 to 100000")] = 200
    target_regret: Share = 0.02
    design: Design | None = Field(
        None,
        description="data.n and model.k to forecast, and runs, hours or tolerance (relative sd) as an end",
    )
    budget: Annotated[FixedSteps | FixedEpochs | TunedSteps, Field(discriminator="rule")] = Field(
        FixedSteps(rule="fixed_steps"),
        description="a mapping with rule: fixed_steps | fixed_epochs | tuned",
    )
    tuning: Tuning | None = Field(None, description="a mapping with optimizer.lr, n, seeds, widths")


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a study file."""

    place: tuple[str, ...]
    """Keys that lead to it; empty for the file as a whole."""
    sentence: str


def wrong_form(content: Any) -> list[Problem]:
    """Return everything that is wrong with the form of a study file."""
    if not isinstance(content, Mapping):
        return [Problem((), f"expected a mapping with {', '.join(StudyFile.model_fields)}, got {content!r}")]
    try:
        StudyFile.model_validate(content)
    except ValidationError as error:
        found = (Problem(_place(one), _sentence(one, content)) for one in error.errors())
        return list({problem.sentence: problem for problem in found}.values())
    return []


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of study files, for editors that complete and check them."""
    schema = StudyFile.model_json_schema()
    simple = {"type": "array", "minItems": 1, "items": {"type": ["boolean", "number", "string"]}}
    dial = DialSettings.model_json_schema()
    known = schema["properties"]
    for name, values in (("dials", {"anyOf": [simple, dial]}), ("arms", simple)):
        known[name] |= {"type": "object", "additionalProperties": values}
    known["extra"] |= {"type": "array", "items": {"type": "object"}}
    known["target"] |= {"anyOf": [{"type": "string"}, TargetSettings.model_json_schema()]}
    schema["$defs"]["Tuning"]["additionalProperties"] = {"type": "array", "items": {"type": "number"}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _place(error: ErrorDetails) -> tuple[str, ...]:
    # A tag of the union of budget rules is no key of the file.
    return tuple(str(part) for part in error["loc"] if part not in ("fixed_steps", "fixed_epochs", "tuned"))


def _sentence(error: ErrorDetails, content: Any) -> str:
    """What is wrong at one place: the field, what it expects, and what it has."""
    place = _place(error)
    if error["type"] == "extra_forbidden":
        known = [info.alias or name for name, info in _model_at(error["loc"][:-1]).items()]
        return unknown_key(".".join(map(str, place)), known)
    if error["type"] == "missing":
        where = ".".join(map(str, place[:-1]))
        return f"{where}: the field {place[-1]!r} is missing" if where else f"the field {place[-1]!r} is missing"
    path, expected, value = "", "", content
    for part, info in _fields_along(error["loc"]):
        path = f"{path}.{part}".lstrip(".")
        expected = info.description or expected
        value = value.get(part) if isinstance(value, Mapping) else value
    if error["type"] == _LIMIT:
        expected = error["msg"]
    return f"{path}: expected {expected or error['msg']}, got {value!r}"


def _fields_along(place: tuple[int | str, ...]) -> Iterator[tuple[str, FieldInfo]]:
    """Fields of the models along the place of an error, as far as there are any."""
    for depth in range(len(place)):
        fields, part = _model_at(place[:depth]), place[depth]
        by_key = {info.alias or name: info for name, info in fields.items()}
        if part in by_key:
            yield str(part), by_key[str(part)]


_MODELS: Mapping[str, type[BaseModel]] = {
    "fixed_steps": FixedSteps,
    "fixed_epochs": FixedEpochs,
    "tuned": TunedSteps,
    "tuning": Tuning,
    "design": Design,
}


def _model_at(place: tuple[int | str, ...]) -> dict[str, FieldInfo]:
    """Fields of the section that a place names; of the whole file where it names none."""
    model = next((_MODELS[str(part)] for part in reversed(place) if str(part) in _MODELS), None)
    if model is None:
        return StudyFile.model_fields if not place else {}
    return model.model_fields
