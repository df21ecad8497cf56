"""Pages of the reference, made from what the program itself reads: parsers, configuration, schema, declarations."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from typing import Any

import yaml
from tables import ROOT

from jepa_scale.cli import answers
from jepa_scale.cli.app import parser as command_line
from jepa_scale.records import RunTable
from jepa_scale.records.estimates import ESTIMATES
from jepa_scale.records.quantities import BY_NAME


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines] + [""]


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of every command."""
    (action,) = [one for one in command_line()._actions if isinstance(one, argparse._SubParsersAction)]
    return dict(action.choices)


def command_page() -> str:
    """Return the reference of all commands."""
    parsers = commands()
    (action,) = [one for one in command_line()._actions if isinstance(one, argparse._SubParsersAction)]
    helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
    lines = ["# Command line", "", "`jepa-scale COMMAND --help` prints the same text.", ""]
    lines += _table(["command", "what it does"], [[f"[`{name}`](#{name})", helps.get(name, "")] for name in parsers])
    for name, one in parsers.items():
        usage = _usage(one)
        lines += [
            f"## {name} {{ #{name} }}",
            "",
            one.description or helps.get(name, ""),
            "",
            "```text",
            usage,
            "```",
            "",
        ]
        rows = [[_argument(a), (a.help or "") % _expanded(a)] for a in one._actions if a.dest != "help"]
        lines += _table(["argument", "meaning"], rows) if rows else []
        if one.epilog:
            lines += ["```text", one.epilog.strip(), "```", ""]
    return "\n".join(lines)


def _usage(one: argparse.ArgumentParser) -> str:
    """A command's usage, in lines that fit the page, without the help that every command has."""
    words = re.findall(r"\[[^\[\]]*(?:\[[^\]]*\][^\[\]]*)*\]|\S+", one.format_usage().removeprefix("usage:"))
    lines = [""]
    for word in (" ".join(word.split()) for word in words if word != "[-h]"):
        if lines[-1] and len(lines[-1]) + len(word) > 78:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


def _expanded(action: argparse.Action) -> dict[str, Any]:
    return {"default": action.default, "prog": "jepa-scale", "type": action.type, "choices": action.choices}


def _argument(action: argparse.Action) -> str:
    choices = "{" + ", ".join(map(str, action.choices)) + "}" if action.choices else ""
    value = action.metavar or choices or action.dest.upper()
    shown = " ".join(value) if isinstance(value, tuple) else str(value)
    shown = f"{shown} …" if action.nargs in ("*", "+") else shown
    if not action.option_strings:
        return f"`{shown}`"
    names = ", ".join(action.option_strings)
    return f"`{names}`" if action.nargs == 0 else f"`{names} {shown}`"


def configuration_page() -> str:
    """Return every option of every configuration group, with its settings and defaults."""
    lines = [
        "# Configuration groups",
        "",
        "`jepa-scale train GROUP=OPTION key=value` composes a run from these files of `conf/`; `jepa-scale train "
        "--show` prints the result. A value after a key is its default. Settings that a class declares beyond those "
        "listed here may be given as well.",
        "",
        "## Defaults of a run { #config }",
        "",
        "```yaml",
        (ROOT / "conf" / "config.yaml").read_text(encoding="utf-8").strip(),
        "```",
        "",
    ]
    for group in sorted(path for path in (ROOT / "conf").iterdir() if path.is_dir()):
        options = sorted(group.glob("*.yaml"))
        lines += [f"## {group.name} {{ #{group.name} }}", ""]
        lines += ["Options: " + ", ".join(f"[`{one.stem}`](#{group.name}-{one.stem})" for one in options) + ".", ""]
        for option in options:
            lines += [
                f"### {group.name}={option.stem} {{ #{group.name}-{option.stem} }}",
                "",
                *_summary(option),
                "```yaml",
            ]
            lines += [option.read_text(encoding="utf-8").strip(), "```", ""]
    return "\n".join(lines)


def _summary(option: Any) -> list[str]:
    """First line of the docstring of the class that an option names."""
    content = yaml.safe_load(option.read_text(encoding="utf-8"))
    target = content.get("_target_", "") if isinstance(content, dict) else ""
    module, _, name = target.rpartition(".")
    path = ROOT / (module.replace(".", "/") + ".py")
    if not path.exists():
        return []
    found = re.search(
        rf'^(?:class|def) {name}\b.*?:\n    (?:r|)"""(.*?)(?:\n|""")', path.read_text("utf-8"), re.M | re.S
    )
    return [found[1], ""] if found else []


def schema_page() -> str:
    """Return the keys of a study file, from its JSON schema."""
    schema = json.loads((ROOT / "sweeps" / "study.schema.json").read_text(encoding="utf-8"))
    lines = [
        "# Study file",
        "",
        "The keys of `study.yaml`, from `sweeps/study.schema.json`. An editor completes and checks a file that begins "
        "with `# yaml-language-server: $schema=study.schema.json`. [Your own study](../how-to/own-study.md) explains "
        "them by an example.",
        "",
        *_properties(schema),
    ]
    for name, part in schema["$defs"].items():
        if part.get("properties"):
            lines += [f"## {name} {{ #{name.lower()} }}", "", part.get("description", "").replace("``", "`"), ""]
            lines += _properties(part)
    return "\n".join(lines)


def _properties(part: dict[str, Any]) -> list[str]:
    required = set(part.get("required", []))
    rows = [
        [f"`{key}`", _kind(one), "required" if key in required else f"`{json.dumps(one.get('default'))}`", _said(one)]
        for key, one in part["properties"].items()
    ]
    return _table(["key", "type", "default", "expected"], rows)


def _said(one: dict[str, Any]) -> str:
    return str(one.get("description", "")).replace("``", "`")


def _kind(one: dict[str, Any]) -> str:
    if "$ref" in one:
        name = one["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if one.get("type") == "array" and "$ref" in one.get("items", {}):
        return f"list of {_kind(one['items'])}"
    if "const" in one:
        return f"`{one['const']}`"
    if "enum" in one:
        return " or ".join(f"`{value}`" for value in one["enum"])
    kinds = [_kind(part) for part in (*one.get("anyOf", ()), *one.get("oneOf", ()))]
    if kinds:
        return " or ".join(dict.fromkeys(kinds))
    kind = one.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


_JSON = """\
# JSON output

Every command that reads runs, tables, checkpoints or recordings takes `--json` and then prints one JSON object on the
standard output and nothing else there; steps and warnings go to the standard error, and the exit code is the same as
without it. A number that is missing or not finite is `null`.
`jepa-scale status --watch --json` prints one object on a line whenever something has changed.
"""


def json_page() -> str:
    """Return the shape of what each command prints with ``--json``."""
    shared = answers.Answer.model_json_schema()
    lines = [_JSON, "## Every answer { #answer }", "", str(answers.Answer.__doc__), "", *_properties(shared)]
    parts: dict[str, dict[str, Any]] = {}
    for shape in sorted(answers.Answer.__subclasses__(), key=lambda one: one.__name__):
        schema = shape.model_json_schema()
        parts |= schema.get("$defs", {})
        own = {name: one for name, one in schema["properties"].items() if name not in shared["properties"]}
        lines += [f"## {shape.__name__} {{ #{shape.__name__.lower()} }}", "", str(shape.__doc__), ""]
        lines += _properties({**schema, "properties": own}) if own else []
    for name, part in sorted(parts.items()):
        title = f"{name} (part)"
        lines += [f"## {title} {{ #{name.lower()} }}", "", part.get("description", ""), "", *_properties(part)]
    return "\n".join(lines)


def glossary_tables() -> str:
    """Return every declared quantity: columns of a study's table, then estimates of every epoch."""
    lines = ["## Columns of a study's table { #columns }", ""]
    for name, what in RunTable.COLUMNS.items():
        lines += _entry(name, what, "", BY_NAME[name].better if name in BY_NAME else "")
    lines += ["", "## Estimates of every epoch { #estimates }", ""]
    for kind in ESTIMATES:
        lines += _entry(kind.pattern, kind.what, kind.unit, kind.better)
    return "\n".join(lines)


def _entry(name: str, what: str, unit: str, better: str) -> Iterator[str]:
    notes = "; ".join(note for note in (unit and f"unit: {unit}", better and f"{better} is better") if note)
    yield f"`{name}`"
    yield f":   {_cell(what)}" + (f" *({notes})*" if notes else "")
    yield ""


def python_page() -> str:
    """Return the page of the public names, whose text mkdocstrings takes from the docstrings."""
    import jepa_scale

    places = jepa_scale._PLACES
    lines = ["# Python", "", "`import jepa_scale` takes milliseconds; each name is imported when it is first used.", ""]
    for name in jepa_scale.__all__:
        if name in places:
            lines += [f"::: jepa_scale.{places[name]}.{name}", "    options:", "      heading_level: 2"]
            lines += [f"      heading: jepa_scale.{name}", f"      toc_label: {name}", ""]
    for module in ("callbacks", "metrics", "testing"):
        lines += [f"## jepa_scale.{module} {{ #{module} }}", ""]
        for public in __import__(f"jepa_scale.{module}", fromlist=["__all__"]).__all__:
            lines += [f"::: jepa_scale.{module}.{public}", "    options:", "      heading_level: 3", ""]
    return "\n".join(lines)


def studies_page() -> str:
    """Return the studies that are shipped, with their questions."""
    lines = ["# Shipped studies", "", "`jepa-scale study NAME` runs one; `sweeps/NAME.yaml` is its file.", ""]
    rows = []
    for path in sorted((ROOT / "sweeps").glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows.append([f"`{path.stem}`", " ".join(content["question"].split()), _grid(content)])
    lines += _table(["study", "question", "grid"], rows)
    rows = []
    for path in sorted((ROOT / "sweeps" / "library").glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows.append([f"`sweeps/library/{path.name}`", " ".join(content["question"].split()), _grid(content)])
    lines += ["## The library of small studies", "", "Forecasters are scored on these.", ""]
    return "\n".join([*lines, *_table(["file", "question", "grid"], rows)])


def _grid(content: dict[str, Any]) -> str:
    dials = content["dials"].items()
    sizes = [f"{len(value['values'] if isinstance(value, dict) else value)} {key}" for key, value in dials]
    sizes += [f"{len(values)} {key}" for key, values in content.get("arms", {}).items()]
    return " × ".join([*sizes, f"{len(content['seeds'])} seeds"])
