"""The ``train`` command: train one run."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

from jepa_scale import signals
from jepa_scale.cli.common import add_accept_mixed, add_allow, add_output
from jepa_scale.cli.running import run_here

GROUP = "run"


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser("train", help="do one run: train a JEPA and log estimates every epoch")
    parser.add_argument("overrides", nargs="*", help="settings: group=option or key.path=value")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="config.yaml of an earlier run to start from, before the settings"
    )
    parser.add_argument("--folder", type=Path, help="folder of the run (default: runs/ID)")
    parser.add_argument(
        "--show", action="store_true", help="print the configuration and the options of its groups; do not train"
    )
    add_output(parser)
    add_allow(parser)
    add_accept_mixed(parser)
    parser.set_defaults(resumes=True)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Train a run, or print its configuration."""
    signals.install()
    from jepa_scale.runs.config import compose, groups, read_config, with_overrides
    from jepa_scale.runs.identity import run_id

    if parsed.config is None:
        config = compose(parsed.overrides)
    else:
        config = with_overrides(read_config(parsed.config), parsed.overrides)
    if parsed.show:
        import yaml

        del config["code"]
        print(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), end="")
        for name, options in groups().items():
            print(f"# {name}: {', '.join(options)}")
        return 0
    return run_here(config, parsed.folder or Path("runs") / run_id(config), parsed)
