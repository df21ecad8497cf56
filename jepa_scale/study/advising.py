"""Advice from a study folder, and the study file of the runs worth buying next."""

from __future__ import annotations

from pathlib import Path

from jepa_scale.laws.advice import advise
from jepa_scale.records import Advice, Ask, RunTable
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import atomic_write
from jepa_scale.runs.instantiate import build_law
from jepa_scale.study.collect import read_records, run_table
from jepa_scale.study.design import design
from jepa_scale.study.spec import StudySpec, read_spec


def study_table_of(study: Path) -> tuple[StudySpec, RunTable]:
    """Return a study's file and its runs.

    Raises
    ------
    UserError
        If the folder is no study's, or holds no finished run.
    """
    written = study / "study.yaml"
    if not written.is_file():
        raise UserError(f"{study} is not a study folder (no study.yaml): give the folder that `study` wrote")
    spec = read_spec(written)
    if spec.arms:
        raise UserError(
            f"{study} compares settings ({', '.join(spec.arms)}), and advice is on one of them: see the pages in "
            f"{study / 'arms'}, which hold each one's, or run that setting as a study of its own"
        )
    records = read_records([point for point in design(spec, study) if point.purpose == "cell"], study)
    if not records:
        raise UserError(f"{study} has no finished run yet: run `jepa-scale study {written}` first")
    return spec, run_table(list(records.values()))


def advise_study(study: Path, ask: Ask, laws: tuple[str, ...] = ()) -> tuple[StudySpec, Advice]:
    """Answer a question from the runs of a study, with the laws of its file or others.

    Raises
    ------
    UserError
        If nothing can be said; the message says what to run.
    """
    spec, table = study_table_of(study)
    families = [build_law(name) for name in laws or spec.laws]
    try:
        return spec, advise(families, table, ask, draws=spec.bootstrap_draws)
    except ValueError as error:
        raise UserError(f"{study}: {error}") from None


def write_next(spec: StudySpec, advice: Advice, path: Path) -> None:
    """Write the study with the next runs added; running it in the same folder does only those.

    A cell that was run gets its next seed, a new cell the first.

    Raises
    ------
    UserError
        If there is a file that is not such a study's.
    """
    import yaml

    if path.exists() and read_spec(path).name != spec.name:
        raise UserError(f"{path} holds another study: give another --next")
    taken = {(one["data.n"], one["model.k"], one["seed"]) for one in spec.extra}
    taken |= {(n, k, seed) for n in spec.dials["data.n"] for k in spec.dials["model.k"] for seed in spec.seeds}
    content = {**spec.to_dict(), "extra": [*(dict(one) for one in spec.extra), *advice.runs(taken)]}
    said = "".join(f"# {line}\n" for line in _why(advice))
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, said + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _why(advice: Advice) -> list[str]:
    asked = advice.ask
    lines = [f"The runs that most narrow the regret forecast at n = {asked.n}, k = {asked.k}, each given those before:"]
    for run in advice.next_runs:
        hours = "" if run.hours is None else f", about {run.hours:.3g} h"
        lines.append(f"n = {run.n}, k = {run.k}{hours}: interval at {run.shrinkage:.0%} of now ({run.why})")
    return lines
