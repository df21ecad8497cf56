"""``fit.json``: a study's laws and forecasts, read back while its rows, its settings and the code are the same."""

from __future__ import annotations

import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jepa_scale.laws.law import LawFamily
from jepa_scale.records import ExactLearner, Forecast, LawFit, RunTable
from jepa_scale.runs.code import source_of
from jepa_scale.runs.folder import atomic_write
from jepa_scale.texts import parse_json

_CODE = ("laws", "records", "theory", "worlds")
"""Folders of this package that fits and forecasts depend on; families of laws are compared themselves."""

Record = TypeVar("Record")


@dataclass(frozen=True)
class Fitted:
    """The fits of a study, their forecasts of what was held out, and the exact learner beside the networks."""

    fits: tuple[LawFit, ...]
    forecasts: tuple[Forecast, ...]
    learner: ExactLearner | None = None


def inputs_of(table: RunTable, families: Sequence[LawFamily], targets: Sequence[str], settings: object) -> str:
    """Return a digest of all that fits and forecasts are computed from: rows, laws, settings, and the code."""
    import scipy

    whole = hashlib.sha256()
    for part in (source_of(*_CODE), np.__version__, scipy.__version__, targets, families, settings, table.dials):
        whole.update(f"{part!r}\0".encode())
    for name in sorted(table.columns):
        column = table.columns[name]
        whole.update(f"{name} {column.dtype} {len(column)}\0".encode())
        whole.update(np.ascontiguousarray(column).tobytes())
    return whole.hexdigest()


def read_fits(path: Path, inputs: str) -> Fitted | None:
    """Return the fits of a file; None if there is none, it is damaged, or it was computed from other ``inputs``."""
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("inputs") != inputs:
        return None
    body = {field.name: content.get(field.name) for field in fields(Fitted)}
    if content.get("checksum") != _checksum(body):
        return None
    return _restored(Fitted, body)


def write_fits(path: Path, study: str, inputs: str, fitted: Fitted) -> None:
    """Write fits and forecasts with the ``study`` they are of and the digest of their ``inputs``."""
    body = json.loads(json.dumps(asdict(fitted), default=_plain))
    content = {"study": study, "inputs": inputs, "checksum": _checksum(body), **body}
    atomic_write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"cannot write {type(value).__name__} to fit.json")


def _restored(kind: Any, value: Any) -> Any:
    """Return the record, tuple, array or plain value that ``value`` is the JSON of, by its declared type."""
    if isinstance(kind, type) and is_dataclass(kind):
        types_of = _types(kind)
        return kind(**{name: _restored(types_of[name], item) for name, item in value.items()})
    if isinstance(kind, types.UnionType):
        (some,) = (one for one in kind.__args__ if one is not types.NoneType)
        return None if value is None else _restored(some, value)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        each = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_restored(one, item) for one, item in zip(each, value, strict=True))
    if origin is np.ndarray:
        return np.array(value, dtype=np.float64)
    return value


@lru_cache(maxsize=16)
def _types(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
