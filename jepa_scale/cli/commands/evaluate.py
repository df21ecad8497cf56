"""The ``evaluate`` command: evaluate trained models under a chosen protocol."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Sequence
from pathlib import Path

from jepa_scale.cli.common import add_allow

GROUP = "run"

_EVALUATE = """\
CKPT is a run folder (its last checkpoint) or a .ckpt file. Several are evaluated on the same tasks and compared.

Settings: evaluation.*, planner=NAME, planner.*, world.* (of the world used in training), data.heldout, data.test.
The result is written to RUN/evaluations/, with the protocol and the outcome of every task.

examples:
  jepa-scale evaluate runs/504e3ebe8f3a                             the protocol of its training
  jepa-scale evaluate runs/A runs/B evaluation.episodes=200         compare two models on the same tasks
  jepa-scale evaluate runs/A evaluation.success=final               count tasks that end at their goal
  jepa-scale evaluate runs/A planner.horizon=6 world.noise_std=0.4  plan further ahead, with more noise
  jepa-scale evaluate runs/A evaluation.pairs=16                    plan fewer tasks at a time, to save memory
"""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        help="evaluate trained models: success, regret, prediction error by horizon",
        description="Plan with trained models under a chosen protocol, and compare them with oracle and floors.",
        epilog=_EVALUATE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoints", nargs="+", metavar="CKPT", help="run folder or .ckpt file")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder to write into, instead of each run's evaluations/"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of the evaluation")
    add_allow(parser)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Evaluate checkpoints; print a block for each, then the differences to the first."""
    from jepa_scale.report.parts.evaluation import compared_table, difference_sentence
    from jepa_scale.runs.evaluate import difference, evaluate
    from jepa_scale.terminal import Console

    paths, overrides = _split([*parsed.checkpoints, *parsed.overrides])
    console = Console()
    done = evaluate(paths, overrides, parsed.out)
    for path, evaluated in zip(paths, done, strict=True):
        _print(console, path, evaluated)
    table = compared_table([str(path) for path in paths], [evaluated.record for evaluated in done])
    if table is not None:
        console.print(table)
    for path, evaluated in zip(paths[1:], done[1:], strict=True):
        for kind in ("any_time", "final"):
            gap = difference(evaluated.record, done[0].record, kind)
            if gap is not None:
                line = difference_sentence(gap, str(path), str(paths[0]))
                console.print(f"• {line}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _split(texts: Sequence[str]) -> tuple[list[Path], list[str]]:
    from jepa_scale.runs.errors import UserError

    overrides = [text for text in texts if "=" in text and not Path(text).exists()]
    paths = [Path(text) for text in texts if text not in overrides]
    if not paths:
        raise UserError(f"evaluate: expected at least one run folder or .ckpt file, got only {' '.join(overrides)}")
    return paths, overrides


def _print(console: typing.Any, path: Path, evaluated: typing.Any) -> None:
    from jepa_scale.report.parts import evaluation
    from jepa_scale.report.parts.protocol import sentence

    record, estimates = evaluated.record, evaluation.by_name(evaluated.record.estimates)
    console.print(f"{path} (run {record.run_id}, {record.trained})", highlight=False, markup=False, soft_wrap=True)
    for line in (sentence(record.protocol), evaluation.vacuous_tasks(estimates), evaluation.copy_wins(estimates)):
        if line:
            console.print(f"• {line}", highlight=False, markup=False, soft_wrap=True)
    for table in (
        evaluation.success_table(estimates, record.protocol),
        evaluation.regret_table(estimates, record.protocol),
        evaluation.prediction_table(estimates),
        evaluation.observation_table(estimates),
    ):
        if table is not None:
            console.print(table)
    console.print(f"record: {evaluated.path}", highlight=False, markup=False, soft_wrap=True)
