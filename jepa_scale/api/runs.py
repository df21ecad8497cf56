"""Runs and studies as functions: what the commands of the same names do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jepa_scale.api.tables import Runs
    from jepa_scale.records import EvaluationRecord, RunRecord


def run(*overrides: str, folder: str | Path | None = None) -> RunRecord:
    """Train one model in this process and return its record; a finished run of the folder is not trained again.

    Parameters
    ----------
    overrides
        As on the command line: ``"world=torus"``, ``"model.k=8"``, …
    folder
        Folder of the run; by default ``runs/ID``.

    Raises
    ------
    ValueError
        If a setting is wrong, before anything is written.

    Examples
    --------
    >>> import jepa_scale
    >>> record = jepa_scale.run(
    ...     "logger=none", "world=torus", "world.side=3", "model.k=2", "model.hidden=8", "data.n=200",
    ...     "data.heldout=640", "data.test=640", "data.batch_size=32", "trainer.epochs=1",
    ...     "trainer.steps_per_epoch=3", folder="one",
    ... )
    >>> record.status, 0 <= record.final["regret/density"] <= 1
    ('finished', True)
    """
    from jepa_scale.runs.config import compose
    from jepa_scale.runs.identity import run_id
    from jepa_scale.runs.run import run as train

    config = compose(overrides)
    return train(config, Path(folder) if folder is not None else Path("runs") / run_id(config))


def finetune(checkpoint: str | Path, *overrides: str, folder: str | Path | None = None) -> RunRecord:
    """Fine-tune a pretrained run for planning, as a new run, and return its record.

    Parameters
    ----------
    checkpoint
        Folder or checkpoint of the pretrained run.
    overrides
        ``"finetune=rollout"`` or another way, and its settings.
    folder
        Folder of the new run; by default ``runs/ID``.

    Raises
    ------
    ValueError
        If the checkpoint cannot be read, or a setting is wrong.

    Examples
    --------
    >>> record = jepa_scale.finetune("runs/3f2a81", "finetune=rollout")  # doctest: +SKIP
    """
    from jepa_scale.runs.checkpoint import read_checkpoint
    from jepa_scale.runs.follow import adopt, following
    from jepa_scale.runs.identity import run_id
    from jepa_scale.runs.run import preflight
    from jepa_scale.runs.run import run as train

    pretrained = read_checkpoint(Path(checkpoint))
    config = following(pretrained, list(overrides))
    place = Path(folder) if folder is not None else Path("runs") / run_id(config)
    preflight(config)
    adopt(pretrained, config, place, False)
    return train(config, place)


def evaluate(
    *checkpoints: str | Path, overrides: Sequence[str] = (), out: str | Path | None = None
) -> list[EvaluationRecord]:
    """Evaluate trained runs, all on the same tasks, and return a record for each.

    Raises
    ------
    ValueError
        If one cannot be read, or they would not be tried alike.

    Examples
    --------
    >>> records = jepa_scale.evaluate("runs/one", "runs/two", overrides=["planner=icem"])  # doctest: +SKIP
    """
    from jepa_scale.runs.evaluate import evaluate as tried

    found = tried([Path(path) for path in checkpoints], overrides, None if out is None else Path(out))
    return [one.record for one in found]


def study(
    spec: str | Path | Mapping[str, Any],
    folder: str | Path | None = None,
    workers: int | None = None,
    cohort: int | str | None = None,
) -> Runs:
    """Do the runs of a study that are missing, in worker processes, and return its runs.

    Parameters
    ----------
    spec
        A study file, or its content.
    folder
        Folder of the study; by default ``studies/NAME``. ``report.html`` and the table are written there.
    workers
        Processes; by default one for each core.
    cohort
        Most runs that a process trains together, or "auto" or "off"; by default as the study's launcher says.

    Raises
    ------
    ValueError
        If the study or a setting is wrong, before anything has run.

    Examples
    --------
    >>> runs = jepa_scale.study("sweeps/quickstart.yaml")  # doctest: +SKIP
    >>> runs.forecast(n=100_000, k=16)  # doctest: +SKIP
    """
    from rich.console import Console

    from jepa_scale.api.tables import Runs
    from jepa_scale.report.html import write_report
    from jepa_scale.studies.cohorts import cohort_size
    from jepa_scale.studies.launching.local import LocalLauncher
    from jepa_scale.studies.specification.spec import launcher_of, parse_spec, read_spec
    from jepa_scale.studies.sweep import run_study

    chosen = parse_spec(dict(spec), "study(…)") if isinstance(spec, Mapping) else read_spec(Path(spec))
    launcher, _ = launcher_of(chosen, ["launcher=local"])
    assert isinstance(launcher, LocalLauncher)
    workers = launcher.workers if workers is None else workers
    launcher = replace(launcher, workers=workers, cohort=launcher.cohort if cohort is None else cohort_size(cohort))
    place = Path(folder) if folder is not None else Path("studies") / chosen.name
    result = run_study(chosen, place, launcher, Console(quiet=True))
    write_report(result, place)
    return Runs.from_study(place)
