"""The folder of one run: who owns it, what is in it, and whether it is finished."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from jepa_scale.records import RunRecord
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.identity import run_id


class RunFolder:
    """``config.yaml``, ``metrics.jsonl``, ``checkpoints/`` and, last of all, ``record.json``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def record_path(self) -> Path:
        """Its existence says that the run is finished."""
        return self.path / "record.json"

    @property
    def metrics_path(self) -> Path:
        """Every epoch's estimates."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoint_path(self) -> Path:
        """State of the run's last stage, after an epoch or after a step of one."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def pretrained_path(self) -> Path:
        """The same of the first stage of two; what follows never writes to it."""
        return self.path / "checkpoints" / "pretrained.ckpt"

    @property
    def error_path(self) -> Path:
        """Traceback of the run's last failure; gone once the run is finished."""
        return self.path / "error.txt"

    def check(self, config: Mapping[str, Any]) -> None:
        """Check that the folder is new or belongs to this configuration, without writing anything.

        Raises
        ------
        UserError
            If the folder holds another configuration, or files that are not a run's.
        """
        import yaml

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
            held = run_id(_from_yaml(written.read_text(encoding="utf-8")))
        except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError) as error:
            raise UserError(
                f"{written} cannot be read ({type(error).__name__}): delete the folder and run again"
            ) from None
        if held != run_id(config):
            raise UserError(
                f"{self.path} belongs to run {held}, but this configuration is run {run_id(config)}: "
                "choose another folder, or delete that one"
            )

    def claim(self, config: Mapping[str, Any]) -> None:
        """Make the folder this configuration's; call it while holding the lock.

        What does not enter a run's identity, as where it reports to, is what it was asked for last.

        Raises
        ------
        UserError
            As ``check``.
        """
        written, text = self.path / "config.yaml", _to_yaml(config)
        if written.exists() and written.read_bytes() == text.encode():
            return
        self.check(config)
        atomic_write(written, text)

    def read_config(self) -> dict[str, Any]:
        """The configuration that the folder was claimed for.

        Raises
        ------
        UserError
            If there is none, it cannot be read, or this version cannot run it.
        """
        import yaml

        from jepa_scale.runs import config as settings
        from jepa_scale.runs import schema

        written = self.path / "config.yaml"
        try:
            config = _from_yaml(written.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{self.path}: expected the folder of a run, found no config.yaml in it") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{written} cannot be read ({type(error).__name__}): delete the folder") from None
        wrong = schema.problems(config) or settings.impossible(config)
        if wrong:
            raise UserError(f"{written} was written by another version, or by hand: {wrong[0]}")
        return config

    def peek_config(self) -> dict[str, Any] | None:
        """What the folder was claimed for, unchecked and without torch; None where that cannot be read, or not yet."""
        import yaml

        try:
            config = _from_yaml((self.path / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError):
            return None
        return config if isinstance(config, dict) else None

    @contextlib.contextmanager
    def locked(self, patience: float = 0.0) -> Iterator[None]:
        """Hold the run; the operating system lets go of it when the process dies, however it dies.

        One that is held is waited for ``patience`` seconds: a predecessor may still be dying.

        Raises
        ------
        UserError
            If another process is running this run.
        """
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / "lock")
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            raise UserError(f"{self.path} is being run by another process: wait for it, or stop it") from None
        try:
            yield
        finally:
            lock.release()

    def read_record(self) -> RunRecord | None:
        """Return the record, None while the run is unfinished.

        Raises
        ------
        UserError
            If the file is not a record of this project.
        """
        if not self.record_path.exists():
            return None
        try:
            content = json.loads(self.record_path.read_text(encoding="utf-8"))
            names = {field.name for field in fields(RunRecord)}
            # Fields with a default came later: records from before them are read too.
            needed = {field.name for field in fields(RunRecord) if field.default_factory is MISSING}
            if not isinstance(content, dict) or not needed <= set(content) <= names:
                raise ValueError("its fields are not those of a run record")
            record = RunRecord(**content)
            if run_id(record.config) != record.run_id:
                raise ValueError("its run_id does not match its configuration")
        except (ValueError, TypeError, OSError) as error:
            reason = f"{error}".splitlines()[0]
            raise UserError(f"{self.record_path} is corrupted ({reason}): delete it to run that run again") from None
        return record

    def write_record(self, record: RunRecord) -> None:
        """Write ``record.json`` whole or not at all."""
        text = json.dumps(missing_for_nan(record.to_dict()), indent=1, ensure_ascii=False, allow_nan=False)
        atomic_write(self.record_path, text + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return every estimate, the last where an epoch was written twice; a line torn by a kill is left out."""
        latest: dict[tuple[str, int], dict[str, Any]] = {}
        if not self.metrics_path.exists():
            return []
        for line in self.metrics_path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                latest.update({(row["name"], row["epoch"]): row for row in json.loads(line)})
            except (json.JSONDecodeError, TypeError, KeyError):
                continue
        return list(latest.values())


def _to_yaml(content: Mapping[str, Any]) -> str:
    import yaml

    # libyaml's, where PyYAML has it: a study of thousands of runs has as many configurations.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(dict(content), Dumper=dumper, sort_keys=False, allow_unicode=True))


def _from_yaml(text: str) -> Any:
    import yaml

    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def atomic_write(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, whatever happens in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def missing_for_nan(value: Any) -> Any:
    """Plain values with None for every number that is not finite, which JSON has not."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: missing_for_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [missing_for_nan(item) for item in value]
    return value
