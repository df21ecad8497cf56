"""Shared parts of commands: options, and output about a study."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

from jepa_scale import trust

if typing.TYPE_CHECKING:
    from jepa_scale.terminal import Console


def add_allow(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow`` and ``--config-dir`` to a command that instantiates what a configuration names."""
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="MODULE",
        help=f"trust a module, whose classes _target_ may then name and whose code is run (also: ${trust.ALLOW})",
    )
    parser.add_argument(
        "--config-dir",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="folder with options of your own, such as DIR/encoder/mine.yaml for encoder=mine (also: "
        "$JEPA_SCALE_CONF_PATH)",
    )


def add_accept_mixed(parser: argparse.ArgumentParser) -> None:
    """Add ``--accept-mixed`` to a command that resumes runs."""
    parser.add_argument(
        "--accept-mixed",
        action="store_true",
        help="resume runs that other code has computed: other versions of this package or of your modules",
    )


def print_conclusions(console: Console, result: typing.Any) -> None:
    """Print the answer of a study: the verdict, what it rests on, warnings and the next run."""
    from jepa_scale.report.advice import next_lines
    from jepa_scale.report.conclusions import warnings
    from jepa_scale.report.conclusions.answer import answer

    verdict, *rest = answer(result)
    console.print(verdict, highlight=False, markup=False, style="bold")
    following = [] if result.advice is None else next_lines(result.advice)[:1]
    for line in [*rest, *(one for one in warnings(result) if one not in (verdict, *rest)), *following]:
        console.print(f"• {line}", highlight=False, markup=False)


def new_console() -> Console:
    """Return a console for this terminal."""
    from jepa_scale.terminal import Console

    return Console()


def print_line(text: str) -> None:
    """Print a line and flush it."""
    print(text, flush=True)


def print_gaps(result: typing.Any, folder: Path, most: int = 20) -> int:
    """Print which runs of a study are missing; return the exit code, 1 where some are."""
    unfinished, done = result.unfinished, len(result.records)
    diverged = sum(record.status == "diverged" for record in result.records.values())
    for phrase in result.mixed:
        print(f"mixed code: {phrase}")
    for sentence in unfinished[:most]:
        print(f"missing: {sentence}")
    if len(unfinished) > most:
        print(f"… and {len(unfinished) - most} more are missing: jepa-scale status {folder}")
    apart = f", {diverged} of them diverged" if diverged else ""
    print(f"{done} runs in {folder / 'table.parquet'}{apart}, {len(unfinished)} missing")
    return 1 if unfinished else 0
