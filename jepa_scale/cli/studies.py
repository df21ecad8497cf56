"""How commands about a study end: its verdict, the report and the next command."""

from __future__ import annotations

import shlex
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

from jepa_scale.cli.output import Ending, Output

if typing.TYPE_CHECKING:
    from jepa_scale.cli.answers import Report, Study
    from jepa_scale.records import Advice, StudyResult

_LISTED = 20
"""Most runs without a record that are listed on request."""


def end_study(out: Output, command: str, result: StudyResult, folder: Path, page: Path) -> None:
    """Print the verdict of a study, what it rests on, warnings and what to do next."""
    from jepa_scale.report.advice import next_lines
    from jepa_scale.report.conclusions import warnings
    from jepa_scale.report.conclusions.answer import answer

    verdict, *rest = answer(result)
    following = [] if result.advice is None else next_lines(result.advice)[:1]
    ending = Ending(
        verdict,
        [*rest[:1], *following, *rest[1:]],
        cautions=[line for line in warnings(result) if line not in (verdict, *rest)],
        files={"report": page},
        **_following(result, folder),
    )
    out.end(ending, lambda: _report(command, ending, {folder: result}))
    tell_unfinished(out, {folder: result})


def publish(result: StudyResult, folder: Path, page: Path) -> None:
    """Give the verdict, the report and its figures to the study's Optuna study, for optuna-dashboard."""
    import warnings

    from jepa_scale.integrations import optuna_dashboard
    from jepa_scale.report.conclusions.answer import answer
    from jepa_scale.runs.errors import UserError

    try:
        optuna_dashboard.publish(folder, answer(result)[0], [page, *sorted(folder.glob("figures/*.png"))])
    except UserError as error:
        # The report is written, and says everything.
        warnings.warn(f"optuna-dashboard will not show this report: {error}", stacklevel=2)


def end_comparison(out: Output, command: str, results: Mapping[Path, StudyResult], page: Path) -> None:
    """Print the verdict of each of several studies; in full, all that each of them says."""
    from jepa_scale.report.conclusions import warnings
    from jepa_scale.report.conclusions.answer import answer

    verdicts = {folder: answer(result) for folder, result in results.items()}
    details = []
    for folder, lines in verdicts.items():
        every = dict.fromkeys([*lines[1:], *warnings(results[folder])])
        details.append("\n".join([f"{folder}:", *(f"• {line}" for line in every)]))
    notes = [f"{folder}: {lines[0]}" for folder, lines in verdicts.items()]
    ending = Ending(
        f"{len(results)} studies are compared.",
        notes,
        details,
        files={"report": page},
        no_next="each study has its own, which jepa-scale report FOLDER says",
    )
    out.end(ending, lambda: _report(command, ending, results))
    tell_unfinished(out, results)


def tell_unfinished(out: Output, results: Mapping[Path, StudyResult]) -> None:
    """Name runs without a record on the standard error: one of each study, or many on request."""
    if out.json or out.quiet:
        return
    for folder, result in results.items():
        most = _LISTED if out.verbose else 1
        for sentence in result.unfinished[:most]:
            print(f"jepa-scale: a run has no record: {sentence}", file=sys.stderr)
        if len(result.unfinished) > most:
            more = len(result.unfinished) - most
            print(f"jepa-scale: … and {more} more have none: jepa-scale status {folder}", file=sys.stderr)


def _following(result: StudyResult, folder: Path) -> dict[str, str]:
    """Return the next command of a study, or why there is none, as ``Ending`` takes them."""
    place = shlex.quote(str(folder))
    if result.unfinished:
        return {"next_command": f"jepa-scale study {shlex.quote(str(folder / 'study.yaml'))} --folder {place}"}
    if result.arms:
        return {"no_next": f"advice is on one setting, and each has a page of its own in {folder / 'arms'}"}
    if result.advice is None:
        return {"no_next": result.no_advice.rstrip(".") or "there is no advice on this study's target"}
    advise = f"jepa-scale advise {place}"
    if not result.advice.next_runs or untrained(result.advice):
        return {"next_command": advise}
    return {"next_command": f"{advise} && jepa-scale study sweeps/next.yaml --folder {place}"}


def untrained(advice: Advice) -> bool:
    """Whether training comes before any other n and k."""
    return any(warning.code in ("untrained", "barely_trained") for warning in advice.warnings)


def _report(command: str, ending: Ending, results: Mapping[Path, StudyResult]) -> Report:
    from jepa_scale.cli.answers import Report

    return Report(
        command="study" if command == "study" else "report",
        **ending.fields(),
        studies=[_study(folder, result) for folder, result in results.items()],
    )


def _study(folder: Path, result: StudyResult) -> Study:
    from jepa_scale.cli import answers
    from jepa_scale.report.conclusions.answer import answer
    from jepa_scale.report.summary import cells

    column = result.target.column
    table = result.table
    return answers.Study(
        name=result.name,
        folder=str(folder),
        verdict=answer(result)[0],
        target=column,
        target_regret=result.target_regret,
        done=len(result.records),
        diverged=sum(record.status == "diverged" for record in result.records.values()),
        unfinished=list(result.unfinished),
        cells=[
            answers.Cell(n=cell.n, k=cell.k, mean=cell.mean, standard_error=cell.standard_error, seeds=cell.seeds)
            for cell in (cells(table, column).values() if column in table.columns and not result.arms else ())
        ],
        advice=None if result.advice is None else advice_data(result.advice),
    )


def advice_data(advice: typing.Any) -> dict[str, typing.Any]:
    """Return advice as JSON can hold it, without the surface that figures are drawn from."""
    from jepa_scale.cli.answers import plain

    content: dict[str, typing.Any] = plain(advice)
    del content["surface"]
    return content


def end_collection(out: Output, result: StudyResult, folder: Path, into: Path) -> int:
    """Print which runs of a study are missing; return the exit code, 1 where some are."""
    from jepa_scale.cli.answers import Collect

    table, missing = into / "table.parquet", list(result.unfinished)
    diverged = sum(record.status == "diverged" for record in result.records.values())
    report = f"jepa-scale report {shlex.quote(str(folder))}"
    apart = f", {diverged} of them diverged" if diverged else ""
    ending = Ending(
        f"{len(result.records)} runs in {table}{apart}, {len(missing)} missing",
        [f"missing: {sentence}" for sentence in missing],
        cautions=[f"mixed code: {phrase}" for phrase in result.mixed],
        files={"table": table},
        **(_following(result, folder) if missing else {"next_command": report}),
    )
    out.end(
        ending,
        lambda: Collect(
            **ending.fields(),
            rows=len(result.records),
            diverged=diverged,
            missing=missing,
        ),
    )
    return gaps([result])


def gaps(results: Sequence[StudyResult]) -> int:
    """Return the exit code of a study: 1 where runs have no record."""
    return 1 if any(result.unfinished for result in results) else 0
