"""The ``evaluate`` command: evaluate trained models under a chosen protocol."""

from __future__ import annotations

import argparse
import shlex
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

from jepa_scale.cli.common import add_allow, add_output

if typing.TYPE_CHECKING:
    from jepa_scale.cli.answers import Evaluate
    from jepa_scale.cli.output import Ending
    from jepa_scale.records import PairedDifference
    from jepa_scale.runs.evaluate import Evaluated

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

_KINDS: tuple[typing.Literal["any_time", "final"], ...] = ("any_time", "final")
"""When success may count."""


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
    add_output(parser)
    add_allow(parser)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Evaluate checkpoints; print a block for each, then the differences to the first."""
    from jepa_scale.cli.output import Ending, Output
    from jepa_scale.report.parts.evaluation import compared_table, difference_sentence
    from jepa_scale.runs.evaluate import evaluate

    paths, overrides = _split([*parsed.checkpoints, *parsed.overrides])
    out = Output(parsed)
    done = dict(zip(paths, evaluate(paths, overrides, parsed.out), strict=True))
    gaps = _differences(done)
    said = {path: _verdict(evaluated) for path, evaluated in done.items()}
    first = paths[0]
    alone = len(done) == 1
    notes = [] if alone else [f"{path}: {verdict}" for path, verdict in said.items()]
    notes += [difference_sentence(gap, str(path), str(first)) for path, gap in gaps]
    cautions = list(dict.fromkeys(line for evaluated in done.values() for line in _cautions(evaluated)))
    compared = compared_table([str(path) for path in paths], [evaluated.record for evaluated in done.values()])
    ending = Ending(
        said[first] if alone else f"{len(done)} models were tried alike.",
        [*_protocol(done[first]), *notes] if alone else [*notes, *_protocol(done[first])],
        [part for path, evaluated in done.items() for part in _details(path, evaluated)]
        + ([] if compared is None else [compared]),
        cautions,
        {"record" if alone else f"record of {path}": evaluated.path for path, evaluated in done.items()},
        f"jepa-scale evaluate {shlex.quote(str(first))} ANOTHER" if alone else "",
        "" if alone else "the comparison is complete; more tasks (evaluation.episodes) narrow its intervals",
    )
    out.end(ending, lambda: _answer(ending, done, said, gaps))
    return 0


def _differences(done: Mapping[Path, Evaluated]) -> list[tuple[Path, PairedDifference]]:
    """Return the differences in success between each model and the first, at any time and at the end."""
    from jepa_scale.runs.evaluate import difference

    (_, reference), *others = done.items()
    found = [
        (path, difference(evaluated.record, reference.record, kind)) for path, evaluated in others for kind in _KINDS
    ]
    return [(path, gap) for path, gap in found if gap is not None]


def _split(texts: Sequence[str]) -> tuple[list[Path], list[str]]:
    from jepa_scale.runs.errors import UserError

    overrides = [text for text in texts if "=" in text and not Path(text).exists()]
    paths = [Path(text) for text in texts if text not in overrides]
    if not paths:
        raise UserError(f"evaluate: expected at least one run folder or .ckpt file, got only {' '.join(overrides)}")
    return paths, overrides


def _verdict(evaluated: Evaluated) -> str:
    from jepa_scale.cli.runs import verdict_of
    from jepa_scale.report.parts.evaluation import by_name

    settings = evaluated.record.settings.get("planner", {})
    return verdict_of(by_name(evaluated.record.estimates), settings.get("score", ""))


def _protocol(evaluated: Evaluated) -> list[str]:
    from jepa_scale.report.parts.protocol import sentence

    return [line for line in (sentence(evaluated.record.protocol),) if line]


def _cautions(evaluated: Evaluated) -> list[str]:
    from jepa_scale.report.parts.evaluation import by_name, copy_wins, vacuous_tasks

    estimates = by_name(evaluated.record.estimates)
    return [line for line in (vacuous_tasks(estimates), copy_wins(estimates)) if line]


def _details(path: Path, evaluated: Evaluated) -> list[typing.Any]:
    from jepa_scale.report.parts import evaluation

    record, estimates = evaluated.record, evaluation.by_name(evaluated.record.estimates)
    tables = (
        evaluation.success_table(estimates, record.protocol),
        evaluation.regret_table(estimates, record.protocol),
        evaluation.prediction_table(estimates),
        evaluation.observation_table(estimates),
    )
    return [f"{path} (run {record.run_id}, {record.trained})", *(table for table in tables if table is not None)]


def _answer(
    ending: Ending,
    done: Mapping[Path, Evaluated],
    said: Mapping[Path, str],
    gaps: Sequence[tuple[Path, PairedDifference]],
) -> Evaluate:
    from jepa_scale.cli import answers
    from jepa_scale.cli.runs import as_answers
    from jepa_scale.report.parts.evaluation import by_name

    return answers.Evaluate(
        **ending.fields(),
        evaluations=[
            answers.Evaluation(
                checkpoint=str(path),
                run_id=evaluated.record.run_id,
                record=str(evaluated.path),
                verdict=said[path],
                protocol=answers.plain(evaluated.record.protocol),
                estimates=as_answers(by_name(evaluated.record.estimates)),
            )
            for path, evaluated in done.items()
        ],
        differences=[{"checkpoint": str(path), **answers.plain(gap)} for path, gap in gaps],
    )
