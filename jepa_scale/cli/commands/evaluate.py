"""Evaluate trained models under a stated protocol."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Sequence
from pathlib import Path

from jepa_scale.cli.common import add_allow

_EVALUATE = """\
CKPT is the folder of a run (its last checkpoint) or a .ckpt file. Several are tried on the same tasks and compared.

What may be set: evaluation.*, planner=NAME, planner.*, world.* (in the world that was trained in), data.heldout,
data.test. The result goes to RUN/evaluations/, with the protocol and what became of every task.

examples:
  jepa-scale evaluate runs/504e3ebe8f3a                             the protocol that it was trained with
  jepa-scale evaluate runs/A runs/B evaluation.episodes=200         two models on the same tasks, with a paired test
  jepa-scale evaluate runs/A evaluation.success=final               solved is what ends at its goal
  jepa-scale evaluate runs/A planner.horizon=6 world.noise_std=0.4  plan farther, in more noise
  jepa-scale evaluate runs/A evaluation.pairs=16                    fewer tasks at a time, for less memory
"""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        help="try trained models again: success, regret, prediction by horizon",
        description="Plan with trained models under a stated protocol, beside oracle and floors, and compare them.",
        epilog=_EVALUATE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoints", nargs="+", metavar="CKPT", help="run folder or .ckpt file")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write here instead of into each run's own evaluations/"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of the evaluation")
    add_allow(parser)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Evaluate, print a block for each checkpoint, then the differences to the first."""
    from jepa_scale.report.parts.evaluation import compared_table, difference_sentence
    from jepa_scale.runs.evaluate import difference, evaluate
    from jepa_scale.terminal import Console

    paths, overrides = _split([*parsed.checkpoints, *parsed.overrides])
    console = Console()
    done = evaluate(paths, overrides, parsed.out)
    for path, found in zip(paths, done, strict=True):
        _print(console, path, found)
    table = compared_table([str(path) for path in paths], [found.record for found in done])
    if table is not None:
        console.print(table)
    for path, found in zip(paths[1:], done[1:], strict=True):
        for kind in ("any_time", "final"):
            gap = difference(found.record, done[0].record, kind)
            if gap is not None:
                said = difference_sentence(gap, str(path), str(paths[0]))
                console.print(f"• {said}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _split(texts: Sequence[str]) -> tuple[list[Path], list[str]]:
    from jepa_scale.runs.errors import UserError

    overrides = [text for text in texts if "=" in text and not Path(text).exists()]
    paths = [Path(text) for text in texts if text not in overrides]
    if not paths:
        raise UserError(f"evaluate: expected at least one run folder or .ckpt file, got only {' '.join(overrides)}")
    return paths, overrides


def _print(console: typing.Any, path: Path, found: typing.Any) -> None:
    from jepa_scale.report.parts import evaluation
    from jepa_scale.report.parts.protocol import sentence

    record, estimates = found.record, evaluation.by_name(found.record.estimates)
    console.print(f"{path} (run {record.run_id}, {record.trained})", highlight=False, markup=False, soft_wrap=True)
    said = sentence(record.protocol)
    if said:
        console.print(f"• {said}", highlight=False, markup=False, soft_wrap=True)
    for table in (
        evaluation.success_table(estimates, record.protocol),
        evaluation.regret_table(estimates, record.protocol),
        evaluation.prediction_table(estimates),
    ):
        if table is not None:
            console.print(table)
    console.print(f"record: {found.path}", highlight=False, markup=False, soft_wrap=True)
