"""Fit laws to a table on disk, as `jepa-scale fit` does."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from jepa_scale.laws.allocation import Cost
from jepa_scale.laws.general import GeneralLaw, law_of
from jepa_scale.laws.law import Law
from jepa_scale.laws.losses import Absolute, Binomial, HuberLog, Loss, Squares
from jepa_scale.laws.table import TableStudy, study_table
from jepa_scale.records.findings import Finding
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.instantiate import build_law
from jepa_scale.studies.external import factors
from jepa_scale.studies.tables.columns import Columns, NotNumbers
from jepa_scale.studies.tables.names import candidates, column_meant
from jepa_scale.studies.tables.reading import Source, read_tables
from jepa_scale.studies.tables.repeated import PerRun, rows_to_keep
from jepa_scale.studies.tables.selection import selected
from jepa_scale.studies.tables.settings import mixed_settings
from jepa_scale.studies.tables.states import of_finished, refuse_panel
from jepa_scale.studies.tables.success import how_to_say

LOSSES = (
    "huber[:DELTA] (of log residuals, δ = 1e-3), squares-log, squares, absolute-log, absolute, "
    "envelope[:WEIGHT] (absolute, predictions above a run cost WEIGHT = 10), binomial, beta-binomial:RHO"
)


@dataclass(frozen=True)
class FitSettings:
    """Settings of a fit: laws, columns, loss, and points to forecast."""

    laws: tuple[str, ...] = ("chinchilla",)
    """Laws to fit: names in ``conf/law``, or formulas."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the table, or expression of columns, for each name in the law."""
    loss: str = "huber"
    scale: str | None = None
    """Column that orders runs by size, for back-tests; None: the product of the law's columns."""
    cluster: str | None = None
    """Column that groups rows, such as by run; None: rows of equal configuration form a group."""
    weight: str | None = None
    episodes: str | None = None
    at: tuple[Mapping[str, float], ...] = ()
    """Points to forecast, each a value for every name in the law."""
    goal: float | None = None
    cost: str | None = None
    """Cost of a run as a product of two columns of the law, such as 6*N*D."""
    budgets: tuple[float, ...] = ()
    """Budgets whose best use is asked for, in units of the cost."""
    level: float = 0.9
    draws: int = 1000
    seed: int = 0
    per_run: PerRun = "last"
    """Row of each run that is used, of runs with several."""
    where: tuple[str, ...] = ()
    """Conditions COLUMN=VALUE of the rows that are used."""


def fit_file(paths: Source, settings: FitSettings) -> TableStudy:
    """Read a table, or several one after another, fit every law, back-test it and forecast.

    Raises
    ------
    UserError
        If the table, a law, a column or the loss is invalid.
    """
    _check_numbers(settings)
    loss = parse_loss(settings.loss)
    raw = selected(read_tables(paths), settings.where)
    refuse_panel(raw)
    raw, remarks = of_finished(raw, settings.columns)
    options = {"weight": settings.weight, "episodes": settings.episodes, "scale": settings.scale}
    extra = {name: source for name, source in options.items() if source}
    columns = Columns(raw, {**settings.columns, **extra})
    try:
        laws = [_law(text, columns) for text in settings.laws]
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from None
    targets = {law.target for law in laws}
    if len(targets) > 1:
        raise UserError(f"expected laws of one target, got {', '.join(sorted(targets))}")
    table = _rows_of(columns, laws, tuple(extra), settings)
    at, at_scale = _points(settings, laws)
    cost = _cost(settings, laws)
    try:
        study = study_table(
            laws,
            table.columns,
            loss,
            source=raw.source,
            dropped=table.dropped,
            scale=table.columns.get("scale") if settings.scale else None,
            scale_name=settings.scale or "",
            cluster=table.label,
            weight=table.columns.get("weight") if settings.weight else None,
            episodes=table.columns.get("episodes") if settings.episodes else None,
            at=at,
            at_scale=at_scale,
            goal=settings.goal,
            cost=cost,
            budgets=settings.budgets,
            level=settings.level,
            draws=settings.draws,
            seed=settings.seed,
        )
    except ValueError as error:
        raise UserError(f"{raw.source}: {error}") from None
    return replace(
        study,
        remarks=(*remarks, *columns.remarks, *table.remarks),
        findings=(*_misread(laws, columns), *table.findings),
    )


@dataclass(frozen=True)
class _Rows:
    """The rows of a table that a fit uses."""

    columns: Mapping[str, np.ndarray]
    """Numbers by the names that the laws use."""
    label: np.ndarray | None
    """Group of each row, such as its run; None if no column for it was requested."""
    dropped: int
    """Number of rows left out because a required column has no finite number."""
    remarks: tuple[str, ...]
    findings: tuple[Finding, ...]


def _rows_of(columns: Columns, laws: Sequence[Law | GeneralLaw], extra: Sequence[str], settings: FitSettings) -> _Rows:
    """Select the required columns; leave out rows that lack one of their numbers, copies, and earlier rows of a run."""
    needed = dict.fromkeys([*(name for law in laws for name in (*law.columns, law.target)), *extra])
    every = f"no row has a number in every one of {', '.join(needed)}"
    try:
        picked = {name: columns.numbers(name) for name in needed}
    except NotNumbers as error:
        raise UserError(f"{error}{f'; {every}' if error.nothing else ''}") from None
    usable = np.all([np.isfinite(values) for values in picked.values()], axis=0)
    if not usable.any():
        empty = [settings.columns.get(name, name) for name, values in picked.items() if not np.isfinite(values).any()]
        raise UserError(f"{columns.table.source}: {every}; without any: {', '.join(empty) or 'none'}")
    dropped, target = int((~usable).sum()), laws[0].target
    cells = {name: picked[name] for law in laws for name in law.columns}
    usable, remarks = rows_to_keep(columns, cells, (target, picked[target]), usable, settings.per_run)
    known = [target, *extra, *([settings.cluster] if settings.cluster else [])]
    findings = mixed_settings(columns, cells, usable, known)
    label = None
    if settings.cluster is not None:
        found = candidates(settings.cluster, columns.table.columns)
        label = np.array(columns.texts(found[0] if len(found) == 1 else settings.cluster))[usable]
    numbers = {name: values[usable] for name, values in picked.items()}
    return _Rows(numbers, label, dropped, tuple(remarks), tuple(findings))


def parse_loss(text: str) -> Loss:
    """Parse the name of a loss, with its parameter after a colon.

    Raises
    ------
    UserError
        If there is no such loss; the message lists the losses.
    """
    name, _, number = text.partition(":")
    try:
        value = float(number) if number else None
        if name == "huber":
            return HuberLog(1e-3 if value is None else value)
        if name == "envelope":
            return Absolute(over=10.0 if value is None else value, under=1.0, logarithmic=False)
        if name == "beta-binomial" and value is not None:
            return Binomial(value)
        plain: dict[str, Loss] = {
            "squares-log": HuberLog(math.inf),
            "squares": Squares(),
            "absolute-log": Absolute(),
            "absolute": Absolute(logarithmic=False),
            "binomial": Binomial(),
        }
        if name in plain and value is None:
            return plain[name]
    except ValueError as error:
        raise UserError(f"--loss {text}: {error}") from None
    raise UserError(f"--loss: expected one of {LOSSES}; got {text!r}")


def _check_numbers(settings: FitSettings) -> None:
    if not 0 < settings.level < 1:
        raise UserError(f"expected --level inside (0, 1), got {settings.level:g}")
    if settings.draws != 0 and settings.draws < 20:
        raise UserError(f"expected --draws 0, or at least 20 for an interval, got {settings.draws}")
    if settings.seed < 0:
        raise UserError(f"expected --seed ≥ 0, got {settings.seed}")
    if settings.goal is not None and not math.isfinite(settings.goal):
        raise UserError(f"expected a finite --goal, got {settings.goal:g}")


def _law(text: str, columns: Columns) -> Law | GeneralLaw:
    if "=" in text:
        return law_of(text, {*columns.table.columns, *columns.names, *_meant(text, columns)})
    family = build_law(text)
    offered = [target for target in family.formulas if columns.has(target)]
    if not offered:
        first = next(iter(family.formulas))
        hint = how_to_say(columns) if "regret" in family.formulas else ""
        raise UserError(
            f"the law {text} describes {' or '.join(family.formulas)}, and the table has neither: "
            + (hint or f"name the column with --columns {first}=COLUMN")
        )
    return family.on(offered[0])


def _misread(laws: Sequence[Law | GeneralLaw], columns: Columns) -> list[Finding]:
    """Return the words in formulas that are fitted as parameters, though they look like names of columns."""
    findings = []
    for law in laws:
        if "=" not in law.name:
            continue  # a law of conf/law names its parameters
        for name in law.names:
            meant = column_meant(name, columns.table.columns)
            if meant is not None:
                hint = f"perhaps {meant} is meant" if meant else "if it is a column, name it with --columns NAME=COLUMN"
                findings.append(Finding("name_is_parameter", name, {"law": law.name, "hint": hint, "meant": meant}))
    return findings


def _meant(text: str, columns: Columns) -> set[str]:
    """Return the names in a formula that mean a column spelled differently.

    Single letters are parameters more often than columns, so of these only n, k, N and D are looked for.
    """
    words = set(re.findall(r"[^\W\d]\w*", text))
    alone = [word for word in words if sum(word.casefold() == other.casefold() for other in words) == 1]
    return {word for word in alone if (len(word) > 1 or word in "nkND") and columns.has(word)}


def _cost(settings: FitSettings, laws: Sequence[Law | GeneralLaw]) -> Cost | None:
    """Return the cost that budgets are spent by; None if none is asked for."""
    if not settings.budgets:
        if settings.cost is not None:
            raise UserError("--cost: expected --budget too, the cost to spend, such as --budget 1e21 1e22")
        return None
    if any(not 0 < budget < math.inf for budget in settings.budgets):
        raise UserError(f"--budget: expected finite numbers above 0, got {settings.budgets}")
    if settings.draws == 0:
        raise UserError("--budget needs the bootstrap for its intervals: leave out --draws 0")
    columns = {name for law in laws for name in law.columns}
    text = settings.cost or ("6*N*D" if columns == {"N", "D"} else "")
    parts = factors(text, columns)
    names = tuple(part for part in parts if isinstance(part, str))
    if len(names) != 2 or set(names) != columns:
        raise UserError(
            f"--cost {text}: expected a product of the two columns of every law and numbers, such as 6*N*D; the laws "
            f"read {', '.join(sorted(columns))}"
        )
    return Cost(math.prod(part for part in parts if isinstance(part, float)), (names[0], names[1]))


def _points(settings: FitSettings, laws: Sequence[Law | GeneralLaw]) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Return the points to forecast as columns, and their scale if the points include it."""
    if not settings.at:
        return {}, None
    needed = list(dict.fromkeys(name for law in laws for name in law.columns))
    for point in settings.at:
        allowed = {*needed, *([settings.scale] if settings.scale else [])}
        if not set(needed) <= set(point) <= allowed or any(not 0 < value < math.inf for value in point.values()):
            shown = ", ".join(f"{name}={value:g}" for name, value in point.items())
            wrong = [name for name in point if name not in allowed]
            unknown = f"; the laws do not read {', '.join(wrong)}" if wrong else ""
            raise UserError(f"--at {shown}: expected a finite number above 0 for each of {', '.join(needed)}{unknown}")
    at = {name: np.array([point[name] for point in settings.at]) for name in needed}
    if settings.scale is None:
        return at, None
    if any(settings.scale not in point for point in settings.at):
        raise UserError(f"--at: with --scale {settings.scale} each point needs {settings.scale}=NUMBER too")
    return at, np.array([point[settings.scale] for point in settings.at])
