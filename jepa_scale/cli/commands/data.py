"""The ``data`` command: the card of recorded episodes, and their conversion."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

from jepa_scale.cli.common import add_decision, add_output, check_decision, command_line, without, write_decision

GROUP = "inspect"

if typing.TYPE_CHECKING:
    from jepa_scale.cli.answers import Data
    from jepa_scale.data.card.record import DataCard
    from jepa_scale.data.enough.answer import Enough
    from jepa_scale.records import Episodes

_DATA = """\
PATH is a file or folder of any format that is known: a store, LeWM, stable-worldmodel (HDF5, Lance, folder), LeRobot,
Minari, D4RL, OGBench, robomimic, LIBERO, ALOHA, Zarr of diffusion policy, DINO-WM, .csv, .parquet, .arrow or .npz.

The card: episodes, copies, gaps and ranges; what the policy does; what actions explain of the next observation; how
far the recording reaches; whether each row holds the action that leads to the next. The exit code is 1 if something
would ruin training (actions shifted, observations that never change, most transitions lost), else 0.

examples:
  jepa-scale data pusht_expert_train.h5                       print the card
  jepa-scale data my_dataset --enough                         would twice the data help? a minute, nothing is trained
  jepa-scale data my_dataset --page cards/my_dataset          write it as a page with figures, and as JSON
  jepa-scale data my_dataset --observation observation.state,observation.environment_state    join several features
  jepa-scale data runs.csv --observation 'x*' --action 'a*'   columns by pattern
  jepa-scale data episodes.npz --frameskip 5 --to train.h5    convert to a store that is read without loading it
"""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "data",
        help="the card of recorded episodes: content, policy, coverage, alignment; convert them",
        description="Read recorded episodes of any known format, describe them and check what would ruin training.",
        epilog=_DATA,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="file or folder of recorded episodes")
    parser.add_argument("--to", type=Path, metavar="OUT.h5", help="write the episodes to an HDF5 store")
    parser.add_argument(
        "--page", type=Path, metavar="FOLDER", help="write the card as a page with figures, and as JSON"
    )
    parser.add_argument(
        "--enough",
        action="store_true",
        help="say whether twice the data would lower the prediction error of held-out episodes",
    )
    parser.add_argument(
        "--worthwhile",
        type=float,
        metavar="SHARE",
        help="share of the error that twice the data must remove to be worth recording (default: 0.05); with --enough",
    )
    parser.add_argument("--format", default="auto", help="name of the format (default: detected)")
    parser.add_argument(
        "--observation", metavar="NAME", help="column, part or feature to read as the observation; several: a,b or a*"
    )
    parser.add_argument("--action", metavar="NAME", help="column, part or feature to read as the action; likewise")
    parser.add_argument("--layout", metavar="NAME", help="layout of Overcooked whose trials are read")
    parser.add_argument(
        "--frameskip", type=int, default=1, metavar="F", help="recorded steps merged into one step (default: 1)"
    )
    parser.add_argument(
        "--allow-pickle", action="store_true", help="open pickle files, which runs the code that they contain"
    )
    add_decision(parser)
    parser.add_argument("--verify", action="store_true", help="verify the checksum of a store")
    parser.add_argument("--seed", type=int, default=0, help="seed of the rows that are looked at (default: 0)")
    add_output(parser)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Read episodes, print their card, and convert them; exit code 1 if training on them would be pointless."""
    from jepa_scale.cli.output import Output
    from jepa_scale.data.card.card import data_card
    from jepa_scale.data.enough.answer import WORTHWHILE, enough
    from jepa_scale.data.external.detect import read_episodes
    from jepa_scale.data.frameskip import frameskip
    from jepa_scale.data.store import write_episodes
    from jepa_scale.report.decision import digest_of
    from jepa_scale.report.recording.page import decision_page, write_card
    from jepa_scale.runs.errors import UserError

    _check(parsed)
    check_decision(parsed.decision)
    options = {name: getattr(parsed, name) for name in ("observation", "action", "layout", "allow_pickle", "verify")}
    # An empty name is one that no column has, and is refused as such.
    settings = {name: value for name, value in options.items() if value not in (None, False)}
    written: list[tuple[str, Path]] = []
    try:
        episodes = read_episodes(parsed.path, parsed.format, **settings)
        # Before steps are put together: the recorder's rows are what may be shifted.
        card = data_card(episodes, parsed.seed)
        stepped = frameskip(episodes, parsed.frameskip)
        answer, why_not = None, ""
        if parsed.enough and card.ruined:
            why_not = next(finding.sentence for finding in card.findings if finding.ruins)
        elif parsed.enough:
            try:
                share = WORTHWHILE if parsed.worthwhile is None else parsed.worthwhile
                with Output(parsed).steps() as step:
                    answer = enough(stepped, share, parsed.seed, step)
            except ValueError as error:
                # The card stands without it.
                why_not = str(error)
        if parsed.to is not None:
            written.append(("store", write_episodes(stepped, parsed.to)))
        if parsed.page is not None:
            written.append(("page", write_card(card, parsed.page, answer, why_not)))
        if parsed.decision is not None:
            page = decision_page(card, answer, why_not, command_line(parsed.given), digest_of(parsed.path))
            write_decision(parsed.decision, page)
            written.append(("decision", parsed.decision))
    except ValueError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        if error.filename is not None:
            raise
        # What HDF5 says of a file that is none of its own names no file.
        cause = str(error).splitlines()[0]
        raise UserError(
            f"{parsed.path}: expected recorded episodes, got a file that cannot be read ({cause}): give another file, "
            "or its --format"
        ) from None
    _end(parsed, _Read(card, answer, why_not, stepped), written)
    return 1 if card.ruined else 0


class _Read(typing.NamedTuple):
    """What was found in a recording."""

    card: DataCard
    enough: Enough | None
    why_not: str
    """Why there is no answer whether it is enough, where that was asked."""
    stepped: Episodes
    """The episodes at the frame skip."""


def _check(parsed: argparse.Namespace) -> None:
    from jepa_scale.report.page.files import check_writable
    from jepa_scale.runs import limits
    from jepa_scale.runs.errors import UserError

    limits.check_option("--seed", parsed.seed, 0, limits.LARGEST)
    limits.check_option("--frameskip", parsed.frameskip, 1, limits.LARGEST)
    if parsed.worthwhile is not None:
        if not parsed.enough:
            raise UserError("--worthwhile is for --enough: add that, or leave this out")
        if not 0 < parsed.worthwhile < 1:
            raise UserError(f"--worthwhile: expected a share above 0 and below 1, got {parsed.worthwhile:g}")
    if parsed.to is not None and parsed.to.exists() and parsed.to.resolve() == parsed.path.resolve():
        raise UserError(f"{parsed.to} is the file that is read: give another --to")
    if parsed.page is None:
        return
    if parsed.page.exists() and not parsed.page.is_dir():
        raise UserError(f"{parsed.page} is a file: give another --page, the card and its figures go there")
    if parsed.page.resolve() == parsed.path.resolve():
        raise UserError(f"{parsed.page} is what is read: give another --page")
    try:
        check_writable(parsed.page)
    except OSError as error:
        raise UserError(
            f"{parsed.page}: expected a place to write the card, got {error.strerror}: give --page"
        ) from None


def _end(parsed: argparse.Namespace, read: _Read, written: list[tuple[str, Path]]) -> None:
    from jepa_scale.cli.output import Ending, Output
    from jepa_scale.report.recording.enough import enough_lines
    from jepa_scale.report.recording.lines import heading

    card = read.card
    ruins = [f"✗ {finding.sentence}" for finding in card.findings if finding.ruins]
    said = [] if read.enough is None else enough_lines(read.enough)
    sound = "Something would ruin training." if ruins else "Nothing was found that would ruin training."
    verdict = f"NOT ANSWERED whether it is enough: {read.why_not}." if read.why_not else said[0] if said else sound
    notes = [*said[1:], "; ".join(heading(card)), *(one.sentence for one in card.findings if not one.ruins)]
    notes += [] if card.alignment.refuses else [card.alignment.sentence]
    notes += [*card.notes, *(_at_the_frameskip(read) if parsed.frameskip > 1 else [])]
    ending = Ending(verdict, notes, [_table(card)], ruins, dict(written), **_following(parsed, read))

    def answer() -> Data:
        import json

        from jepa_scale.cli import answers
        from jepa_scale.report.recording.page import card_json

        return answers.Data(
            **ending.fields(),
            status="ruined" if card.ruined else "sound",
            card=json.loads(card_json(card, read.enough, read.why_not)),
        )

    Output(parsed).end(ending, answer)


def _at_the_frameskip(read: _Read) -> list[str]:
    lengths = read.stepped.lengths
    return [
        f"at the frameskip: {len(lengths)} episodes of {lengths.min()} to {lengths.max()} rows, "
        f"{read.stepped.transitions} transitions",
        *read.stepped.notes[len(read.card.notes) :],
    ]


def _table(card: DataCard) -> typing.Any:
    from rich.table import Table

    from jepa_scale.report.recording.lines import key_numbers

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in key_numbers(card):
        table.add_row(name, value)
    return table


def _following(parsed: argparse.Namespace, read: _Read) -> dict[str, str]:
    """Return the command after the card, or why there is none, as ``Ending`` takes them."""
    import shlex

    if read.card.ruined:
        return {"no_next": "mend what is marked ✗, or read other columns (--observation, --action), first"}
    if read.enough is None and not read.why_not:
        kept = without(parsed.given, {"--to": 1, "--page": 1, "--decision": 1})
        return {"next_command": shlex.join(["jepa-scale", *kept, "--enough"])}
    if parsed.observation or parsed.action or parsed.format != "auto" or parsed.layout or parsed.allow_pickle:
        return {"no_next": "train reads the columns by world.observation=… and so on: docs, Recordings"}
    # A tenth each to be held out and to test on, at least 32 pieces of the 20 steps that are a run's default.
    transitions = read.stepped.transitions
    part = max(transitions // 10, 32 * 20)
    if transitions < 4 * part:
        return {"no_next": f"{transitions} transitions are too few to train on, to hold out and to test: record more"}
    words = ["jepa-scale", "train", "world=recorded", f"world.path={parsed.path}", "planner=none", "model.k=8"]
    words += [f"data.n={transitions - 3 * part}", f"data.heldout={part}", f"data.test={part}"]
    return {"next_command": shlex.join(words)}
