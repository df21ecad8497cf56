"""The ``sweep`` command: do a study's runs, on this machine or on a SLURM cluster."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

from jepa_scale.cli.common import add_accept_mixed, add_allow, print_gaps

GROUP = "cluster"

_SWEEP = """\
launchers:
  launcher=local workers=4           worker processes on this machine, until all runs are done
  launcher=slurm launcher.KEY=VALUE  job arrays of workers on a SLURM cluster; the command returns at once

Rerun the same command to do, or submit, only what is missing. Launcher settings: conf/launcher/*.yaml.

examples:
  jepa-scale sweep my_sweep.yaml launcher=slurm launcher.partition=gpu launcher.time=4:00:00 workers=16
  jepa-scale sweep my_sweep.yaml launcher=slurm --dry-run          print the batch scripts without submitting them
  jepa-scale status studies/my_sweep                               runs by state, jobs, time left, failures
  jepa-scale collect studies/my_sweep && jepa-scale report studies/my_sweep
"""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "sweep",
        help="do a study's runs, on this machine or on a SLURM cluster",
        description="Plan a study's runs and start workers for them, on this machine or on a SLURM cluster.",
        epilog=_SWEEP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sweep", help="study file, or the name of a shipped study")
    parser.add_argument("overrides", nargs="*", help="launcher=…, workers=N, and key=value settings for all runs")
    parser.add_argument("--folder", type=Path, help="folder of the study (default: studies/NAME)")
    parser.add_argument("--dry-run", action="store_true", help="print the batch scripts; write and submit nothing")
    add_allow(parser)
    add_accept_mixed(parser)
    parser.set_defaults(resumes=True)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Do a study's runs on this machine, or submit workers for them to SLURM."""
    from jepa_scale.studies.specification.spec import find_sweep, launcher_of, read_spec
    from jepa_scale.terminal import Console

    spec = read_spec(find_sweep(parsed.sweep))
    launcher, overrides = launcher_of(spec, parsed.overrides)
    spec = spec.with_overrides(overrides)
    folder = parsed.folder or Path("studies") / spec.name
    if parsed.dry_run:
        print(launcher.scripts(spec, folder), end="")
        return 0
    result = launcher.start(spec, folder, Console(), parsed.accept_mixed)
    if result is not None:
        return print_gaps(result, folder)
    print(f"look at it with: jepa-scale status {folder}")
    return 0
