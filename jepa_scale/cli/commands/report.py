"""The ``report`` command: rewrite the report of a study, or compare several studies."""

from __future__ import annotations

import argparse
import sys
import typing
from pathlib import Path

from jepa_scale.cli.common import new_console, print_conclusions

GROUP = "answer"

_MOST = 20
"""Most runs without a record that are listed."""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        help="rewrite the report of a study from its runs, or compare several studies",
        description="Write the report of one study into its folder; of several studies, one page that compares them.",
    )
    parser.add_argument("study", type=Path, nargs="+", help="study folder")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="for several studies, the page (default: reports/compare.html); for one, the folder instead of its own",
    )
    parser.set_defaults(resumes=True)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Collect studies, print the conclusions and write the report page."""
    from jepa_scale.report.compare import write_comparison
    from jepa_scale.report.html import write_report
    from jepa_scale.runs.errors import UserError
    from jepa_scale.studies.collect import collect_folder
    from jepa_scale.studies.holdings import writable
    from jepa_scale.studies.specification.spec import spec_of

    folders = list(dict.fromkeys(parsed.study))
    alone = len(folders) == 1
    if alone and parsed.out is not None and (parsed.out.is_file() or parsed.out.suffix == ".html"):
        raise UserError(f"--out: expected a folder to write the report of one study into, got {parsed.out}")
    for folder in folders:
        spec_of(folder)
    into = writable(folders[0], parsed.out) if alone else None
    results = {folder: collect_folder(folder, into) for folder in folders}
    console = new_console()
    for folder, result in results.items():
        if not alone:
            console.print(str(folder), style="bold", highlight=False, markup=False)
        print_conclusions(console, result)
    if into is not None:
        page = write_report(results[folders[0]], into)
    else:
        page = write_comparison(results, parsed.out or Path("reports/compare.html"))
    console.print(f"report: {page}", highlight=False, markup=False, soft_wrap=True)
    unfinished = [sentence for result in results.values() for sentence in result.unfinished]
    for sentence in unfinished[:_MOST]:
        print(f"jepa-scale: a run has no record: {sentence}", file=sys.stderr)
    if len(unfinished) > _MOST:
        print(f"jepa-scale: … and {len(unfinished) - _MOST} more have none", file=sys.stderr)
    return 1 if any(result.unusable for result in results.values()) else 0
