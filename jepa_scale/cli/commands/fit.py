"""The ``fit`` command: fit laws to any table of runs, and forecast."""

from __future__ import annotations

import argparse
import math
import typing
from pathlib import Path

from jepa_scale.cli.common import add_output, add_where, without

if typing.TYPE_CHECKING:
    from jepa_scale.cli.answers import Fit
    from jepa_scale.cli.output import Output
    from jepa_scale.laws.table import TableStudy

GROUP = "answer"

_FIT = """\
--law takes names (chinchilla, generic, nested, nested_fixed, …: conf/law) or formulas; several are compared:
  TARGET = E + A N^-alpha + B D^-beta            a constant and powers of any columns
  TARGET = c + (A k^-g + B k^p n^-q)^0.5         a power of the sum, a number or a name
  TARGET = saturating(A k^-g + B n^-q, 1)        levels off at a number or column
  An exponent is a name (fitted) or a number; the first name of a term is its coefficient, the others are columns.

examples:
  jepa-scale fit runs.csv --columns N=params D=tokens loss=final_loss --at N=1e9 D=2e10
  jepa-scale fit runs.csv --budget 1e21 1e22           which N and D for a budget of 6*N*D FLOP?
  jepa-scale fit wandb.csv --law 'loss = E + A width^-a + B depth^-b + C tokens^-c' --cluster run_name
  jepa-scale fit part1.csv part2.csv --columns 'D=C/(6*N)' status=State --per-run best
  jepa-scale fit sweep.parquet --law generic nested --columns regret=failure_rate --loss binomial --episodes episodes
"""
_MOST_DRAWS = 1_000_000
"""Most bootstrap refits: their parameters are kept in memory until the quantiles are computed."""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "fit",
        help="fit laws, with intervals, back-tests and forecasts, to any table of runs",
        description="Fit scaling laws to tables of runs, of which the last row of each is used.\n"
        "Copies and runs that did not finish are left out and counted.",
        epilog=_FIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "table",
        type=Path,
        nargs="+",
        metavar="TABLE",
        help="tables of runs (.csv, .tsv, .parquet, .jsonl, .json, each also .gz), a folder of them, - for stdin",
    )
    parser.add_argument(
        "--law", nargs="+", default=["chinchilla"], metavar="LAW", help="names or formulas (default: chinchilla)"
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME=COLUMN",
        help="columns or expressions: N=params, D=C/(6*N), status=State …",
    )
    add_where(parser)
    parser.add_argument(
        "--per-run",
        choices=["last", "best", "all"],
        default="last",
        help="row of a run with several: the last step (default), the lowest target, or all",
    )
    parser.add_argument(
        "--loss",
        default="huber",
        help="loss: huber[:δ] (default), squares-log, squares, absolute-log, absolute, envelope[:w], binomial, "
        "beta-binomial:ρ",
    )
    parser.add_argument("--cluster", metavar="COLUMN", help="column that groups rows (default: equal configurations)")
    parser.add_argument("--weight", metavar="COLUMN", help="column of row weights")
    parser.add_argument("--episodes", metavar="COLUMN", help="column of trials behind each rate, for binomial losses")
    parser.add_argument(
        "--scale", metavar="COLUMN", help="column of run size, for back-tests (default: product of columns)"
    )
    parser.add_argument(
        "--at",
        nargs="+",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="point to forecast; repeat for more points",
    )
    parser.add_argument("--goal", type=float, metavar="VALUE", help="report P(target ≤ VALUE) at each point")
    parser.add_argument(
        "--budget", type=float, nargs="+", default=[], metavar="COST", help="budgets to split best, such as 1e21 1e22"
    )
    parser.add_argument(
        "--cost", metavar="PRODUCT", help="cost of a run, of two columns of the law (default for N and D: 6*N*D)"
    )
    parser.add_argument("--level", type=float, default=0.9, help="confidence level of intervals (default: 0.9)")
    parser.add_argument("--draws", type=int, default=1000, help="number of bootstrap refits (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: 0)")
    parser.add_argument("--folder", type=Path, help="folder for report and JSON (default: fits/NAME)")
    add_output(parser)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Fit the laws, print the results and write the report page."""
    from jepa_scale.cli.output import Output
    from jepa_scale.report.fitted import write_fit
    from jepa_scale.report.page.files import check_writable
    from jepa_scale.runs import limits
    from jepa_scale.runs.errors import UserError
    from jepa_scale.studies.external import pairs
    from jepa_scale.studies.fitting import FitSettings, fit_file
    from jepa_scale.studies.tables.reading import name_of

    limits.check_option("--draws", parsed.draws, 0, _MOST_DRAWS)
    limits.check_option("--seed", parsed.seed, 0, limits.LARGEST)
    folder = parsed.folder or Path("fits") / name_of(parsed.table)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give another --folder, the report and its figures go there")
    try:
        # Now, not after the refits.
        check_writable(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: expected a place to write the report, got {error.strerror}: give --folder"
        ) from None
    settings = FitSettings(
        laws=tuple(parsed.law),
        columns=pairs("--columns", parsed.columns, "N=params"),
        loss=parsed.loss,
        scale=parsed.scale,
        cluster=parsed.cluster,
        weight=parsed.weight,
        episodes=parsed.episodes,
        at=tuple(_numbers(point) for point in parsed.at),
        goal=parsed.goal,
        cost=parsed.cost,
        budgets=tuple(parsed.budget),
        level=parsed.level,
        draws=parsed.draws,
        seed=parsed.seed,
        per_run=parsed.per_run,
        where=tuple(parsed.where),
    )
    out = Output(parsed)
    with out.steps() as step:
        step("fit the laws, and back-test them")
        study = fit_file(parsed.table, settings)
        step("draw the figures and write the page")
        page = write_fit(study, folder)
    _end(out, parsed, study, page)
    return 0 if all(law.fit.status == "converged" for law in study.laws) else 1


def _end(out: Output, parsed: argparse.Namespace, study: TableStudy, page: Path) -> None:
    from jepa_scale.cli.output import Ending
    from jepa_scale.report.fitted import budget_lines, cautions, forecast_lines, head, parameters_table, sentences

    warned = [f"{law.fit.law}: {warning}" for law in study.laws for warning in law.fit.warnings]
    asked = [*forecast_lines(study), *budget_lines(study)]
    ending = Ending(
        _verdict(study),
        [*asked, head(study), *(line for line in sentences(study) if line not in warned)],
        [parameters_table(study)],
        [*cautions(study), *warned],
        {"report": page},
        **_following(parsed, study),
    )

    def answer() -> Fit:
        import json

        from jepa_scale.cli import answers

        return answers.Fit(
            **ending.fields() | {"files": {"report": str(page), "fit": str(page.with_name("fit.json"))}},
            findings=answers.told([*study.findings, *(one for law in study.laws for one in law.fit.warnings)]),
            fit=answers.plain(json.loads(page.with_name("fit.json").read_text(encoding="utf-8"))),
        )

    out.end(ending, answer)


def _verdict(study: TableStudy) -> str:
    """Return the fitted law, of several the one with most evidence, with its numbers."""
    from jepa_scale.report.wording import interval, listed, number, percent

    usable = [law.fit for law in study.laws if law.fit.status == "converged"]
    if not usable:
        return f"No law converged: {listed([f'{law.fit.law} ({law.fit.reason})' for law in study.laws])}."
    best = max(usable, key=lambda fit: study.akaike.get(fit.law, 0.0))
    values = ", ".join(
        f"{one.name} = {number(one.value, 4)}"
        + (f" {interval(one.low, one.high)}" if math.isfinite(one.low) and not one.fixed else "")
        for one in best.parameters
    )
    weight = study.akaike.get(best.law)
    among = f" It has {percent(weight)} of the AICc weights." if weight is not None and len(study.laws) > 1 else ""
    return f"{best.formula}: {values} ({percent(best.level)} intervals).{among}"


def _following(parsed: argparse.Namespace, study: TableStudy) -> dict[str, str]:
    """Return the command that forecasts beyond the runs, or why there is none, as ``Ending`` takes them."""
    import shlex

    from jepa_scale.laws.table import point_within_reach
    from jepa_scale.records.quantities import BY_NAME

    columns = {name for law in study.laws for name in law.law.columns}
    measured = sorted(columns & set(BY_NAME))
    answered = [law for law in study.laws if law.forecast is not None and not law.forecast.refused.all()]
    if not any(law.fit.status == "converged" for law in study.laws):
        return {"no_next": "no law was fitted; what is missing is said above"}
    if answered or any(law.allocation is not None for law in study.laws):
        return {"no_next": "what was asked for is answered"}
    if measured:
        return {"no_next": f"nobody knows {', '.join(measured)} before a run, so that there is no point to forecast"}
    if any(str(table) == "-" for table in parsed.table):
        return {"no_next": "the table came from the standard input; --at forecasts from a file"}
    if parsed.draws == 0:
        return {"no_next": "forecasts need the bootstrap: leave out --draws 0"}
    point = point_within_reach(study)
    if point is None:
        return {"no_next": "no forecast beyond the runs was checked: larger and smaller runs of the table are too few"}
    words = without(parsed.given, {"--at": None, "--goal": 1, "--budget": None, "--cost": 1, "--folder": 1})
    at = [f"{name}={value:.4g}" for name, value in point.items()]
    goal = [] if parsed.goal is None else ["--goal", f"{parsed.goal:g}"]
    return {"next_command": shlex.join(["jepa-scale", *words, *goal, "--at", *at])}


def _numbers(texts: list[str]) -> dict[str, float]:
    from jepa_scale.runs.errors import UserError
    from jepa_scale.studies.external import pairs
    from jepa_scale.studies.tables.numbers import parse_cells

    numbers = {}
    for name, value in pairs("--at", texts, "N=1e9").items():
        numbers[name] = float(parse_cells([value]).values[0])
        if math.isnan(numbers[name]):
            raise UserError(f"--at: expected NAME=NUMBER, such as N=1e9 or N=1B, got {name}={value}")
    return numbers
