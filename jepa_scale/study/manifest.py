"""What a study's workers must know of its runs, without composing a configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import atomic_write
from jepa_scale.study.design import DesignPoint

_FIELDS = [field.name for field in fields(DesignPoint) if field.name != "config"]


def write_plan(study: Path, points: Iterable[DesignPoint]) -> None:
    """Write ``plan.json``: every run, one on a line; their configurations are in their folders."""
    rows = [json.dumps({name: getattr(point, name) for name in _FIELDS}, ensure_ascii=False) for point in points]
    atomic_write(study / "plan.json", "[\n" + ",\n".join(rows) + "\n]\n")


def read_plan(study: Path) -> list[DesignPoint]:
    """The runs of a study, without their configurations.

    Raises
    ------
    UserError
        If the study has not been planned, or the file is damaged.
    """
    path = study / "plan.json"
    if not path.is_file():
        raise UserError(f"{study} is not a study that was planned (no plan.json): give the folder of a study or sweep")
    try:
        return [DesignPoint(config={}, **row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): run the study or sweep command again, which writes it") from None
