"""The ``rank`` command: say which diagnostic of checkpoints predicts their success."""

from __future__ import annotations

import argparse
import math
import typing
from pathlib import Path

from jepa_scale.cli.common import add_output

if typing.TYPE_CHECKING:
    from jepa_scale.cli.answers import Rank

GROUP = "answer"

_EPILOG = """\
examples:
  jepa-scale rank checkpoints.csv --target success --cluster run
  jepa-scale rank pool.jsonl --target eval/success --cluster run --diagnostics rankme lidar spectrum/total loss

The interval is of Spearman's correlation, over whole clusters, at the level of all diagnostics together. `within` is
the mean correlation inside clusters: whether the diagnostic also picks a checkpoint of one run. AICc: what a line in
its ranks explains, above 0 more than it costs.
"""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "rank",
        help="tell which diagnostic of a pool of checkpoints predicts success",
        description="Rank the columns of a table of checkpoints by their correlation with a target.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", type=Path, nargs="+", metavar="TABLE", help="table with one row per checkpoint")
    parser.add_argument("--target", required=True, metavar="COLUMN", help="what is to be predicted: success, regret, …")
    parser.add_argument("--cluster", metavar="COLUMN", help="column of the run that a checkpoint is of")
    parser.add_argument(
        "--diagnostics",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns to rank (default: all of numbers)",
    )
    parser.add_argument("--level", type=float, default=0.9, help="level of the intervals together (default: 0.9)")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws of clusters (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: 0)")
    add_output(parser)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Print the ranking."""
    from rich.table import Table

    from jepa_scale.cli.output import Ending, Output
    from jepa_scale.report.ranking import sentences
    from jepa_scale.report.wording import interval, number
    from jepa_scale.runs import limits
    from jepa_scale.studies.ranking import rank_table

    limits.check_option("--draws", parsed.draws, 100, 100_000)
    limits.check_option("--seed", parsed.seed, 0, limits.LARGEST)
    found = rank_table(
        parsed.table, parsed.target, parsed.cluster, parsed.diagnostics,
        level=parsed.level, draws=parsed.draws, seed=parsed.seed,
    )  # fmt: skip
    shown = Table(title=f"{found.target} by diagnostic")
    for column in ("diagnostic", "ρ", "interval", "within", "AICc", "first", "rows", "runs"):
        shown.add_column(column, justify="left" if column == "diagnostic" else "right", no_wrap=column != "diagnostic")
    for one in found.ranked:
        values = [one.correlation, one.within, one.gain]
        correlation, within, gain = (number(value, 2) if math.isfinite(value) else "–" for value in values)
        shown.add_row(
            one.name, correlation, interval(one.low, one.high), within, gain, f"{one.best:.0%}",
            str(one.checkpoints), str(one.clusters),
        )  # fmt: skip
    verdict, *notes = sentences(found.ranked, found.target, found.cluster)
    why = "the ranking is the answer; more checkpoints of more runs narrow its intervals"
    ending = Ending(verdict, [*notes, *found.remarks], [shown], no_next=why)

    def answer() -> Rank:
        from jepa_scale.cli import answers

        names = list(answers.Ranked.model_fields)
        return answers.Rank(
            **ending.fields(),
            target=found.target,
            ranked=[
                answers.Ranked(**{name: answers.plain(getattr(one, name)) for name in names}) for one in found.ranked
            ],
        )

    Output(parsed).end(ending, answer)
    return 0
