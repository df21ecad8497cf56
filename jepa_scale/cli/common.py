"""Shared options of commands."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from jepa_scale import trust


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


def add_output(parser: argparse.ArgumentParser, json: bool = True) -> None:
    """Add ``--verbose``, ``--quiet`` and, for commands that read, ``--json``."""
    group = parser.add_argument_group("output").add_mutually_exclusive_group()
    group.add_argument("-v", "--verbose", action="store_true", help="also print every finding and the tables")
    group.add_argument("-q", "--quiet", action="store_true", help="print the verdict alone, and no progress")
    if json:
        group.add_argument("--json", action="store_true", help="print one JSON object instead (docs: JSON output)")


def add_where(parser: argparse.ArgumentParser) -> None:
    """Add ``--where`` to a command that reads tables."""
    parser.add_argument(
        "--where",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN=VALUE",
        help="use only the rows of a table with these values, such as rate=0.001 encoder=mlp",
    )


def add_accept_mixed(parser: argparse.ArgumentParser) -> None:
    """Add ``--accept-mixed`` to a command that resumes runs."""
    parser.add_argument(
        "--accept-mixed",
        action="store_true",
        help="resume runs that other code has computed: other versions of this package or of your modules",
    )


def add_decision(parser: argparse.ArgumentParser) -> None:
    """Add ``--decision`` to a command that answers a question."""
    parser.add_argument(
        "--decision",
        type=Path,
        metavar="FILE",
        help="also write a page of Markdown on the answer: question, evidence, what would change it, how to repeat it",
    )


def check_decision(path: Path | None) -> None:
    """Refuse a place for the page of ``--decision`` that is a folder.

    Raises
    ------
    UserError
        If it is one.
    """
    from jepa_scale.runs.errors import UserError

    if path is not None and path.is_dir():
        raise UserError(f"--decision: {path} is a folder, expected a file such as decision.md")


def write_decision(path: Path, page: str) -> None:
    """Write the page of ``--decision``."""
    from jepa_scale.runs.folder import atomic_write

    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, page)


def whole_number(text: str) -> int:
    """Read a whole number, also written as 1e9.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is none.
    """
    try:
        value = float(text)
        if value.is_integer():
            return int(text) if text.lstrip("+-").isdigit() else int(value)
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"expected a whole number, such as 100000 or 1e5, got {text!r}")


def without(arguments: Sequence[str], options: Mapping[str, int | None]) -> list[str]:
    """Return arguments without some options and without what only changes the output.

    ``options`` give the number of values that follow an option; None: all up to the next one.

    Examples
    --------
    >>> without(["fit", "-v", "a.csv", "--at", "N=1", "D=2", "--goal", "1", "--seed", "1"], {"--at": None, "--goal": 1})
    ['fit', 'a.csv', '--seed', '1']
    """
    kept: list[str] = []
    left: int | None = 0
    counts = {**dict.fromkeys(_OUTPUT, 0), **options}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in counts:
            left = 0 if value and name.startswith("--") else counts[name]
        elif left is None and argument.startswith("--"):
            left = 0
            kept.append(argument)
        elif left is not None and left > 0:
            left -= 1
        elif left == 0:
            kept.append(argument)
    return kept


_OUTPUT = ("-v", "--verbose", "-q", "--quiet", "--json")


def command_line(arguments: Sequence[str]) -> str:
    """Return the command that was given, without ``--decision`` and what only changes the output."""
    import shlex

    kept, skip = [], False
    for argument in arguments:
        if skip or argument.startswith("--decision="):
            skip = False
            continue
        if argument == "--decision":
            skip = True
        elif argument not in _OUTPUT:
            kept.append(argument)
    return shlex.join(["jepa-scale", *kept])


def print_line(text: str) -> None:
    """Print a line and flush it."""
    print(text, flush=True)
