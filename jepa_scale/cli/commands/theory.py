"""The ``theory`` command: check every statement of the theory on random worlds."""

from __future__ import annotations

import argparse
import os
import typing
from collections.abc import Sequence
from pathlib import Path

from jepa_scale.cli.common import add_allow, add_output

GROUP = "learn"

if typing.TYPE_CHECKING:
    from jepa_scale.cli.answers import Theory
    from jepa_scale.cli.output import Output
    from jepa_scale.worlds.survey import Survey

_MOST_TRIALS = 1_000_000
"""Most trials per family: days of work on a large machine."""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "theory",
        help="check every statement of the theory on random worlds",
        description="Check every statement of the theory on random worlds and models, print which hold and how tight "
        "the bounds are, and write a page with figures and the smallest counterexamples.",
    )
    parser.add_argument(
        "overrides", nargs="*", help="also evaluate the bounds on this world: world=… planner.horizon=… and so on"
    )
    parser.add_argument("--trials", type=int, default=100, help="trials per family of worlds and models (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the trials (default: 0)")
    parser.add_argument("--workers", type=int, help="number of processes (default: one per core)")
    parser.add_argument("--folder", type=Path, default=Path("theory"), help="folder of the page (default: theory)")
    parser.add_argument(
        "--replay", type=Path, metavar="FILE", help="only derive a stored counterexample again, step by step"
    )
    add_output(parser)
    add_allow(parser)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Check every statement, and evaluate the bounds on the user's world if one is given."""
    from jepa_scale.runs import limits
    from jepa_scale.runs.errors import UserError

    if parsed.replay is not None:
        return _replay(parsed)
    if parsed.trials < 1 or (parsed.workers is not None and parsed.workers < 1) or parsed.seed < 0:
        raise UserError(
            f"expected at least one trial and one worker and a seed ≥ 0, got --trials {parsed.trials}, "
            f"--workers {parsed.workers}, --seed {parsed.seed}"
        )
    limits.check_option("--trials", parsed.trials, 1, _MOST_TRIALS)
    limits.check_option("--workers", parsed.workers, 1, limits.most_threads())
    limits.check_option("--seed", parsed.seed, 0, limits.LARGEST)
    if parsed.folder.exists() and not parsed.folder.is_dir():
        raise UserError(f"{parsed.folder} is a file: give another --folder, the page and its figures go there")
    from jepa_scale.report.page.files import check_writable

    try:
        # Now, not after minutes of trials.
        check_writable(parsed.folder)
    except OSError as error:
        raise UserError(
            f"{parsed.folder}: expected a place to write the page, got {error.strerror}: give --folder"
        ) from None
    from rich.progress import Progress

    from jepa_scale.cli.output import Output
    from jepa_scale.report.theory import write_theory
    from jepa_scale.theory.attacks import ATTACKS
    from jepa_scale.worlds.families import FAMILIES
    from jepa_scale.worlds.survey import survey

    out = Output(parsed)
    # The user's world first: a mistake in it must not cost the attack's minutes.
    tables = _your_world(parsed.overrides) if parsed.overrides else None
    total = parsed.trials * len(FAMILIES) * len(ATTACKS)
    workers = parsed.workers or len(os.sched_getaffinity(0))
    with Progress(console=out.progress()) as progress:
        task = progress.add_task(f"{total} trials, {workers} processes", total=total)
        result = survey(parsed.trials, parsed.seed, workers, lambda done: progress.advance(task, done))
    _end(out, result, write_theory(result, parsed.folder), tables)
    return 0


def _end(out: Output, result: Survey, page: Path, tables: typing.Any) -> None:
    import shlex

    from jepa_scale.cli.output import Ending
    from jepa_scale.report.theory import fails, statements_table, verdict
    from jepa_scale.theory.statements import STATEMENTS

    findings = result.findings
    examples = sorted((page.parent / "counterexamples").glob("*.json"))
    ending = Ending(
        verdict(findings),
        details=[statements_table(findings), *([] if tables is None else [tables])],
        files={"report": page, **{f"counterexample {path.stem}": path for path in examples}},
        next_command=f"jepa-scale theory --replay {shlex.quote(str(examples[0]))}" if examples else "",
        no_next="" if examples else "no statement failed in these trials; more of them (--trials) look harder",
    )

    def answer() -> Theory:
        from jepa_scale.cli import answers

        rows = []
        for claim in STATEMENTS:
            tally = findings.total(claim.name)
            rows.append(
                answers.Statement(
                    name=claim.name,
                    label=claim.label,
                    met=tally.met,
                    violations=tally.violations,
                    fails=fails(claim, tally),
                )
            )
        return answers.Theory(**ending.fields(), statements=rows)

    out.end(ending, answer)


def _replay(parsed: argparse.Namespace) -> int:
    from jepa_scale.cli.output import Ending, Output
    from jepa_scale.runs.errors import UserError
    from jepa_scale.theory.replay import replay
    from jepa_scale.theory.trial import from_json

    path = parsed.replay
    if not path.is_file():
        raise UserError(f"no file {path}: expected a file that `theory` wrote, theory/counterexamples/*.json")
    try:
        first, *lines = replay(*from_json(path))
    except ValueError as error:
        raise UserError(str(error)) from None
    out = Output(parsed)
    # A derivation is of use as a whole only.
    out.verbose = True
    ending = Ending(first, details=["\n".join(lines)], no_next="this is the whole derivation")

    def answer() -> Theory:
        from jepa_scale.cli import answers

        return answers.Theory(**ending.fields() | {"notes": lines})

    out.end(ending, answer)
    return 0


def _your_world(overrides: Sequence[str]) -> typing.Any:
    """Tables for a configuration's world and planner: spectrum by action, best shared encoder's bounds by width."""
    from jepa_scale.report.theory import world_tables
    from jepa_scale.runs.build import build_context
    from jepa_scale.runs.config import compose
    from jepa_scale.runs.errors import UserError

    context = build_context(compose(overrides))
    known = context.exact
    if known is None:
        raise UserError("theory: expected a finite world, whose truth can be computed, got a simulator")
    problem = known.planner.problem
    if context.planner.score != "density":
        raise UserError(
            f"the bounds that are shown hold for plans ranked by the density score, got "
            f"planner.score={context.planner.score}: leave it at planner=exhaustive planner.score=density"
        )
    return world_tables(known.world.finite, problem, context.negatives)
