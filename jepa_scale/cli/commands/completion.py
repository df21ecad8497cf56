"""The ``completion`` command: print a script that completes commands, options, studies and settings in a shell."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Iterator, Mapping

GROUP = "learn"

_SHELLS = ("bash", "zsh", "fish")

_EPILOG = """\
examples:
  eval "$(jepa-scale completion bash)"         bash: put this line into ~/.bashrc
  eval "$(jepa-scale completion zsh)"          zsh: after compinit, in ~/.zshrc
  jepa-scale completion fish | source          fish: in ~/.config/fish/config.fish

The script holds the names of today's studies, configuration groups and keys; make it again after an update.
"""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "completion",
        help="print a script that completes commands, studies and settings in your shell",
        description="Print the completion script of a shell: commands, options, shipped studies, configuration groups.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=_SHELLS, help="the shell")
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Print the script."""
    from jepa_scale.cli.app import parser
    from jepa_scale.cli.completion import SHELLS, commands_of
    from jepa_scale.runs.config import compose, data_dir, groups
    from jepa_scale.runs.leaves import options

    studies = sorted(file.stem for file in data_dir("sweeps", "quickstart.yaml").glob("*.yaml"))
    settings = [f"{group}={option}" for group, leaves in groups().items() for option in leaves]
    settings += [f"{key}=" for key in _keys(compose([])) if not key.startswith("code.")]
    settings += [f"world.behaviour={option}" for option in options("behaviour")]
    launching = ["workers=", *_launcher_words()]
    words = {
        "sweep": studies,
        "overrides": settings,
        "study overrides": launching,
        "sweep overrides": launching,
        "forecaster": list(options("forecaster")),
        "law": list(options("law")),
    }
    print(SHELLS[parsed.shell](commands_of(parser(), words)), end="")
    return 0


def _launcher_words() -> list[str]:
    """Return the launchers, and the settings of all of them."""
    from jepa_scale.runs.leaves import options
    from jepa_scale.texts import parse_yaml

    leaves = options("launcher")
    contents = [parse_yaml(leaf.read_text(encoding="utf-8")) for leaf in leaves.values()]
    keys = dict.fromkeys(key for content in contents for key in content if not key.startswith("_"))
    return [*(f"launcher={name}" for name in leaves), *(f"launcher.{key}=" for key in keys)]


def _keys(content: Mapping[str, typing.Any], before: str = "") -> Iterator[str]:
    """Yield the dotted keys of the settings of a configuration."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{before}{key}.")
        elif not key.startswith("_") and (before or key == "seed"):
            yield f"{before}{key}"
