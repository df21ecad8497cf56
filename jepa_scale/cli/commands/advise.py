"""Say whether a dataset size and a width suffice, and which runs to do next."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "advise",
        help="is (n, k) sufficient, and which run should be bought next?",
        description="Answer from the runs of a study, or of a table with columns n, k, regret and, where there are, "
        "seed and status: sufficient, insufficient, undecided or cannot say.",
    )
    parser.add_argument("study", type=Path, metavar="SOURCE", help="study folder, or table (.parquet, .csv, .jsonl)")
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME=COLUMN",
        help="of a table: n=samples, k=dim, regret=failures …",
    )
    parser.add_argument(
        "--target-regret", type=float, metavar="R", help="default: the study's; of a table that of a new study file"
    )
    parser.add_argument("--n", type=int, help="training transitions asked about (default: the largest there is)")
    parser.add_argument("--k", type=int, help="latent width asked about (default: the best at n)")
    parser.add_argument("--budget", type=float, metavar="HOURS", help="hours that one run may take")
    parser.add_argument("--level", type=float, default=0.9, help="probability of an answer (default: 0.9)")
    parser.add_argument("--law", nargs="+", default=[], metavar="LAW", help="laws to average (default: the study's)")
    parser.add_argument(
        "--next",
        type=Path,
        default=Path("sweeps/next.yaml"),
        metavar="FILE",
        help="where the next runs of a study go (default: sweeps/next.yaml)",
    )
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Answer, print, write the next study file where the runs are a study's."""
    from jepa_scale.records import Ask
    from jepa_scale.report.advice import advice_lines
    from jepa_scale.runs import limits
    from jepa_scale.runs.errors import UserError
    from jepa_scale.study.advising import advise_study, advise_table, write_next
    from jepa_scale.study.external import ENDINGS, pairs
    from jepa_scale.study.specification.spec import StudySpec, spec_of
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
