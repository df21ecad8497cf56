"""Identity of the code that computes a run: this package's and that of each package its configuration names."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import jepa_scale
from jepa_scale.runs.errors import UserError

KEY = "code"
"""Entry of a resolved configuration: version, digest of the source, distribution and commit of each module."""

MIXED = "put the old code back, choose another folder, or add --accept-mixed to go on with both"
"""Advice of errors about changed code."""

_NUMBERS = (
    "callbacks",
    "data",
    "estimators",
    "models",
    "objectives",
    "planners",
    "runs",
    "theory",
    "training",
    "worlds",
)
"""Folders of this package that a run's numbers depend on; those for studies, laws and reports are left out."""


def code_of(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Identity of the code of a configuration's parts, as this process imports it."""
    modules = {target.partition(".")[0] for target in targets(config)} - {"jepa_scale"}
    environment = config["world"].get("environment")
    if isinstance(environment, str) and ":" in environment:
        modules.add(environment.partition(":")[0].partition(".")[0])
    return {"jepa_scale": dict(_own()), **{module: dict(_foreign(module)) for module in sorted(modules)}}


def targets(value: Any) -> Iterator[str]:
    """Every ``_target_`` in a configuration."""
    if isinstance(value, Mapping):
        if isinstance(value.get("_target_"), str):
            yield value["_target_"]
        for item in value.values():
            yield from targets(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from targets(item)


def changed(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """One sentence for each module whose code differs between two configurations; unknown code is left out."""
    before, after = recorded.get(KEY, {}), current.get(KEY, {})
    return [
        f"{module} {_shown(before[module])} → {_shown(after[module])}"
        for module in before
        if module in after and before[module].get("source") != after[module].get("source")
    ]


def check_code(config: Mapping[str, Any]) -> None:
    """Refuse to compute a run if its code is another copy, or was edited, since its configuration was composed.

    Raises
    ------
    UserError
        If a module's source differs.
    """
    differs = changed(config, {KEY: code_of(config)}) if KEY in config else []
    if differs:
        raise UserError(
            f"this process imports other code than the run was planned with: {'; '.join(differs)}; run the command "
            "again, in one environment"
        )


def label(config: Mapping[str, Any]) -> str:
    """Label of a configuration's code in one line, equal for equal code; empty if unknown."""
    return ", ".join(f"{module} {_shown(code)}" for module, code in config.get(KEY, {}).items())


def _shown(code: Mapping[str, str]) -> str:
    details = [f"commit {code['commit'][:10]}"] if "commit" in code else []
    details.append(f"source {code.get('source', 'unknown')}")
    return f"{code.get('version', 'without version')} ({', '.join(details)})"


@lru_cache(maxsize=4)
def source_of(*folders: str) -> str:
    """Digest of the source in folders of this package."""
    root = Path(jepa_scale.__file__).parent
    return _digest(root, [file for folder in folders for file in (root / folder).rglob("*.py")])


@lru_cache(maxsize=1)
def _own() -> dict[str, str]:
    entry = {"version": jepa_scale.__version__, "source": source_of(*_NUMBERS)}
    commit = _commit(Path(jepa_scale.__file__).parent.parent)
    return {**entry, "commit": commit} if commit else entry


@lru_cache(maxsize=64)
def _foreign(module: str) -> dict[str, str]:
    """Identity of a foreign module's whole package, as its numbers may come from any file in it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return {"source": "unknown"}
    origin = Path(spec.origin)
    root = origin.parent
    files = list(root.rglob("*.py")) if spec.submodule_search_locations else [origin]
    entry = {"source": _digest(root, files)}
    for name in metadata.packages_distributions().get(module, ())[:1]:
        entry |= {"distribution": name, "version": metadata.version(name)}
    return entry


def _digest(root: Path, files: list[Path]) -> str:
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return whole.hexdigest()[:12]


def _commit(root: Path) -> str:
    """Commit of the git checkout at a folder, read without git; empty for an installed package."""
    git = root / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        if (git / reference).is_file():
            return (git / reference).read_text(encoding="utf-8").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.partition(" ")[0] for line in packed if line.endswith(f" {reference}")), "")
    except (OSError, UnicodeDecodeError):
        return ""
