"""The folder of one run: its identity and lock, its files, and whether the run is finished."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from jepa_scale.files import links_out, write_whole, written
from jepa_scale.records import Estimate, RunRecord
from jepa_scale.runs import code
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.identity import run_id
from jepa_scale.texts import first_line, parse_json, parse_yaml


class RunFolder:
    """A run's folder: ``config.yaml``, ``metrics.jsonl``, ``checkpoints/`` and, written last, ``record.json``.

    Each file names its run, and is refused if that is another run. ``expected`` is the id of the run that a study keeps
    here; without it, it is that of the folder's configuration.
    """

    def __init__(self, path: Path, expected: str | None = None) -> None:
        self.path, self._expected = path, expected

    @property
    def record_path(self) -> Path:
        """Path of the record, which exists once the run is finished."""
        return self.path / "record.json"

    @property
    def metrics_path(self) -> Path:
        """Path of the estimates of every epoch."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoint_path(self) -> Path:
        """Path of the latest checkpoint of the run's last stage, after an epoch or a step."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def pretrained_path(self) -> Path:
        """Path of the checkpoint of the first of two stages; the second never writes to it."""
        return self.path / "checkpoints" / "pretrained.ckpt"

    @property
    def error_path(self) -> Path:
        """Path of the traceback of the run's last failure; removed once the run is finished."""
        return self.path / "error.txt"

    def identity(self) -> str | None:
        """Id of the run that the folder belongs to; None if unknown."""
        if self._expected is not None:
            return self._expected
        config = self.peek_config()
        return None if config is None else _id_of(config)

    def check(self, config: Mapping[str, Any], accept_mixed: bool = False) -> None:
        """Check that the folder is new or belongs to this configuration, without writing anything.

        Raises
        ------
        UserError
            If the folder holds another configuration, files that are not a run's, or, unless ``accept_mixed``, results
            that other code has computed.
        """
        written = self.path / "config.yaml"
        if not written.exists():
            present = {item.name for item in self.path.iterdir()} if self.path.exists() else set()
            # A kill in the middle of the first write leaves the lock and a temporary file behind.
            ours = ("lock", "error.txt")
            strangers = sorted(name for name in present if name not in ours and not name.startswith(".config.yaml."))
            if strangers:
                raise UserError(f"{self.path} is not a run folder (no config.yaml, but {strangers[0]}): choose another")
            return
        try:
            content = parse_yaml(written.read_text(encoding="utf-8"))
            owner = run_id(content)
        except (ValueError, AttributeError, TypeError) as error:
            raise UserError(
                f"{written} cannot be read ({first_line(error)}): delete the folder and run again"
            ) from None
        if owner != run_id(config):
            raise UserError(
                f"{self.path} belongs to run {owner}, but this configuration is run {run_id(config)}: "
                "choose another folder, or delete that one"
            )
        differs = code.changed(content, config)
        if differs and not accept_mixed:
            raise UserError(f"{self.path} was computed by other code: {'; '.join(differs)}; {code.MIXED}")

    def claim(self, config: Mapping[str, Any], accept_mixed: bool = False) -> None:
        """Assign the folder to this configuration; call it while holding the lock.

        Settings outside a run's identity, such as its loggers, are replaced by the current ones.

        Raises
        ------
        UserError
            As ``check``.
        """
        written, text = self.path / "config.yaml", _to_yaml(config)
        if written.exists() and written.read_bytes() == text.encode():
            return
        self.check(config, accept_mixed)
        atomic_write(written, text)

    def read_config(self) -> dict[str, Any]:
        """Read and check the configuration that the folder was claimed for.

        Raises
        ------
        UserError
            If there is no configuration, it cannot be read, or this version cannot run it.
        """
        from jepa_scale.runs import config as settings
        from jepa_scale.runs import schema

        written = self.path / "config.yaml"
        try:
            config = parse_yaml(written.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{self.path}: expected the folder of a run, found no config.yaml in it") from None
        except ValueError as error:
            raise UserError(f"{written} cannot be read ({first_line(error)}): delete the folder") from None
        wrong = schema.problems(config) or settings.impossible(config)
        if wrong:
            raise UserError(f"{written}: {schema.why_unusable(config, wrong[0])}")
        return config

    def peek_config(self) -> dict[str, Any] | None:
        """Read the folder's configuration, unchecked and without torch; None if it is missing or cannot be read."""
        try:
            config = parse_yaml((self.path / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return config if isinstance(config, dict) else None

    @contextlib.contextmanager
    def locked(self, patience: float = 0.0) -> Iterator[None]:
        """Hold the run's lock; the operating system releases it when the process dies, however it dies.

        If another process holds the lock, wait ``patience`` seconds: a predecessor may still be dying.

        Raises
        ------
        UserError
            If another process is running this run, or the folder holds a link that leads out of it.
        """
        from filelock import FileLock, Timeout

        refuse_links(self.path)
        lock = FileLock(self.path / "lock")
        try:
            with written(self.path / "lock"):
                self.path.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=patience)
        except Timeout:
            raise UserError(f"{self.path} is being run by another process: wait for it, or stop it") from None
        try:
            yield
        finally:
            lock.release()

    def read_record(self) -> RunRecord | None:
        """Read the record; None while the run is unfinished.

        Raises
        ------
        UserError
            If the file is not a record of this project, or another run's.
        """
        try:
            text = self.record_path.read_bytes().decode("utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise self._corrupted(str(error)) from None
        try:
            record = record_from(parse_json(text))
        except (ValueError, TypeError, AttributeError) as error:
            raise self._corrupted(first_line(error)) from None
        owner = self.identity()
        if owner is not None and record.run_id != owner:
            raise UserError(
                f"{self.record_path} is the record of run {record.run_id}, expected that of run {owner}, to which the "
                "folder belongs: put the right file back, or delete it to run that run again"
            )
        return record

    def _corrupted(self, reason: str) -> UserError:
        return UserError(f"{self.record_path} is corrupted ({reason}): delete it to run that run again")

    def write_record(self, record: RunRecord) -> None:
        """Write ``record.json`` atomically."""
        text = json.dumps(missing_for_nan(record.to_dict()), indent=1, ensure_ascii=False, allow_nan=False)
        atomic_write(self.record_path, text + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """Read all estimates, the latest if an epoch was written twice; lines torn by a kill are left out.

        Raises
        ------
        UserError
            If the file belongs to another run.
        """
        latest: dict[tuple[str, int], dict[str, Any]] = {}
        if not self.metrics_path.exists():
            return []
        owner = self.identity()
        with self.metrics_path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                content = parsed_line(line)
                if isinstance(content, dict) and owner is not None and content.get("run_id", owner) != owner:
                    raise UserError(
                        f"{self.metrics_path} is of run {content['run_id']}, expected estimates of run {owner}, to "
                        "which the folder belongs: put the right file back, or delete the folder"
                    )
                latest.update({(row["name"], row["epoch"]): row for row in rows_of(content)})
        return list(latest.values())


def header(run: str) -> str:
    """First line of ``metrics.jsonl``, which names the run."""
    return json.dumps({"run_id": run}) + "\n"


def parsed_line(line: str | bytes) -> Any:
    """Parse a line of ``metrics.jsonl``; None if it is torn or damaged."""
    try:
        return parse_json(line)
    except ValueError:
        return None


def rows_of(content: Any) -> list[dict[str, Any]]:
    """Estimates on a line of ``metrics.jsonl``; anything else is left out."""
    if not isinstance(content, list):
        return []
    return [
        row if len(row) >= _ROW else {"value": None, "standard_error": None, "n": None, "step": 0, "flag": "", **row}
        for row in content
        if isinstance(row, dict) and isinstance(row.get("name"), str) and isinstance(row.get("epoch"), int)
    ]


_ROW = len(fields(Estimate))


def record_from(content: Any) -> RunRecord:
    """Build a record from the content of its file.

    Raises
    ------
    ValueError
        If the content is not a record, or its parts are inconsistent.
    """
    names = {field.name for field in fields(RunRecord)}
    # Fields with a default came later: records from before them are read too.
    needed = {field.name for field in fields(RunRecord) if field.default_factory is MISSING}
    if not isinstance(content, dict) or not needed <= set(content) <= names:
        raise ValueError("its fields are not those of a run record")
    record = RunRecord(**content)
    for name, right in _SHAPES.items():
        if not right(content.get(name, {})):
            raise ValueError(f"its {name} is not what a run writes")
    if _id_of(record.config) != record.run_id:
        raise ValueError("its run_id does not match its configuration")
    return record


def _numbers(value: Any) -> bool:
    """Whether a value is a mapping of numbers by name; missing ones (None) are allowed."""
    return isinstance(value, dict) and all(
        item is None or (isinstance(item, int | float) and not isinstance(item, bool)) for item in value.values()
    )


def _configures(value: Any) -> bool:
    groups = ("data", "model", "planner")
    return isinstance(value, dict) and all(isinstance(value.get(name), dict) for name in groups)


def _counts(value: Any) -> bool:
    needed = ("n", "k", "seed", "parameters", "flops_per_step")
    return _numbers(value) and all(isinstance(value.get(name), int) and value[name] < 2**63 for name in needed)


def _lists(value: Mapping[str, Any]) -> bool:
    """Whether a value is a mapping of lists of numbers by name."""
    return all(isinstance(item, list) and _numbers(dict(enumerate(item))) for item in value.values())


def _bounds(value: Any) -> bool:
    return isinstance(value, dict) and {"name", "label", "value", "vacuous", "applies", "hypotheses"} <= set(value)


_SHAPES: Mapping[str, Callable[[Any], bool]] = {
    "config": _configures,
    "status": lambda value: value in ("finished", "diverged"),
    "reason": lambda value: isinstance(value, str),
    "dials": _counts,
    "final": _numbers,
    "final_standard_errors": _numbers,
    "final_n": _numbers,
    "pretrained": _numbers,
    "pretrained_standard_errors": _numbers,
    "halfway": _numbers,
    "truth": lambda value: _numbers({name: item for name, item in value.items() if not _lists({name: item})}),
    "spectrum": lambda value: isinstance(value, dict) and _lists(value),
    "bounds": lambda value: not value or (isinstance(value, list) and all(map(_bounds, value))),
    "versions": lambda value: isinstance(value, dict),
    "times": lambda value: _numbers({name: item for name, item in value.items() if name != "finished_at"}),
    "protocol": lambda value: isinstance(value, dict),
}


def _id_of(config: Any) -> str | None:
    """Id of a configuration; None if the value is not one."""
    try:
        return run_id(config)
    except (AttributeError, TypeError, ValueError):
        return None


def _to_yaml(content: Mapping[str, Any]) -> str:
    import yaml

    # libyaml's, where PyYAML has it: a study of thousands of runs has as many configurations.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(dict(content), Dumper=dumper, sort_keys=False, allow_unicode=True))


def refuse_links(folder: Path) -> None:
    """Refuse to write into a folder that leads to other places.

    Raises
    ------
    UserError
        If the folder holds a symbolic link that leads out of it.
    """
    links = links_out(folder) if folder.is_dir() else []
    if links:
        more = f", and {len(links) - 1} more" if len(links) > 1 else ""
        raise UserError(
            f"{links[0]} is a symbolic link to {os.path.realpath(links[0])}, out of {folder}{more}: nothing is written "
            "through it; put a folder or file in its place, or move all of it and link the whole folder"
        )


def atomic_write(path: Path, text: str) -> None:
    """Write a text so that readers see either the old file or the new one, whatever happens in between.

    Raises
    ------
    NotWritten
        If the operating system refuses.
    """
    write_whole(path, text.encode())


def missing_for_nan(value: Any) -> Any:
    """Plain values with None for every number that is not finite, which JSON cannot represent."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: missing_for_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [missing_for_nan(item) for item in value]
    return value
