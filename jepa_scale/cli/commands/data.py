"""The ``data`` command: inspect, check and convert recorded episodes."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

_DATA = """\
PATH is a store, a LeWM or stable-worldmodel .h5, a Minari, LeRobot or DINO-WM folder, OGBench's or a plain .npz.

examples:
  jepa-scale data pusht_expert_train.h5                       print format, shapes and episodes; check alignment
  jepa-scale data my_dataset --observation observation.state  read this feature as the observation
  jepa-scale data episodes.npz --frameskip 5 --to train.h5    convert to a store that is read without loading it
"""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "data",
        help="inspect recorded episodes, check their actions, convert them",
        description="Read recorded episodes of any known format, summarise them and check whether actions are aligned.",
        epilog=_DATA,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="file or folder of recorded episodes")
    parser.add_argument("--to", type=Path, metavar="OUT.h5", help="write the episodes to an HDF5 store")
    parser.add_argument("--format", default="auto", help="name of the format (default: detected)")
    parser.add_argument("--observation", metavar="NAME", help="column, part or feature to read as the observation")
    parser.add_argument("--action", metavar="NAME", help="column, part or feature to read as the action")
    parser.add_argument(
        "--frameskip", type=int, default=1, metavar="F", help="recorded steps merged into one step (default: 1)"
    )
    parser.add_argument(
        "--allow-pickle", action="store_true", help="open pickle files, which runs the code that they contain"
    )
    parser.add_argument("--verify", action="store_true", help="verify the checksum of a store")
    parser.add_argument("--seed", type=int, default=0, help="seed of the rows that are checked (default: 0)")
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Read and check episodes, print a summary, and convert them; exit code 1 if actions look misaligned."""
    from jepa_scale.data.external.detect import read_episodes
    from jepa_scale.data.frameskip import frameskip
    from jepa_scale.data.probe import alignment
    from jepa_scale.data.store import write_episodes
    from jepa_scale.runs import limits
    from jepa_scale.runs.errors import UserError
    from jepa_scale.terminal import Console

    limits.check_option("--seed", parsed.seed, 0, limits.LARGEST)
    limits.check_option("--frameskip", parsed.frameskip, 1, limits.LARGEST)
    if parsed.to is not None and parsed.to.exists() and parsed.to.resolve() == parsed.path.resolve():
        raise UserError(f"{parsed.to} is the file that is read: give another --to")
    options = {name: getattr(parsed, name) for name in ("observation", "action", "allow_pickle", "verify")}
    console = Console()
    try:
        # An empty name is one that no column has, and is refused as such.
        settings = {name: value for name, value in options.items() if value not in (None, False)}
        episodes = read_episodes(parsed.path, parsed.format, **settings)
        # Before steps are put together: a shift by one row is one of the recorder's rows.
        probe = alignment(episodes, parsed.seed)
        episodes = frameskip(episodes, parsed.frameskip)
        for line in _lines(episodes):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        for note in (*episodes.notes, probe.sentence):
            console.print(f"• {note}", highlight=False, markup=False, soft_wrap=True)
        if parsed.to is not None:
            written = write_episodes(episodes, parsed.to)
            console.print(f"store: {written}", highlight=False, markup=False, soft_wrap=True)
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
    return 1 if probe.status == "misaligned" else 0


def _lines(episodes: typing.Any) -> list[str]:
    space, seen = episodes.action_space, episodes.observations
    kind = "images" if seen.dtype == "uint8" else "vectors"
    actions = (
        f"{space.count} discrete actions"
        if space.discrete
        else f"actions of {space.size} coordinates in [{space.low:.3g}, {space.high:.3g}]"
    )
    lengths = episodes.lengths
    return [
        episodes.source,
        f"{len(lengths)} episodes of {lengths.min()} to {lengths.max()} rows, {episodes.transitions} transitions",
        f"{kind} {'×'.join(str(size) for size in seen.shape[1:])}, {actions}"
        + ("" if episodes.states is None else f", states of {episodes.states.shape[1]} numbers"),
    ]
