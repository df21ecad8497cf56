"""The ``finetune`` command: fine-tune a pretrained run for planning."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

from jepa_scale import signals
from jepa_scale.cli.common import add_accept_mixed, add_allow
from jepa_scale.cli.running import run_here

GROUP = "run"


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "finetune",
        help="fine-tune a pretrained run for planning",
        description="Fine-tune a pretrained run for planning, as a new run; the checkpoint is not changed.",
        epilog="ways: finetune=rollout (default), longer (the control), amortised, distill, value",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="run folder, or a checkpoint file of one")
    parser.add_argument("overrides", nargs="*", help="settings: finetune=WAY, finetune.key=value")
    parser.add_argument("--folder", type=Path, help="folder of the new run (default: runs/ID)")
    add_allow(parser)
    add_accept_mixed(parser)
    parser.set_defaults(resumes=True)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Fine-tune a pretrained run, as a new run."""
    signals.install()
    from jepa_scale.runs.checkpoint import read_checkpoint
    from jepa_scale.runs.distributed.ranks import place
    from jepa_scale.runs.follow import adopt, following
    from jepa_scale.runs.identity import run_id
    from jepa_scale.runs.run import preflight

    checkpoint = read_checkpoint(parsed.checkpoint)
    config = following(checkpoint, parsed.overrides)
    folder = parsed.folder or Path("runs") / run_id(config)
    if place().leads:
        preflight(config)
        adopt(checkpoint, config, folder, parsed.accept_mixed)
    return run_here(config, folder, parsed.accept_mixed)
