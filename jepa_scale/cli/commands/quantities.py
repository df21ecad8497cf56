"""The ``quantities`` command: list what runs measure, with unit, better direction and name in laws."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Sequence

if typing.TYPE_CHECKING:
    from jepa_scale.cli.answers import Quantities

Row = tuple[str, str, str, str]
"""Name, what it is, unit, better end."""

GROUP = "learn"

_EPILOG = """\
examples:
  jepa-scale quantities           the columns of a study's table, then the estimates of every epoch
  jepa-scale quantities regret    those with `regret` in their name

A column may be the target of a study (target: success) and appear in laws; so may an estimate, with _ for / in names.
"""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "quantities",
        help="explain every number: columns of a study's table, estimates of every epoch",
        description="List every quantity that runs measure.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("text", nargs="?", default="", help="text to search for in names and descriptions")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead (docs: JSON output)")
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Print the list of quantities."""
    import textwrap

    from jepa_scale.records import RunTable
    from jepa_scale.records.estimates import ESTIMATES
    from jepa_scale.records.quantities import BY_NAME
    from jepa_scale.runs.errors import UserError

    columns = [
        (name, what, "", BY_NAME[name].better if name in BY_NAME else "") for name, what in RunTable.COLUMNS.items()
    ]
    kinds = [(kind.pattern, kind.what, kind.unit, kind.better) for kind in ESTIMATES]
    parts = [("Columns of a study's table:", columns), ("Estimates of every epoch:", kinds)]
    chosen = [(title, [row for row in rows if parsed.text.lower() in " ".join(row).lower()]) for title, rows in parts]
    if not any(rows for _, rows in chosen):
        raise UserError(f"no quantity has {parsed.text!r} in its name or description: jepa-scale quantities lists all")
    if parsed.json:
        print(_answer(chosen[0][1], chosen[1][1]).text())
        return 0
    for title, rows in chosen:
        if rows:
            print(title)
        for name, what, unit, better in rows:
            notes = "; ".join(note for note in (unit, f"{better} is better" if better else "") if note)
            text = f"{what} ({notes})" if notes else what
            print(textwrap.fill(text, 118, initial_indent=f"  {name:<34} ", subsequent_indent=" " * 37))
    return 0


def _answer(columns: Sequence[Row], estimates: Sequence[Row]) -> Quantities:
    from jepa_scale.cli import answers

    kinds: tuple[tuple[typing.Literal["column", "estimate"], Sequence[Row]], ...] = (
        ("column", columns),
        ("estimate", estimates),
    )
    rows = [
        answers.Quantity(name=name, what=what, unit=unit, better=better, kind=kind)
        for kind, group in kinds
        for name, what, unit, better in group
    ]
    return answers.Quantities(verdict=f"{len(rows)} quantities.", quantities=rows)
