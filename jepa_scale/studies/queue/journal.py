"""Storage of a study's queue: a journal file that survives killed writers, or a server at a URL."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from jepa_scale.files import written
from jepa_scale.runs.errors import UserError
from jepa_scale.texts import first_line

_REPORTED, _PATIENCE = 10.0, 120.0
"""Seconds of waiting for the journal's lock until a warning, and until an error."""

_POLL = 0.005
"""Seconds between attempts at the lock, which is held for a few milliseconds: many that take turns wait long else."""


class Unreadable(UserError):
    """The journal is damaged: it holds something that no writer of a journal writes."""


class _KernelLock(JournalFileOpenLock):
    """A journal lock that the operating system releases when its holder is killed.

    Optuna's own locks are files that a killed process leaves behind, and that the others then wait for: the lock of a
    journal with a relative path for ever, as its age cannot be told through the dangling link.
    """

    def __init__(self, path: Path, reported: float = _REPORTED, patience: float = _PATIENCE) -> None:
        # Not super().__init__: the parent is the interface here, and its lock file is what this replaces.
        self._path, self._lock = path, FileLock(path)
        self._reported, self._patience = reported, patience

    def acquire(self) -> bool:
        """Wait for the lock.

        Raises
        ------
        UserError
            If another process does not release it, such as one that was stopped, or the file system has no locks.
        """
        try:
            self._lock.acquire(timeout=self._reported, poll_interval=_POLL)
        except Timeout:
            print(f"waiting for {self._path} for {self._reported:g} s already …", file=sys.stderr, flush=True)
            try:
                self._lock.acquire(timeout=max(self._patience - self._reported, 0), poll_interval=_POLL)
            except Timeout:
                raise UserError(
                    f"{self._path} is held by another process for over {self._patience:g} s, which takes milliseconds: "
                    "one that is suspended, or a file system without working locks; end it, or keep the study elsewhere"
                ) from None
        return True

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()


class JournalFile(JournalFileBackend):
    """Optuna's journal file, tolerating a torn last line: a writer was killed inside it, or the disk was full.

    The torn line was acknowledged to nobody; it is cut off before the next one is appended.
    """

    def __init__(self, path: Path, reported: float = _REPORTED, patience: float = _PATIENCE) -> None:
        self._exclusive = _KernelLock(path.with_suffix(".lock"), reported, patience)
        super().__init__(str(path), self._exclusive)
        self._together = False

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Yield the complete log lines from a number on.

        Raises
        ------
        Unreadable
            If a line is damaged.
        """
        try:
            yield from super().read_logs(log_number_from)
        except ValueError as error:
            raise _unreadable(self._file_path, error) from None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append log lines, each of them complete."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        if self._together:
            self._append(lines)
            return
        self._exclusive.acquire()
        try:
            self._append(lines)
        finally:
            self._exclusive.release()

    def _append(self, lines: bytes) -> None:
        with written(Path(self._file_path), len(lines)), open(self._file_path, "r+b") as file:
            end = _end_of_whole_lines(file)
            try:
                file.seek(end)
                file.write(lines)
                file.truncate()
                file.flush()
                if not self._together:
                    os.fsync(file.fileno())
            except OSError:
                # A full disk takes part of a line.
                with contextlib.suppress(OSError):
                    os.truncate(self._file_path, end)
                raise

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Let nobody else write while the lines inside are appended, and sync them to disk once, at the end."""
        if self._together:
            # Inside another one, which ends it.
            yield
            return
        self._exclusive.acquire()
        self._together = True
        try:
            yield
            with open(self._file_path, "rb") as file:
                os.fsync(file.fileno())
        finally:
            self._together = False
            self._exclusive.release()


def _end_of_whole_lines(file: Any) -> int:
    size = end = file.seek(0, os.SEEK_END)
    block = 1 << 16
    while end:
        begin = max(0, end - block)
        file.seek(begin)
        newline = file.read(end - begin).rfind(b"\n")
        if newline >= 0:
            end = begin + newline + 1
            break
        end = begin
    if end < size:
        print(f"{file.name}: its last line was torn and is cut off", file=sys.stderr, flush=True)
    return int(end)


def open_journal(path: Path) -> JournalStorage:
    """Open a journal file, creating it if there is none.

    Raises
    ------
    Unreadable
        If one of its lines is damaged.
    """
    try:
        with written(path):
            return JournalStorage(JournalFile(path))
    except (UserError, Unreadable):
        raise
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError, RecursionError, RuntimeError) as error:
        # Lines that make no sense to Optuna. What is out of memory, or cannot be reached now, is not damaged.
        raise _unreadable(path, error) from None


def _unreadable(path: Path | str, error: Exception) -> Unreadable:
    return Unreadable(
        f"{path} is damaged ({type(error).__name__}: {first_line(error)}): stop the study's workers, and run "
        "the study or sweep command again, which makes a new one from runs/"
    )


def put_aside(path: Path) -> None:
    """Rename a damaged journal, so that a new one can be started."""
    path.rename(path.with_suffix(f".damaged-{int(time.time())}"))


def wrong_url(url: str, workers: int) -> str:
    """Why the queue's URL is unusable for this number of workers; empty if it is usable."""
    if not isinstance(url, str):
        return f"storage: expected the URL of a server, or null (a journal file), got {url!r}"
    kind = url.partition(":")[0].partition("+")[0]
    if kind == "sqlite":
        if workers == 1:
            return ""
        return (
            f"storage: expected one that several workers can share, got {url}: SQLite hands one run to two workers; "
            "leave storage out (a journal file), or use postgresql://… or grpc://host:port"
        )
    if kind not in ("postgresql", "mysql", "grpc") or "://" not in url:
        return f"storage: expected postgresql://…, mysql://… or grpc://host:port, or none (a journal file), got {url!r}"
    return ""


def open_url(url: str) -> BaseStorage:
    """Open the storage on a server.

    Raises
    ------
    UserError
        If its driver is not installed or the server does not answer.
    """
    import optuna

    try:
        if url.startswith("grpc://"):
            from optuna.storages import GrpcStorageProxy

            host, _, port = url.removeprefix("grpc://").partition(":")
            proxy = GrpcStorageProxy(host=host, port=int(port or 13000))
            proxy.wait_server_ready(timeout=30)
            return proxy
        return optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except ImportError as error:
        raise UserError(f"storage {url.partition(':')[0]}: its driver is missing ({error}): pip install it") from None
    except Exception as error:
        raise UserError(
            f"storage: {url.partition('@')[2] or url} does not answer ({str(error).splitlines()[0]}): start the "
            "server, or check the address"
        ) from None
