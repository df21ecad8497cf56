"""The ``study`` command: run a whole study on this machine, and write its report."""

from __future__ import annotations

import argparse
import sys
import typing
from pathlib import Path

from jepa_scale.cli.common import add_accept_mixed, add_allow, new_console, print_conclusions

GROUP = "run"


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "study",
        help="run a whole study: train, estimate, fit, forecast, report",
        description="Run a study and write its report. Rerun the same command to do only the missing runs. A terminal "
        "shows the regret of every cell so far; elsewhere, there is a line for each twentieth of the runs.",
    )
    parser.add_argument("sweep", nargs="?", default="quickstart", help="study file, or the name of a shipped study")
    parser.add_argument("overrides", nargs="*", help="workers=N, and key=value settings for all runs")
    parser.add_argument("--folder", type=Path, help="folder of the study (default: studies/NAME)")
    add_allow(parser)
    add_accept_mixed(parser)
    parser.set_defaults(resumes=True)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Do a study's runs on this machine, and write its report."""
    from jepa_scale.runs.errors import UserError
    from jepa_scale.studies.launching.local import LocalLauncher
    from jepa_scale.studies.specification.spec import find_sweep, launcher_of, read_spec

    sweep, texts = parsed.sweep, list(parsed.overrides)
    if "=" in sweep:
        sweep, texts = "quickstart", [sweep, *texts]
    spec = read_spec(find_sweep(sweep))
    launcher, overrides = launcher_of(spec, texts)
    if not launcher.waits:
        raise UserError(
            f"study waits for its runs, but this launcher submits them to a cluster: jepa-scale sweep {parsed.sweep} "
            "does that, and report follows; to run it here: launcher=local"
        )
    from rich.markup import escape

    spec = spec.with_overrides(overrides)
    folder = parsed.folder or Path("studies") / spec.name
    console = new_console()
    console.print(f"[bold]{spec.name}[/bold]: {escape(spec.question.strip())}", highlight=False)
    workers = launcher.processes if isinstance(launcher, LocalLauncher) else None
    words = "" if workers is None else f", {workers} worker{'s' * (workers != 1)}"
    console.print(f"folder {folder}{words}", highlight=False)

    from jepa_scale.report.html import write_report

    result = launcher.start(spec, folder, console, parsed.accept_mixed)
    assert result is not None
    page = write_report(result, folder)
    print_conclusions(console, result)
    console.print(f"report: {page}", highlight=False, soft_wrap=True)
    for sentence in result.unfinished:
        print(f"jepa-scale: a run has no record: {sentence}", file=sys.stderr)
    return 1 if result.unfinished else 0
