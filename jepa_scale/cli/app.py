"""Entry point of the command line: parse arguments, call the command, report errors."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import pkgutil
import sys
import typing
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import jepa_scale
from jepa_scale import trust
from jepa_scale.cli import commands
from jepa_scale.files import FULL, NotWritten
from jepa_scale.texts import cleaned

# Nothing heavy is imported up here, nor by the modules of commands: --help must not wait for torch.

_DESCRIPTION = "Scaling studies for JEPA world models, checked against worlds whose truth is computable."
_EPILOG = """\
examples:
  jepa-scale study                                       the quickstart: 102 runs, minutes on 2 cores, then a report
  jepa-scale study my_sweep.yaml workers=4               a study of your own, 4 processes
  jepa-scale advise studies/quickstart --n 20000         is that n sufficient, and which run to do next?
  jepa-scale audit embeddings.npz                        audit embeddings of a model trained elsewhere
  jepa-scale data episodes.h5                            inspect recorded episodes: content, action alignment
  jepa-scale train world=torus model.k=8 data.n=3000     one run
  jepa-scale sweep my_sweep.yaml launcher=slurm          run a study on a SLURM cluster

`jepa-scale COMMAND --help` has more. Overrides are Hydra's: group=option or key.path=value; `jepa-scale train --show`
prints every key.
"""


def parser() -> argparse.ArgumentParser:
    """Build the argument parser; every module of ``cli/commands`` adds one command."""
    top = argparse.ArgumentParser(
        prog="jepa-scale",
        usage="jepa-scale [-h] [--version] COMMAND ...",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"jepa-scale {jepa_scale.__version__}")
    # Listed by groups in the description instead.
    added = top.add_subparsers(dest="command", metavar="COMMAND", help=argparse.SUPPRESS, prog=top.prog)
    groups: dict[str, list[str]] = {group: [] for group in commands.GROUPS}
    for info in sorted(pkgutil.iter_modules(commands.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{commands.__name__}.{info.name}")
        module.add_parser(added).set_defaults(run=module.run)
        groups[getattr(module, "GROUP", "")].append(info.name)
    helps = {choice.dest: choice.help or "" for choice in added._choices_actions}
    top.description = "\n".join(
        [_DESCRIPTION, *(_listed(commands.GROUPS[group], names, helps) for group, names in groups.items())]
    ).rstrip()
    return top


def _listed(heading: str, names: Sequence[str], helps: Mapping[str, str]) -> str:
    """List the commands of a group, a line each; an empty text if it has none."""
    return "\n".join(["", f"{heading}:", *(f"  {name:<12}{helps[name]}" for name in names)]) if names else ""


def _refuse_unknown(top: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """End with a suggestion if the first word that is no option names no command."""
    word = next((word for word in words if not word.startswith("-")), None)
    known = next(action.choices for action in top._actions if isinstance(action, argparse._SubParsersAction))
    if word is None or word in known:
        return
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    top.exit(2, f"jepa-scale: error: no command {word!r}: {hint}jepa-scale --help lists all\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code; a user's mistake ends with one line and exit code 2."""
    top = parser()
    _refuse_unknown(top, sys.argv[1:] if arguments is None else arguments)
    parsed, rest = top.parse_known_args(arguments)
    # argparse leaves overrides over that come after an option.
    if any(text.startswith("-") for text in rest) or (rest and not hasattr(parsed, "overrides")):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if parsed.command is None:
        top.print_help()
        sys.exit(0)
    parsed.given = list(sys.argv[1:] if arguments is None else arguments)
    if rest:
        parsed.overrides = [*parsed.overrides, *rest]
    # Before numpy is loaded: a sum over several threads is not the same to the last bit as over one, and workers of a
    # study run on one. A run's own threads are trainer.threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.formatwarning = _formatted
    trust.allow(getattr(parsed, "allow", []))
    with cleaned():
        code = _called(parsed)
    sys.exit(code)


def _called(parsed: argparse.Namespace) -> int:
    """Run the parsed command and return its exit code; errors are reported in one line."""
    from jepa_scale.runs.errors import UserError

    try:
        if getattr(parsed, "config_dir", []):
            from jepa_scale.runs.leaves import add_folders

            add_folders(parsed.config_dir)
        return int(parsed.run(parsed))
    except (UserError, NotWritten) as error:
        return _refused(str(error))
    except BrokenPipeError:
        # Whoever reads our output has seen enough; Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno in FULL:
            place = error.filename or getattr(parsed, "folder", None) or Path.cwd()
            return _refused(f"{place}: no space is left on its disk: free some, and give the same command again")
        if error.filename is None:
            raise
        return _refused(f"{error.filename}: {error.strerror}: check that place, or choose another")
    except KeyboardInterrupt:
        after = "the same command " + ("goes on from here" if getattr(parsed, "resumes", False) else "starts again")
        print(f"\njepa-scale: interrupted; {after}", file=sys.stderr)
        return 130


def _refused(sentence: str) -> int:
    print(f"jepa-scale: error: {sentence}", file=sys.stderr)
    return 2


def _formatted(message: Warning | str, category: type[Warning], *place: typing.Any, **more: typing.Any) -> str:
    """Format a warning as one sentence, without the line of code that raised it."""
    kind = "" if category is UserWarning else f" ({category.__name__})"
    return f"jepa-scale: warning{kind}: {message}\n"
