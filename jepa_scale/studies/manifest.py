"""``plan.json``: the runs of a study, for workers and readers that compose or instantiate nothing."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder, atomic_write
from jepa_scale.runs.identity import run_id
from jepa_scale.studies.design import DesignPoint, Purpose
from jepa_scale.studies.specification.spec import StudySpec, spec_of
from jepa_scale.texts import first_line, parse_json

_FIELDS = [field.name for field in fields(DesignPoint) if field.name != "config"]


def study_id(spec: StudySpec) -> str:
    """Hash of the settings that a study keeps while it grows; stored in its files to show which study they are of."""
    kept = [spec.name, spec.sampler, spec.overrides, {key: list(values) for key, values in spec.arms.items()}]
    text = json.dumps([*kept, spec.budget.to_dict()], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def write_plan(study: Path, points: Iterable[DesignPoint]) -> None:
    """Write ``plan.json``: the study's id, a configuration for each arm, and each run's changes to it.

    Raises
    ------
    UserError
        If the study's file cannot be read.
    """
    bases: dict[str, Mapping[str, Any]] = {}
    rows = []
    for point in points:
        base = bases.setdefault(point.arm, point.config)
        row = {name: getattr(point, name) for name in _FIELDS}
        rows.append(json.dumps(row | {"set": dict(differences(base, point.config))}, ensure_ascii=False))
    head = json.dumps({"study": study_id(spec_of(study)), "bases": bases}, ensure_ascii=False)[:-1]
    atomic_write(study / "plan.json", f'{head}, "runs": [\n' + ",\n".join(rows) + "\n]}\n")


def read_plan(study: Path, looking: bool = False) -> list[DesignPoint]:
    """Read the runs of a study with their configurations, checked against the study's file and each run's id.

    Whoever is only ``looking`` at the runs, and does nothing by their configurations, does without the check of ids,
    which takes most of the time.

    Raises
    ------
    UserError
        If the study has not been planned, or the file is damaged or another study's.
    """
    path = study / "plan.json"
    if not path.is_file():
        raise UserError(f"{study} is not a study that was planned (no plan.json): give the folder of a study or sweep")
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if isinstance(content, list):
            return _old_points(study, content)
        owner, own = content["study"], study_id(spec_of(study))
        points = [_point(row, content["bases"], looking) for row in content["runs"]]
    except UserError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({first_line(error)}): run the study or sweep command again, which writes it"
        ) from None
    if owner != own:
        raise UserError(
            f"{path} is the plan of study {owner}, expected that of study {own}, as study.yaml beside it says: put "
            "the right file back, or run the study or sweep command again, which writes it"
        )
    return points


def _point(row: Mapping[str, Any], bases: Mapping[str, Any], looking: bool) -> DesignPoint:
    config = _with(bases[row["arm"]], row["set"])
    # Plans from before dials beside n and k do not name any.
    fields = {name: row[name] for name in _FIELDS if name != "dials" or name in row}
    point = _checked(DesignPoint(config=config, **fields))
    if config and not looking and run_id(config) != point.run_id:
        raise ValueError(f"run {point.run_id} has another configuration")
    return point


_ID, _DIAL, _RESOURCES = (re.compile(text) for text in (r"[\w-]{1,64}", r"[A-Za-z_]\w{0,60}", r"[cg]pu[1-9]\d{0,3}"))
_PURPOSES = frozenset(get_args(Purpose))


def _checked(point: DesignPoint) -> DesignPoint:
    """Check the parts of a design point that become names of files."""
    # Without generators: of 10⁵ runs they take as long as all else.
    whole = type(point.n) is type(point.k) is type(point.seed) is int and min(point.n, point.k, point.seed) >= 0
    texts = type(point.run_id) is type(point.label) is type(point.arm) is type(point.resources) is str
    simple = isinstance(point.dials, Mapping) and (
        not point.dials
        or all(_DIAL.fullmatch(name) and isinstance(value, int | float | str) for name, value in point.dials.items())
    )
    if not whole or not texts or not simple or not _ID.fullmatch(point.run_id):
        raise ValueError("a run has no whole n, k and seed, or an id that is none")
    if point.purpose not in _PURPOSES or not _RESOURCES.fullmatch(point.resources):
        raise ValueError(f"run {point.run_id} is for nothing, or needs nothing, that is known")
    return point


def _old_points(study: Path, rows: list[Any]) -> list[DesignPoint]:
    """Design points of a plan that holds no configurations, as older versions wrote; they come from the run folders."""
    known = {str(row["run_id"]) for row in rows}
    if not all(re.fullmatch(r"[\w-]{1,64}", name) for name in known):
        raise ValueError("an id of a run is none")
    configs = {name: RunFolder(study / "runs" / name).peek_config() or {} for name in known}
    entries = [{name: row[name] for name in _FIELDS if name in row} for row in rows]
    return [_checked(DesignPoint(config=configs[row["run_id"]], **row)) for row in entries]


def differences(base: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Changes that turn one configuration into the other, as dotted paths and values."""
    if base is other:
        return
    alike = isinstance(base, Mapping) and isinstance(other, Mapping) and list(base) == list(other)
    if alike and not any("." in str(name) for name in base):
        for name, value in other.items():
            yield from differences(base[name], value, f"{path}.{name}" if path else str(name))
    elif base != other or type(base) is not type(other):
        yield path, other


def _with(base: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Copy of a configuration with values at dotted paths replaced; unchanged parts are shared."""
    if "" in values:
        whole: Mapping[str, Any] = values[""]
        return whole
    changed = dict(base)
    for path, value in values.items():
        name, _, rest = path.partition(".")
        changed[name] = _with(changed[name], {rest: value}) if rest else value
    return changed
