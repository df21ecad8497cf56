"""The ``advise`` command: whether a dataset size and a width suffice, and which runs to do next."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Sequence
from pathlib import Path

from jepa_scale.cli.common import add_decision, add_output, add_where, check_decision, whole_number, write_decision

GROUP = "answer"

if typing.TYPE_CHECKING:
    from jepa_scale.cli.answers import Advise
    from jepa_scale.studies.advising import Answer


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "advise",
        help="tell whether (n, k) is sufficient, and recommend the next run",
        description="Tell whether n and k suffice: sufficient, insufficient, undecided or cannot say. The answer is "
        "based on the runs of a study, or of a table with columns n, k, regret and, optionally, seed, status, run and "
        "step; copies and runs that did not finish are left out and counted.",
    )
    parser.add_argument(
        "study",
        type=Path,
        nargs="+",
        metavar="SOURCE",
        help="study folder; or tables of runs (.csv, .tsv, .parquet, .jsonl, .json, each also .gz), a folder of them, "
        "- for stdin",
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME=COLUMN",
        help="columns of a table, or expressions: n=samples, k=dim, regret=1-0.01*success_rate, status=State …",
    )
    add_where(parser)
    parser.add_argument(
        "--per-run",
        choices=["last", "best", "all"],
        default="last",
        help="row of a table's run with several: the last step (default), the lowest regret, or all",
    )
    parser.add_argument(
        "--target-regret",
        type=float,
        metavar="R",
        help="regret to reach (default: the study's; for a table, a new study's)",
    )
    parser.add_argument(
        "--n", type=whole_number, help="number of training transitions to judge (default: the largest in the runs)"
    )
    parser.add_argument(
        "--k", type=whole_number, help="latent width to judge (default: that of the lowest mean measured at n)"
    )
    parser.add_argument("--budget", type=float, metavar="HOURS", help="maximum hours of one run")
    parser.add_argument(
        "--spend",
        type=float,
        nargs="+",
        default=[],
        metavar="COST",
        help="also tell which n and k are best at these costs, by --cost",
    )
    parser.add_argument("--cost", metavar="PRODUCT", help="cost of a run in n and k for --spend, such as 6e3*n*k")
    parser.add_argument("--level", type=float, default=0.9, help="probability required for an answer (default: 0.9)")
    parser.add_argument(
        "--forecaster",
        default="stack",
        metavar="NAME",
        help="what forecasts: stack (default), no_change, power_law, trend, … (conf/forecaster)",
    )
    parser.add_argument(
        "--next",
        type=Path,
        metavar="FILE",
        help="study file to write with the next runs of a study (default: sweeps/next.yaml)",
    )
    add_decision(parser)
    add_output(parser)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Print the answer; for the runs of a study, also write the study file of the next runs."""
    from jepa_scale.records import Ask
    from jepa_scale.report.page.files import check_writable
    from jepa_scale.runs import limits
    from jepa_scale.runs.errors import UserError
    from jepa_scale.studies.advising import advise_study, advise_table, check_next, cost_of
    from jepa_scale.studies.external import pairs
    from jepa_scale.studies.specification.spec import StudySpec, spec_of
    from jepa_scale.studies.tables.reading import is_table_source

    is_table = is_table_source(parsed.study)
    study = parsed.study[0]
    defaults = StudySpec if is_table else spec_of(study)
    target = defaults.target_regret if parsed.target_regret is None else parsed.target_regret
    for name in ("n", "k", "budget"):
        value = getattr(parsed, name)
        if value is not None and not 0 < value < float("inf"):
            raise UserError(f"--{name}: expected a number above 0, got {value}")
    limits.check_option("--n", parsed.n, 1, limits.SIZES["data.n"])
    limits.check_option("--k", parsed.k, 1, limits.SIZES["model.k"])
    if parsed.columns and not is_table:
        raise UserError(f"--columns is for a table, and {study} is a study: leave it out")
    if parsed.where and not is_table:
        raise UserError(f"--where is for a table, and {study} is a study: leave it out")
    ask = Ask(target, parsed.level, parsed.n, parsed.k, parsed.budget)
    cost_of(parsed.cost, parsed.spend)
    check_decision(parsed.decision)
    if parsed.next is not None and is_table:
        raise UserError("--next writes the study file of a study's next runs, and a table has none: leave it out")
    if parsed.next is not None and isinstance(defaults, StudySpec):
        check_next(defaults, parsed.next)
        check_writable(parsed.next.parent)
    if is_table:
        names = pairs("--columns", parsed.columns, "n=samples")
        answer = advise_table(parsed.study, ask, parsed.forecaster, names, parsed.per_run, parsed.where)
    else:
        answer = advise_study(study, ask, parsed.forecaster)
    remarks = list(answer.remarks)
    if is_table and parsed.target_regret is None:
        remarks.insert(0, f"target regret {target:g}, as in a new study: --target-regret sets another")
    _end(parsed, answer, remarks)
    return 0


def _end(parsed: argparse.Namespace, answer: Answer, remarks: Sequence[str]) -> None:
    import shlex
    from dataclasses import asdict, replace

    from jepa_scale.cli.output import Ending, Output
    from jepa_scale.cli.studies import untrained
    from jepa_scale.report.advice import advice_lines, spending_lines
    from jepa_scale.studies.advising import cost_of, write_next

    spec, advice = answer.spec, answer.advice
    files, following = {}, ""
    if spec is not None and advice.next_runs and not untrained(advice):
        path = parsed.next or Path("sweeps/next.yaml")
        write_next(spec, advice, path)
        files["next runs"] = path
        following = f"jepa-scale study {shlex.quote(str(path))} --folder {shlex.quote(str(parsed.study[0]))}"
    if parsed.decision is not None:
        _write_decision(parsed, answer)
        files["decision"] = parsed.decision
    verdict, *lines = advice_lines(replace(advice, warnings=()))
    cost = cost_of(parsed.cost, parsed.spend)
    spent = () if cost is None else answer.spending(cost, parsed.spend, parsed.forecaster)
    if cost is not None:
        lines = [*spending_lines(spent, parsed.spend, cost.text, advice.ask), *lines]
    # What was left out of a table counts against the answer too.
    cautions = [*(f"Caution: {warning}." for warning in (*answer.findings, *advice.warnings)), *remarks]
    ending = Ending(verdict, lines, (), cautions, files, following, "" if following else _why_no_next(answer))

    def shape() -> Advise:
        from jepa_scale.cli.answers import Advise, told
        from jepa_scale.cli.studies import advice_data

        return Advise(
            **ending.fields(),
            findings=told([*answer.findings, *advice.warnings]),
            status=advice.verdict.status,
            advice=advice_data(advice),
            spending=[None if one is None else asdict(one) for one in spent],
        )

    Output(parsed).end(ending, shape)


def _why_no_next(answer: Answer) -> str:
    from jepa_scale.cli.studies import untrained

    advice = answer.advice
    if untrained(advice):
        return "training comes before n and k: change objective, rate or steps, and run anew"
    if advice.next_runs:
        return "runs of a table are not made here: do the next run that is named, add its row, and ask again"
    if advice.verdict.status == "sufficient":
        return "the answer stands on runs at this n and k"
    return "no run that forecasts were checked for would narrow the answer"


def _write_decision(parsed: argparse.Namespace, answer: Answer) -> None:
    import shlex

    import numpy as np

    from jepa_scale.report.decision import Evidence, decision_record

    ask, table = answer.advice.ask, answer.table
    usable = (table["status"] == "finished") & np.isfinite(table["regret"].astype(float))
    seconds = table["wall_seconds"].astype(float) if "wall_seconds" in table.columns else np.full(len(table), np.nan)
    hours = float(np.nansum(seconds[usable])) / 3600 if np.isfinite(seconds[usable]).any() else None
    command = ["jepa-scale", "advise", *map(str, parsed.study), "--n", str(ask.n), "--k", str(ask.k)]
    command += ["--target-regret", f"{ask.target_regret:g}", "--level", f"{ask.level:g}"]
    command += ["--forecaster", parsed.forecaster, *(["--columns", *parsed.columns] if parsed.columns else [])]
    command += ["--where", *parsed.where] if parsed.where else []
    command += [] if parsed.per_run == "last" else ["--per-run", parsed.per_run]
    command += [] if parsed.budget is None else ["--budget", f"{parsed.budget:g}"]
    n, k = table["n"][usable], table["k"][usable]
    evidence = Evidence(
        source=", ".join(map(str, parsed.study)),
        digest=answer.digest(),
        runs=int(usable.sum()),
        cells=len({*zip(n.tolist(), k.tolist(), strict=True)}),
        sizes=tuple(np.unique(n).astype(int).tolist()),
        widths=tuple(np.unique(k).astype(int).tolist()),
        judged=answer.judged(parsed.forecaster),
        bounds=answer.bounds,
        hours=hours,
        command=shlex.join(command),
        findings=answer.findings,
    )
    write_decision(parsed.decision, decision_record(answer.advice, evidence))
