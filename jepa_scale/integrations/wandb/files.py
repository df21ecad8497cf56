"""Reading offline W&B runs from their files; W&B's own readers all need a server."""

from __future__ import annotations

import importlib
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jepa_scale.foreign import reading
from jepa_scale.runs.errors import UserError

_BLOCK = 32768
"""Bytes of a block in LevelDB's log format, in which the files are written."""
_FILE_HEADER, _PIECE_HEADER = 7, 7
_MAGIC = b":W&B"
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass(frozen=True)
class WandbRun:
    """Data that W&B stores for one run."""

    run_id: str
    project: str
    group: str
    job_type: str
    name: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    """Logged rows, in order."""
    summary: Mapping[str, Any]
    step_metrics: Mapping[str, str] = field(default_factory=dict)
    """Step axis by metric, or by a pattern such as ``*``."""
    summaries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Kinds of summary (``min``, ``last``, …) by metric or pattern, where they were set."""
    started: float = 0.0
    """Start time in seconds since 1970 (Unix time)."""
    state: str = "crashed"
    """State of the run: ``finished``, ``failed`` (exit code), ``crashed`` (never closed), or the server's value."""


def offline_folders(folder: Path) -> list[Path]:
    """Find the folders of offline runs at or below a folder, oldest first."""
    folders = [folder] if folder.name.startswith(_PREFIXES) else []
    folders += [path for prefix in _PREFIXES for path in folder.rglob(f"{prefix}*") if path.is_dir()]
    return sorted(
        {path for path in folders if any(path.glob("*.wandb"))}, key=lambda path: path.name.split("run-", 1)[1]
    )


_PREFIXES = ("offline-run-", "run-")


def read_offline(folder: Path) -> WandbRun:
    """Read one folder of an offline run; a record left half written by a killed process is left out.

    Raises
    ------
    UserError
        If there is no such file, or it is not a W&B file.
    """
    paths = sorted(folder.glob("*.wandb"))
    if not paths:
        raise UserError(f"{folder} holds no .wandb file: expected the folder of an offline W&B run")
    damaged = importlib.import_module("google.protobuf.message").DecodeError
    with reading(paths[0], "the records of a W&B run", damaged, refuse=UserError):
        return _run(paths[0])


def _run(path: Path) -> WandbRun:
    """Build a run from the records of a file."""
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2
    run = WandbRun("", "", "", "", "", (), {}, (), {})
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    steps: dict[str, str] = {}
    kept: dict[str, tuple[str, ...]] = {}
    for piece in _records(path):
        record = messages.Record()
        record.ParseFromString(piece)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            header = record.run
            run = replace(
                run, run_id=header.run_id, project=header.project, group=header.run_group, job_type=header.job_type,
                name=header.display_name, tags=tuple(header.tags), started=header.start_time.ToNanoseconds() / 1e9,
            )  # fmt: skip
            _update(config, header.config.update)
        elif kind == "config":
            _update(config, record.config.update)
        elif kind == "summary":
            _update(summary, record.summary.update)
            for item in record.summary.remove:
                summary.pop(item.key, None)
        elif kind == "history":
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            history.append(row)
        elif kind == "metric":
            named = record.metric.name or record.metric.glob_name
            if record.metric.step_metric:
                steps[named] = record.metric.step_metric
            kinds = [item.name for item, value in record.metric.summary.ListFields() if value is True]
            if kinds:
                kept[named] = tuple(kinds)
        elif kind == "exit":
            run = replace(run, state="failed" if record.exit.exit_code else "finished")
    if not run.run_id:
        raise UserError(f"{path} names no run: W&B wrote nothing of it yet, or it is damaged from its start")
    config.pop("_wandb", None)
    summary.pop("_wandb", None)
    return replace(run, config=config, history=tuple(history), summary=summary, step_metrics=steps, summaries=kept)


def joined(parts: Sequence[WandbRun]) -> WandbRun:
    """Join the parts of a requeued run into one, in the order of their start; later values win."""
    ordered = sorted(parts, key=lambda part: part.started)
    first, last = ordered[0], ordered[-1]
    return replace(
        last,
        config={key: value for part in ordered for key, value in part.config.items()},
        history=tuple(row for part in ordered for row in part.history),
        summary={key: value for part in ordered for key, value in part.summary.items()},
        step_metrics={key: value for part in ordered for key, value in part.step_metrics.items()},
        summaries={key: value for part in ordered for key, value in part.summaries.items()},
        started=first.started,
    )


def read_runs(folder: Path, unreadable: Callable[[str], None] | None = None) -> list[WandbRun]:
    """Read every offline run at or below a folder, parts of one run joined.

    ``unreadable`` is called with a message for each file that holds no run, as a process killed early leaves it;
    without it such a file is an error.

    Raises
    ------
    UserError
        If there is no run, or as ``read_offline``.
    """
    parts: dict[tuple[str, str], list[WandbRun]] = {}
    for place in offline_folders(folder):
        try:
            run = read_offline(place)
        except UserError as error:
            if unreadable is None:
                raise
            unreadable(str(error))
            continue
        parts.setdefault((run.project, run.run_id), []).append(run)
    if not parts:
        raise UserError(f"no offline W&B run in {folder}: expected folders offline-run-* with a .wandb file")
    return [joined(run_parts) for run_parts in parts.values()]


def _records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file, joining their pieces across blocks; ends where the file is torn or damaged."""
    content = path.read_bytes()
    if content[: len(_MAGIC)] != _MAGIC:
        raise UserError(f"{path} is not a W&B file: expected it to begin with {_MAGIC.decode()}")
    place, parts = _FILE_HEADER, b""
    while place + _PIECE_HEADER <= len(content):
        if _BLOCK - place % _BLOCK < _PIECE_HEADER:
            # Too little is left of the block for a piece: it is filled with zeros.
            place += _BLOCK - place % _BLOCK
            continue
        checksum, length, kind = struct.unpack("<IHB", content[place : place + _PIECE_HEADER])
        place += _PIECE_HEADER
        piece = content[place : place + length]
        place += length
        if len(piece) < length or zlib.crc32(piece, zlib.crc32(bytes([kind]))) != checksum:
            return
        parts = piece if kind in (_WHOLE, _FIRST) else parts + piece
        if kind in (_WHOLE, _LAST):
            yield parts


def _update(target: dict[str, Any], items: Any) -> None:
    """Insert W&B items into nested dictionaries."""
    for item in items:
        keys = list(item.nested_key) or [item.key]
        place = target
        for key in keys[:-1]:
            inner = place.get(key)
            place[key] = inner if isinstance(inner, dict) else {}
            place = place[key]
        place[keys[-1]] = _value(item)


def _value(item: Any) -> Any:
    if item.value_json:
        return json.loads(item.value_json)
    # History alone, of newer versions, has typed values.
    name = item.WhichOneof("value") if "value" in item.DESCRIPTOR.oneofs_by_name else None
    if name is None or name == "none":
        return None
    value = getattr(item, name)
    return json.loads(value) if name == "json" else value
