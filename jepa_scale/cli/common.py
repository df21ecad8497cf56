"""Shared options of commands."""

from __future__ import annotations

import argparse
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


def add_accept_mixed(parser: argparse.ArgumentParser) -> None:
    """Add ``--accept-mixed`` to a command that resumes runs."""
    parser.add_argument(
        "--accept-mixed",
        action="store_true",
        help="resume runs that other code has computed: other versions of this package or of your modules",
    )


def print_line(text: str) -> None:
    """Print a line and flush it."""
    print(text, flush=True)
