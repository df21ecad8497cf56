"""The ``report`` command: rewrite the report of a study, or compare several studies."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

from jepa_scale.cli.common import add_output

GROUP = "answer"


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        help="rewrite the report of a study from its runs, or compare several studies",
        description="Write the report of one study into its folder; of several studies, one page that compares them. A "
        "report whose runs, files and code have not changed stays as it is.",
    )
    parser.add_argument("study", type=Path, nargs="+", help="study folder")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="for several studies, the page (default: reports/compare.html); for one, the folder instead of its own",
    )
    add_output(parser)
    parser.set_defaults(resumes=True)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Collect studies, print the conclusions and write the report page."""
    from jepa_scale.cli.output import Output
    from jepa_scale.cli.studies import end_comparison, end_study, publish
    from jepa_scale.report.compare import write_comparison
    from jepa_scale.report.html import current_report, write_report
    from jepa_scale.runs.errors import UserError
    from jepa_scale.studies.collect import collect_folder
    from jepa_scale.studies.holdings import writable
    from jepa_scale.studies.manifest import read_plan
    from jepa_scale.studies.specification.spec import spec_of

    folders = list(dict.fromkeys(parsed.study))
    alone = len(folders) == 1
    if alone and parsed.out is not None and (parsed.out.is_file() or parsed.out.suffix == ".html"):
        raise UserError(f"--out: expected a folder to write the report of one study into, got {parsed.out}")
    for folder in folders:
        spec_of(folder)
        if not (folder / "plan.json").is_file():
            read_plan(folder)
    into = writable(folders[0], parsed.out) if alone else None
    out = Output(parsed)
    with out.steps() as step:
        results = {folder: collect_folder(folder, into, step) for folder in folders}
        if into is not None:
            written = current_report(results[folders[0]], into)
            if written is None:
                step("draw the figures and write the page")
            page = written or write_report(results[folders[0]], into)
            if into == folders[0] and written is None:
                publish(results[folders[0]], into, page)
        else:
            step("draw the figures and write the page")
            page = write_comparison(results, parsed.out or Path("reports/compare.html"))
    if alone:
        end_study(out, "report", results[folders[0]], folders[0], page)
    else:
        end_comparison(out, "report", results, page)
    return 1 if any(result.unusable for result in results.values()) else 0
