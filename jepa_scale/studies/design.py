"""Design points of a study, one for each run: its purpose, sizes and resolved configuration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jepa_scale.records import ArmValues
from jepa_scale.records.dials import K_KEY, N_KEY, Value
from jepa_scale.runs.config import compose_linked, with_sizes, with_values
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.identity import run_id
from jepa_scale.studies.specification.arms import combinations, label, overrides
from jepa_scale.studies.specification.budget import choose, steps_by_n, trainer_values, validation_score
from jepa_scale.studies.specification.spec import StudySpec
from jepa_scale.studies.specification.tuning import setting

Purpose = Literal["cell", "tuning", "budget"]
"""Purpose of a run: a cell of the table and the laws, the check of the learning rate, or the choice of a budget."""

if TYPE_CHECKING:
    from jepa_scale.studies.sampler import ScalingDesignSampler


@dataclass(frozen=True)
class DesignPoint:
    """One run of a study."""

    n: int
    k: int
    seed: int
    config: Mapping[str, Any]
    run_id: str
    purpose: Purpose = "cell"
    label: str = ""
    """Distinguishes runs that are not cells, such as those of the tuning check; empty for cells."""
    arm: str = ""
    """Arm of the study that the run belongs to; empty if the study has none."""
    dials: Mapping[str, Value] = field(default_factory=dict)
    """Values of the dials other than n and k, by name."""
    resources: str = "cpu1"
    """Class of resources of the run: ``cpuN`` or ``gpuN``, N processes on cores or devices of one node."""

    @property
    def ranks(self) -> int:
        """Number of processes of the run."""
        return devices_of(self.resources)[1]

    def group(self, study: str) -> str:
        """The run's group in W&B: the study's name for cells, a separate group for each other purpose."""
        return study if self.purpose == "cell" else f"{study}-{self.purpose}"

    @property
    def tags(self) -> tuple[str, ...]:
        """The run's dials other than n and k, as tags in W&B."""
        return tuple(f"{name}={value}" for name, value in self.dials.items())

    def folder(self, study: Path) -> RunFolder:
        """The run's folder inside the study."""
        return RunFolder(study / "runs" / self.run_id, self.run_id)

    def __str__(self) -> str:
        more = "".join(f"{name}={value}, " for name, value in self.dials.items())
        cell = f"{self.arm + ', ' if self.arm else ''}n={self.n}, k={self.k}, {more}seed={self.seed}"
        return cell if self.purpose == "cell" else f"{self.purpose}: {cell}, {self.label}"


def base_config(spec: StudySpec, arm: ArmValues | None = None) -> dict[str, Any]:
    """The configuration that all runs of an arm share, before n, k, seed and budget; the first arm's unless given.

    Raises
    ------
    UserError
        If the configuration is wrong, before anything has run.
    """
    values = combinations(spec.arms)[0] if arm is None else arm
    shown = f"study {spec.name}, {label(values)}: " if values else ""
    try:
        base = compose_linked([*spec.overrides, *overrides(values)])
    except UserError as error:
        raise UserError(f"{_place_of(spec, values, str(error))}{shown}{error}") from None
    return _checked_base(spec, base, shown)


def _place_of(spec: StudySpec, values: ArmValues, message: str) -> str:
    """Return file and line of the setting without which the configuration has not this error; empty if unknown."""
    texts = [*spec.overrides, *overrides(values)]
    for index in range(len(texts)):
        try:
            compose_linked([*texts[:index], *texts[index + 1 :]])
        except UserError as error:
            if str(error) == message:
                continue
        if index < len(spec.overrides):
            return spec.origin.of_override(index)
        return spec.origin.at("arms", list(values)[index - len(spec.overrides)])
    return ""


def _checked_base(spec: StudySpec, base: dict[str, Any], shown: str) -> dict[str, Any]:
    if "planning" not in base["callbacks"]:
        raise UserError(f"study {spec.name}: a study is about regret and needs callbacks.planning; drop callbacks=…")
    rule = spec.budget.rule
    if rule != "fixed_steps" and any(text.startswith("trainer.steps_per_epoch=") for text in spec.overrides):
        raise UserError(
            f"study {spec.name}: the budget rule {rule} sets trainer.steps_per_epoch by n; drop the override, or use "
            "budget: {rule: fixed_steps}"
        )
    # Imported here: it is what brings torch, which a mistake in the file should not wait for.
    from jepa_scale.runs.run import preflight

    try:
        preflight(base, elsewhere=True)
    except UserError as error:
        raise UserError(f"{shown}{error}") from None
    for key, value in ((dial.key, value) for dial in spec.others for value in dial.values):
        try:
            preflight(with_values(base, {key: value}), elsewhere=True)
        except UserError as error:
            start = spec.origin.at("dials", key) + (shown or f"study {spec.name}: ")
            raise UserError(f"{start}dials.{key}: {error}") from None
    return base


def design(spec: StudySpec, study: Path | None = None) -> list[DesignPoint]:
    """Resolve every run of the table, then those of the tuning check.

    A tuned budget is read from the runs in ``study`` that decide it (``pilots``), which must be finished.

    Raises
    ------
    UserError
        If any run's configuration is wrong, before anything has run, or the budget is not decided yet.
    """
    cells: list[DesignPoint] = []
    for arm in combinations(spec.arms):
        base = base_config(spec, arm)
        steps = resolved_steps(spec, base, study)
        cells += [replace(point, arm=label(arm)) for point in _cells(spec, base, steps)]
    if len({point.run_id for point in cells}) < len(cells):
        raise UserError(f"study {spec.name}: expected arms that differ in what they run, got two alike")
    # A replicate of every arm before the next seed; the order within is kept.
    cells.sort(key=lambda point: spec.seeds.index(point.seed) if spec.arms else 0)
    # A study with a tuning check has a single arm, whose base is the last one.
    return [*cells, *_tuning(spec, base, steps)]


def pilots(spec: StudySpec) -> list[DesignPoint]:
    """The runs that decide a tuned budget; none for the other rules.

    Raises
    ------
    UserError
        As ``design``.
    """
    return [point for point, _ in _pilots(spec)]


def _pilots(spec: StudySpec) -> list[tuple[DesignPoint, int]]:
    """The runs that decide a tuned budget, each with the number of steps that it tries."""
    if spec.budget.rule != "tuned":
        return []
    base, rule = base_config(spec), spec.budget
    return [
        (_point(spec, base, n, k, seed, steps, {}, "budget", f"steps={steps}"), steps)
        for seed, k, n, steps in itertools.product(
            rule.seeds, sorted(rule.widths, reverse=True), spec.sizes, rule.steps
        )
    ]


def resolved_steps(spec: StudySpec, base: Mapping[str, Any], study: Path | None) -> dict[int, int]:
    """Return the optimiser steps of every n.

    Raises
    ------
    UserError
        If a tuned budget lacks its runs.
    """
    sizes = spec.sizes or (int(base["data"]["n"]),)
    beside = sorted({int(run.get(N_KEY, sizes[0])) for run in spec.extra} - set(sizes))
    if spec.budget.rule != "tuned":
        return steps_by_n(spec.budget, (*sizes, *beside), base)
    scores: dict[tuple[int, int], list[float]] = {}
    for point, tried in _pilots(spec):
        record = point.folder(study).read_record() if study is not None else None
        if record is None:
            raise UserError(
                f"study {spec.name}: the budget is tuned by runs of its own and {point} has no record: run `jepa-scale "
                "study`; if that one failed, its traceback is in errors/"
            )
        scores.setdefault((point.n, tried), []).append(validation_score(record))
    tuned = steps_by_n(spec.budget, sizes, base, choose(spec.budget, sizes, scores))
    # A size that no run has tuned takes the steps of the nearest one that was.
    return tuned | {n: tuned[min(sizes, key=lambda size: abs(math.log(size / n)))] for n in beside}


def _cells(spec: StudySpec, base: Mapping[str, Any], steps: Mapping[int, int]) -> Iterable[DesignPoint]:
    """Cells in the order in which they run: the whole grid for one seed after another, then the single extra runs.

    For each seed wide models come first, so that the last runs of a study are short and no core waits.
    """
    sizes, widths = spec.sizes or (int(base["data"]["n"]),), spec.widths or (int(base["model"]["k"]),)
    wide_first = sorted(widths, reverse=True)
    others = list(itertools.product(*(dial.values for dial in spec.others)))
    grid = itertools.product(spec.seeds, wide_first, others, sizes)
    extra = (
        (
            int(run["seed"]),
            int(run.get(K_KEY, widths[0])),
            tuple(run[dial.key] for dial in spec.others),
            int(run.get(N_KEY, sizes[0])),
        )
        for run in spec.extra
    )
    for seed, k, chosen, n in dict.fromkeys([*grid, *extra]):
        values = {dial.key: value for dial, value in zip(spec.others, chosen, strict=True)}
        point = _point(spec, base, n, k, seed, steps[n], values)
        yield replace(point, dials={dial.name: values[dial.key] for dial in spec.others})


def _tuning(spec: StudySpec, base: Mapping[str, Any], steps: Mapping[int, int]) -> Iterable[DesignPoint]:
    check = spec.tuning
    if check is None:
        return
    try:
        with_values(base, {check.key: check.rates[0]})
        shared = setting(base, check.key)
    except (UserError, KeyError) as error:
        place = spec.origin.at("tuning", check.key)
        raise UserError(f"{place}study {spec.name}, tuning.{check.key}: {error}") from None
    if shared not in check.rates:
        raise UserError(
            f"study {spec.name}: expected the study's own {check.key}={shared} among the values of tuning.{check.key}, "
            f"got {list(check.rates)}: what it loses is measured against it; add it"
        )
    for seed, k, rate in itertools.product(check.seeds, sorted(check.widths, reverse=True), check.rates):
        yield _point(spec, base, check.n, k, seed, steps[check.n], {check.key: rate}, "tuning", f"{check.key}={rate:g}")


def _point(
    spec: StudySpec,
    base: Mapping[str, Any],
    n: int,
    k: int,
    seed: int,
    steps: int,
    values: Mapping[str, Any],
    purpose: Purpose = "cell",
    label: str = "",
) -> DesignPoint:
    trainer = trainer_values(steps, base["trainer"]["epochs"])
    try:
        config = with_sizes(base, {"data.n": n, "model.k": k, "seed": seed, **trainer, **values})
    except UserError as error:
        raise UserError(f"{spec.origin.at('dials')}study {spec.name}, n={n}, k={k}, seed={seed}: {error}") from None
    return DesignPoint(n, k, seed, config, run_id(config), purpose, label, resources=resources_of(config))


def resources_of(config: Mapping[str, Any]) -> str:
    """Class of resources that a configuration needs."""
    trainer = config["trainer"]
    return f"{'cpu' if trainer['accelerator'] == 'cpu' else 'gpu'}{trainer['devices']}"


def devices_of(resources: str) -> tuple[str, int]:
    """Kind, ``cpu`` or ``gpu``, and number of the devices of a class of resources."""
    return resources[:3], int(resources[3:])


def design_sampler(spec: StudySpec) -> ScalingDesignSampler | None:
    """Return the sampler of a study that chooses its cells; None for a grid."""
    if spec.design is None:
        return None
    # Imported here: only such a study needs it.
    from jepa_scale.laws.adaptive import DesignSettings
    from jepa_scale.studies.sampler import RunBudget, ScalingDesignSampler

    settings = DesignSettings(
        widths=spec.widths,
        sizes=spec.sizes,
        target_k=spec.design["model.k"],
        target_n=spec.design["data.n"],
        cap=len(spec.seeds),
        tolerance=float(spec.design.get("tolerance", 0.0)),
    )
    return ScalingDesignSampler(settings, RunBudget(spec.design.get("runs"), spec.design.get("hours")))
