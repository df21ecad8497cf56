"""The commands on laws: `fit` and `advise`."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

# Nothing heavy is imported up here: --help must not wait for numpy.

_FIT = """\
--law takes a name (chinchilla, generic, nested, nested_fixed, …: conf/law) or a formula, several to compare them:
  TARGET = E + A N^-alpha + B D^-beta            a constant and powers of any columns
  TARGET = c + (A k^-g + B k^p n^-q)^0.5         a power of the sum, a number or a name
  TARGET = saturating(A k^-g + B n^-q, 1)        levels off at a number or column
  An exponent is a name (fitted) or a number; the first name of a term is its coefficient, the others are columns.

examples:
  jepa-scale fit runs.csv --columns N=params D=tokens loss=final_loss --at N=1e9 D=2e10
  jepa-scale fit wandb.csv --law 'loss = E + A width^-a + B depth^-b + C tokens^-c' --cluster run_name
  jepa-scale fit sweep.parquet --law generic nested --columns regret=failure_rate --loss binomial --episodes episodes
"""


def add_parsers(commands: typing.Any) -> None:
    """Add both commands."""
    fit = commands.add_parser(
        "fit",
        help="laws with intervals, back-tests and forecasts from anybody's table of runs",
        description="Fit scaling laws to a CSV, parquet or JSON-lines table, one row for each run.",
        epilog=_FIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fit.add_argument("table", type=Path, metavar="TABLE")
    fit.add_argument("--law", nargs="+", default=["chinchilla"], metavar="LAW", help="default: chinchilla")
    fit.add_argument("--columns", nargs="+", default=[], metavar="NAME=COLUMN", help="N=params, C=6*params*tokens …")
    fit.add_argument(
        "--loss",
        default="huber",
        help="huber[:δ], squares-log, squares, absolute-log, absolute, envelope[:w], binomial, beta-binomial:ρ",
    )
    fit.add_argument("--cluster", metavar="COLUMN", help="rows that belong together (default: equal configurations)")
    fit.add_argument("--weight", metavar="COLUMN", help="how often a row counts")
    fit.add_argument("--episodes", metavar="COLUMN", help="trials behind a rate, for binomial losses")
    fit.add_argument(
        "--scale", metavar="COLUMN", help="what makes a run large, for back-tests (default: product of the columns)"
    )
    fit.add_argument(
        "--at",
        nargs="+",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="a point to forecast; repeat for more",
    )
    fit.add_argument("--goal", type=float, metavar="VALUE", help="P(target ≤ VALUE) at each point")
    fit.add_argument("--level", type=float, default=0.9, help="confidence level of intervals (default: 0.9)")
    fit.add_argument("--draws", type=int, default=1000, help="bootstrap refits (default: 1000)")
    fit.add_argument("--seed", type=int, default=0)
    fit.add_argument("--folder", type=Path, help="where report and JSON go (default: fits/NAME)")

    advise = commands.add_parser(
        "advise",
        help="is (n, k) sufficient, and which run should be bought next?",
        description="Answer from the runs of a study, or of a table with columns n, k, regret and, where there are, "
        "seed and status: sufficient, insufficient, undecided or cannot say.",
    )
    advise.add_argument("study", type=Path, metavar="SOURCE", help="study folder, or table (.parquet, .csv, .jsonl)")
    advise.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME=COLUMN",
        help="of a table: n=samples, k=dim, regret=failures …",
    )
    advise.add_argument(
        "--target-regret", type=float, metavar="R", help="default: the study's; of a table that of a new study file"
    )
    advise.add_argument("--n", type=int, help="training transitions asked about (default: the largest there is)")
    advise.add_argument("--k", type=int, help="latent width asked about (default: the best at n)")
    advise.add_argument("--budget", type=float, metavar="HOURS", help="hours that one run may take")
    advise.add_argument("--level", type=float, default=0.9, help="probability of an answer (default: 0.9)")
    advise.add_argument("--law", nargs="+", default=[], metavar="LAW", help="laws to average (default: the study's)")
    advise.add_argument(
        "--next",
        type=Path,
        default=Path("sweeps/next.yaml"),
        metavar="FILE",
        help="where the next runs of a study go (default: sweeps/next.yaml)",
    )


_MOST_DRAWS = 1_000_000
"""Refits: their parameters are kept until the quantiles are taken."""


def run_fit(parsed: argparse.Namespace) -> int:
    """Fit, print, write the page."""
    from jepa_scale.report.files import check_writable
    from jepa_scale.report.fitted import forecast_lines, head, parameters_table, sentences, write_fit
    from jepa_scale.runs import limits
    from jepa_scale.runs.errors import UserError
    from jepa_scale.study.external import pairs
    from jepa_scale.study.fitting import FitSettings, fit_file
    from jepa_scale.terminal import Console

    limits.check_option("--draws", parsed.draws, 0, _MOST_DRAWS)
    limits.check_option("--seed", parsed.seed, 0, limits.LARGEST)
    folder = parsed.folder or Path("fits") / parsed.table.stem
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
        level=parsed.level,
        draws=parsed.draws,
        seed=parsed.seed,
    )
    study = fit_file(parsed.table, settings)
    console = Console()
    console.print(head(study), highlight=False, markup=False)
    console.print(parameters_table(study))
    for sentence in (*sentences(study), *forecast_lines(study)):
        console.print(f"• {sentence}", highlight=False, markup=False)
    console.print(f"report: {write_fit(study, folder)}", highlight=False, soft_wrap=True)
    return 0 if all(one.fit.status == "converged" for one in study.laws) else 1


def run_advise(parsed: argparse.Namespace) -> int:
    """Answer, print, write the next study file where the runs are a study's."""
    from jepa_scale.records import Ask
    from jepa_scale.report.advice import advice_lines
    from jepa_scale.runs import limits
    from jepa_scale.runs.errors import UserError
    from jepa_scale.study.advising import advise_study, advise_table, write_next
    from jepa_scale.study.external import ENDINGS, pairs
    from jepa_scale.study.spec import StudySpec, spec_of
    from jepa_scale.terminal import Console

    is_table = parsed.study.is_file() or parsed.study.suffix.lower() in ENDINGS
    defaults = StudySpec if is_table else spec_of(parsed.study)
    target = defaults.target_regret if parsed.target_regret is None else parsed.target_regret
    for name in ("n", "k", "budget"):
        value = getattr(parsed, name)
        if value is not None and not 0 < value < float("inf"):
            raise UserError(f"--{name}: expected a number above 0, got {value}")
    limits.check_option("--n", parsed.n, 1, limits.SIZES["data.n"])
    limits.check_option("--k", parsed.k, 1, limits.SIZES["model.k"])
    if parsed.columns and not is_table:
        raise UserError(f"--columns is for a table, and {parsed.study} is a study: leave it out")
    ask, laws = Ask(target, parsed.level, parsed.n, parsed.k, parsed.budget), tuple(parsed.law)
    if is_table:
        spec, columns = None, pairs("--columns", parsed.columns, "n=samples")
        advice, said = advise_table(parsed.study, ask, laws, columns)
        if parsed.target_regret is None:
            said = (f"target regret {target:g}, as in a new study: --target-regret sets another", *said)
    else:
        spec, advice = advise_study(parsed.study, ask, laws)
        said = ()
    console = Console()
    for sentence in said:
        console.print(sentence, highlight=False, markup=False)
    for index, line in enumerate(advice_lines(advice)):
        console.print(
            line if index == 0 else f"• {line}", highlight=False, markup=False, style="bold" if index == 0 else ""
        )
    if spec is not None and advice.next_runs:
        write_next(spec, advice, parsed.next)
        again = f"jepa-scale study {parsed.next} --folder {parsed.study}"
        console.print(f"next: {again}", highlight=False, soft_wrap=True)
    return 0


def _numbers(texts: list[str]) -> dict[str, float]:
    from jepa_scale.runs.errors import UserError
    from jepa_scale.study.external import pairs

    found = {}
    for name, value in pairs("--at", texts, "N=1e9").items():
        try:
            found[name] = float(value)
        except ValueError:
            raise UserError(f"--at: expected NAME=NUMBER, such as N=1e9, got {name}={value}") from None
    return found
