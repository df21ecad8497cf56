"""Settings that differ between the rows of one configuration, which would be pooled as if they were seeds."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from jepa_scale.foreign import short
from jepa_scale.records import RunTable
from jepa_scale.records.findings import Finding
from jepa_scale.records.quantities import BY_NAME
from jepa_scale.studies.tables.columns import Columns
from jepa_scale.studies.tables.names import candidates, plain
from jepa_scale.studies.tables.selection import values_of, written
from jepa_scale.studies.tables.table import FILE

_SEEDS = re.compile(r"seed|^(rng|trial|rep|reps|repeat|replicate|replica|fold|index|idx|random_?state|unnamed.*|)$")
"""Names of columns that tell repetitions of one setting apart."""

_OTHERS = frozenset((
    "run_id", "run", "run_name", "id", "name", "_step", "step", "steps", "global_step", "epoch", "status", "state",
    "reason", "created", "updated", "date", "time", "timestamp", "_timestamp", "runtime", "_runtime", "hours",
    "seconds", "duration", "host", "hostname", "node", "gpu", "device", "user", "notes", "tags", "sweep", FILE,
)) | set(BY_NAME) | set(RunTable.COLUMNS) - {"arm"}  # fmt: skip
"""Names of columns that identify a run, say when, where and how far it ran, or are measured."""

_SETTINGS = frozenset((
    "arm", "lr", "rate", "learning_rate", "learningrate", "base_lr", "max_lr", "wd", "weight_decay", "momentum",
    "batch", "batch_size", "bs", "dropout", "temperature", "optimizer", "optimiser", "scheduler", "schedule", "warmup",
    "encoder", "predictor", "model", "arch", "architecture", "backbone", "objective", "loss_name", "planner", "world",
    "env", "environment", "config", "setting", "variant", "method", "algorithm", "depth", "layers", "heads", "horizon",
    "precision",
))  # fmt: skip
"""Names of columns that are a setting even where each row has a value of its own."""

_BALANCED = 0.8
"""Share of the configurations with several rows that hold the same values, above which somebody has chosen them."""

_MOST, _SHOWN = 24, 6


def mixed_settings(
    columns: Columns, cells: Mapping[str, np.ndarray], rows: np.ndarray, known: Sequence[str] = ()
) -> list[Finding]:
    """Return a finding for each column that differs between ``rows`` of one configuration and is no seed or result.

    A column is a setting by its name (``lr``, ``encoder``, ``config.…``), or if the configurations hold the same few
    values of it: what is measured, and where a run was done, does not come out so evenly.

    Parameters
    ----------
    cells
        What the configuration of a run is, such as n and k.
    known
        Names of further columns that are used, such as the target.
    """
    places = np.flatnonzero(rows).tolist()
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, cell in zip(places, zip(*(cells[name][places].tolist() for name in cells), strict=True), strict=True):
        groups[cell].append(place)
    several = [group for group in groups.values() if len(group) > 1]
    used = _used(columns, [*cells, *known])
    findings = []
    for column, content in columns.table.columns.items():
        if not several or column in used or _is_no_setting(column):
            continue
        values = values_of(content)
        differ = sum(len({values[place] for place in group}) > 1 for group in several)
        if differ and (_is_setting(column) or _is_balanced(values, several)):
            levels = sorted({values[place] for place in places}, key=lambda value: (isinstance(value, str), value))
            findings.append(
                Finding(
                    "settings_pooled",
                    short(column, 80),
                    {
                        "cells": differ,
                        "several": len(several),
                        "dials": ", ".join(cells),
                        "levels": len(levels),
                        "shown": _listed(list(map(written, levels))),
                        "first": written(levels[0] if levels[0] != "" or len(levels) == 1 else levels[1]),
                    },
                )
            )
    return findings


def _used(columns: Columns, names: Sequence[str]) -> set[str]:
    """Return the columns that are read under some name already, in expressions too."""
    sources = [columns.names.get(name, name) for name in (*names, *columns.names)]
    used = {found for source in sources for found in candidates(source, columns.table.columns)}
    words = {word for source in sources for word in re.findall(r"[\w.]+", source)}
    return used | {found for word in words for found in candidates(word, columns.table.columns)}


def _last(column: str) -> str:
    return re.split(r"[./]", plain(column))[-1]


def _is_no_setting(column: str) -> bool:
    last = _last(column)
    return bool(_SEEDS.search(last)) or last in _OTHERS


def _is_setting(column: str) -> bool:
    return _last(column) in _SETTINGS or plain(column).startswith(("config.", "config/"))


def _is_balanced(values: Sequence[float | str], several: Sequence[Sequence[int]]) -> bool:
    """Whether most configurations with several rows, two at least, hold the same values, more than one and no count."""
    held = Counter(tuple(sorted((values[place] for place in group), key=str)) for group in several)
    same, count = held.most_common(1)[0]
    levels = {value for value in same if value != ""}
    # 0, 1, 2 or 1, 2, 3 count repetitions.
    counted = any(levels == {float(start + place) for place in range(len(levels))} for start in (0, 1))
    return 1 < len(set(same)) <= _MOST and not counted and count >= 2 and count >= _BALANCED * len(several)


def _listed(levels: Sequence[str]) -> str:
    more = len(levels) - _SHOWN
    return ", ".join(levels[:_SHOWN]) + (f", … and {more} more" if more > 0 else "")
