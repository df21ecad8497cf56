"""Completion scripts of shells, made from the parsers, the shipped studies and the configuration groups."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """An option of a command."""

    flags: tuple[str, ...]
    what: str
    takes: bool
    """Whether a value follows."""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """What can follow a command."""

    name: str
    what: str
    options: tuple[Option, ...]
    words: tuple[str, ...]
    """Words beside options and files: study names, ``group=option`` and ``key=``."""


def commands_of(top: argparse.ArgumentParser, words: Mapping[str, Sequence[str]]) -> list[Command]:
    """Return the commands of a parser.

    ``words`` are those of arguments by their names in the parser, as ``overrides``, or for one command alone, as
    ``sweep overrides``.
    """
    (action,) = [one for one in top._actions if isinstance(one, argparse._SubParsersAction)]
    helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
    return [
        Command(
            name,
            helps.get(name, ""),
            tuple(_option(one, words.get(one.dest, ())) for one in parser._actions if one.option_strings),
            tuple(
                word
                for one in parser._actions
                if not one.option_strings
                for word in (
                    *words.get(one.dest, ()),
                    *words.get(f"{name} {one.dest}", ()),
                    *map(str, one.choices or ()),
                )
            ),
        )
        for name, parser in action.choices.items()
    ]


def _option(action: argparse.Action, words: Sequence[str]) -> Option:
    expanded = {"default": action.default, "choices": action.choices, "prog": "jepa-scale", "type": action.type}
    what = " ".join(((action.help or "") % expanded).split())
    choices = tuple(map(str, action.choices or (words if action.nargs != 0 else ())))
    return Option(tuple(action.option_strings), what, action.nargs != 0, choices)


_BASH = """\
# bash completion of jepa-scale: eval "$(jepa-scale completion bash)"
_jepa_scale() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="" key="" command="" words="" options="" word
    if ((COMP_CWORD > 0)); then prev="${{COMP_WORDS[COMP_CWORD - 1]}}"; fi
    # '=' breaks words: what stands before it is put in front again while words are looked for.
    if [[ $cur == "=" ]]; then key="$prev="; cur=""
    elif [[ $prev == "=" ]] && ((COMP_CWORD > 1)); then key="${{COMP_WORDS[COMP_CWORD - 2]}}="; fi
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD - 1}}"; do
        if [[ $word != -* ]]; then command="$word"; break; fi
    done
    COMPREPLY=()
    if [[ -z $command ]]; then
        COMPREPLY=($(compgen -W {commands} -- "$cur"))
        return
    fi
    case "$command $prev" in
{values}
    esac
    case "$command" in
{cases}
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
    else
        COMPREPLY=($(compgen -W "$words" -- "$key$cur"))
        if [[ -n $key ]]; then COMPREPLY=("${{COMPREPLY[@]#"$key"}}")
        else COMPREPLY+=($(compgen -f -- "$cur")); fi
    fi
    if [[ ${{#COMPREPLY[@]}} == 1 && ${{COMPREPLY[0]}} == *= ]]; then compopt -o nospace 2>/dev/null; fi
}}
complete -o filenames -F _jepa_scale jepa-scale
"""


def bash(commands: Sequence[Command]) -> str:
    """Return the script for bash."""
    cases, values = [], []
    for command in commands:
        flags = " ".join(flag for option in command.options for flag in option.flags)
        words = shlex.quote(" ".join(command.words))
        cases.append(f"        {command.name}) options={shlex.quote(flags)} words={words} ;;")
        for option in command.options:
            if option.choices:
                patterns = "|".join(shlex.quote(f"{command.name} {flag}") for flag in option.flags)
                choices = shlex.quote(" ".join(option.choices))
                values.append(f'        {patterns}) COMPREPLY=($(compgen -W {choices} -- "$cur")); return ;;')
    names = shlex.quote(" ".join(command.name for command in commands))
    return _BASH.format(commands=names, values="\n".join(values), cases="\n".join(cases))


_ZSH = """\
#compdef jepa-scale
# zsh completion of jepa-scale: eval "$(jepa-scale completion zsh)", or save it as _jepa-scale in a folder of $fpath.
_jepa_scale() {{
    local -a commands options plain open
    local word command=""
    commands=(
{commands}
    )
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        if [[ $word != -* ]]; then command="$word"; break; fi
    done
    if [[ -z $command ]]; then
        _describe -t commands command commands
        return
    fi
    case "$command ${{words[CURRENT-1]}}" in
{values}
    esac
    case "$command" in
{cases}
    esac
    if [[ $PREFIX == -* ]]; then
        _describe -o -t options option options
    else
        compadd -a plain
        compadd -S '' -a open
        _files
    fi
}}
compdef _jepa_scale jepa-scale
"""


def zsh(commands: Sequence[Command]) -> str:
    """Return the script for zsh."""
    cases, values = [], []
    for command in commands:
        options = " ".join(_described(flag, option.what) for option in command.options for flag in option.flags)
        plain = " ".join(shlex.quote(word) for word in command.words if not word.endswith("="))
        opened = " ".join(shlex.quote(word) for word in command.words if word.endswith("="))
        cases.append(f"        {command.name}) options=({options}) plain=({plain}) open=({opened}) ;;")
        for option in command.options:
            if option.choices:
                patterns = "|".join(shlex.quote(f"{command.name} {flag}") for flag in option.flags)
                values.append(f"        {patterns}) compadd -- {' '.join(map(shlex.quote, option.choices))}; return ;;")
    names = "\n".join(f"        {_described(command.name, command.what)}" for command in commands)
    return _ZSH.format(commands=names, values="\n".join(values), cases="\n".join(cases))


def _described(name: str, what: str) -> str:
    return shlex.quote(f"{name}:{what}".replace("\\", "\\\\").replace(":", "\\:").replace("\\:", ":", 1))


def fish(commands: Sequence[Command]) -> str:
    """Return the script for fish."""
    lines = ["# fish completion of jepa-scale: jepa-scale completion fish | source"]
    for command in commands:
        lines.append(f"complete -c jepa-scale -n __fish_use_subcommand -a {command.name} -d {_fish(command.what)}")
    for command in commands:
        start = f"complete -c jepa-scale -n '__fish_seen_subcommand_from {command.name}'"
        for option in command.options:
            flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
            value = f" -x -a {_fish(' '.join(option.choices))}" if option.choices else " -r" if option.takes else ""
            lines.append(f"{start} {flags}{value} -d {_fish(option.what)}")
        if command.words:
            lines.append(f"{start} -a {_fish(' '.join(command.words))}")
    return "\n".join(lines) + "\n"


def _fish(text: str) -> str:
    """Quote as fish does: inside single quotes only these two are special."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


SHELLS: Mapping[str, Callable[[Sequence[Command]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
"""Scripts by shell."""
