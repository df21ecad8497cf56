"""Checks that the runs a study already has and those still to do come from the same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jepa_scale.records import RunRecord
from jepa_scale.runs.code import MIXED, changed
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.design import DesignPoint
from jepa_scale.studies.manifest import differences, read_plan


def check_code(
    points: Sequence[DesignPoint], records: Mapping[str, RunRecord], study: Path, accept_mixed: bool = False
) -> None:
    """Refuse to add runs to those that other code has computed; ``accept_mixed`` lets this code resume them.

    Raises
    ------
    UserError
        If finished or started runs come from other code, or planned cells would now have other settings.
    """
    lacking = [point for point in points if point.run_id not in records]
    if not lacking:
        return
    _check_done(points, records, accept_mixed)
    _check_begun(lacking, study, accept_mixed)
    _check_planned(points, study, accept_mixed)


def _check_done(points: Sequence[DesignPoint], records: Mapping[str, RunRecord], accept_mixed: bool) -> None:
    configs = {point.run_id: point.config for point in points}
    differing = {run: differs for run, record in records.items() if (differs := changed(record.config, configs[run]))}
    if differing and not accept_mixed:
        raise UserError(
            f"{len(differing)} of {len(records)} runs of this study were computed by other code: "
            f"{'; '.join(next(iter(differing.values())))}; {MIXED}"
        )


def _check_begun(lacking: Sequence[DesignPoint], study: Path, accept_mixed: bool) -> None:
    for point in lacking:
        folder = point.folder(study)
        if not (folder.path / "config.yaml").exists():
            continue
        if accept_mixed:
            folder.claim(point.config, accept_mixed=True)
            continue
        differs = changed(folder.peek_config() or {}, point.config)
        if differs:
            raise UserError(f"run {point} was begun by other code: {'; '.join(differs)}; {MIXED}")


def _check_planned(points: Sequence[DesignPoint], study: Path, accept_mixed: bool) -> None:
    """Refuse planned cells that would be other runs now, because the default of a setting has changed."""
    try:
        before = {_cell(point): point for point in read_plan(study)} if (study / "plan.json").is_file() else {}
    except UserError:
        # It is about to be written anew.
        return
    differing = [
        (before[_cell(point)], point)
        for point in points
        if _cell(point) in before and before[_cell(point)].run_id != point.run_id
    ]
    lost = [(old, new) for old, new in differing if old.folder(study).record_path.exists()]
    if not lost or accept_mixed:
        return
    old, new = lost[0]
    shown = ", ".join(f"{path} is {value!r} now" for path, value in list(differences(old.config, new.config))[:3])
    raise UserError(
        f"{len(lost)} runs of this study were done with other settings, which no override names: {shown or 'code'}; "
        "put them back, choose another folder, or add --accept-mixed to run these cells again"
    )


def _cell(point: DesignPoint) -> tuple[Any, ...]:
    return point.purpose, point.label, point.arm, point.n, point.k, tuple(point.dials.items()), point.seed
