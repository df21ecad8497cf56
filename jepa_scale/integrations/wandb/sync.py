"""Offline W&B runs of a study, brought to the server by W&B's own command."""

from __future__ import annotations

import fcntl
import http.client
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jepa_scale.runs.errors import UserError
from jepa_scale.study.queue.owners import held


@dataclass(frozen=True)
class OfflineRun:
    """One run's folders that have not been synced; of a requeued run there are several."""

    run_id: str
    parts: tuple[Path, ...]
    """Oldest first."""
    in_progress: bool
    """Whether it is still being written: W&B would mark it synced, and leave out what comes."""

    @property
    def synced(self) -> bool:
        """Whether W&B has marked every part."""
        return all(_marked(part) for part in self.parts)


def offline_runs(study: Path) -> list[OfflineRun]:
    """Offline W&B runs that have not been synced: those of the study's runs, and of the study itself.

    Raises
    ------
    UserError
        If the folder is not a study's.
    """
    if not (study / "runs").is_dir() and not (study / "wandb").is_dir():
        raise UserError(
            f"{study} is neither a study's folder nor a run's (no runs/, no wandb/): give the folder that `study`, "
            "`sweep` or `train` wrote"
        )
    found = []
    for owner in (study, *sorted(path.parent for path in study.glob("runs/*/wandb"))):
        parts: dict[str, list[Path]] = {}
        for folder in sorted((owner / "wandb").glob("offline-run-*")):
            if folder.is_dir() and not _marked(folder):
                # offline-run-DATE_TIME-ID
                parts.setdefault(folder.name.split("-", 3)[-1], []).append(folder)
        busy = bool(parts) and held(owner)
        found += [OfflineRun(run_id, tuple(folders), busy) for run_id, folders in parts.items()]
    return found


def _marked(folder: Path) -> bool:
    return any(folder.glob("*.wandb.synced"))


_LOGIN = """\
import wandb
found = wandb.login(prompt=False, verify=False)
print(wandb.setup().settings.base_url)
raise SystemExit(not found)
"""
_REACH_SECONDS = 15


def check_login(settings: Mapping[str, str] | None = None) -> None:
    """Ask W&B, in a process of its own, whether it has a key, and its server whether it is there.

    ``settings`` are environment variables.

    Raises
    ------
    UserError
        If it has none, with W&B's reason, or the server does not answer.
    """
    done = subprocess.run(
        [sys.executable, "-c", _LOGIN], env=_environment() | dict(settings or {}), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    server = _last_line(done.stdout)
    if done.returncode:
        said = _last_line(done.stdout.removesuffix(f"{server}\n") + done.stderr)
        raise UserError(
            f"not logged in to W&B{f' ({said})' if said else ''}: run `wandb login` here first, or set WANDB_API_KEY"
        )
    _reach(server)


def _reach(server: str) -> None:
    """Refuse a server that does not answer, as W&B's own command would wait for it without end or word.

    Raises
    ------
    UserError
        If it does not answer at all.
    """
    try:
        urllib.request.urlopen(server, timeout=_REACH_SECONDS).close()
    except urllib.error.HTTPError:
        # Whatever it thinks of the question, it is there.
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        raise UserError(
            f"no answer from {server} ({why}): run it where there is a network, or set WANDB_BASE_URL to your server"
        ) from None


def _environment() -> dict[str, str]:
    """A user's WANDB_MODE=offline is meant for runs; in that mode W&B looks for no key.

    Its command keeps logs of its own, which are none of the folder's that it is called in.
    """
    kept = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
    return {"WANDB_DIR": tempfile.gettempdir()} | kept


def sync_study(
    study: Path, runs: Sequence[OfflineRun], options: Sequence[str], console: Console, at_once: int = 8
) -> dict[str, str]:
    """Sync runs, several at a time; return W&B's last message of each that failed, by run.

    What is synced is marked by W&B, so that a sync that was interrupted goes on.

    Raises
    ------
    UserError
        If another sync of the study is at work.
    """
    waiting, running, failures = list(runs), dict[OfflineRun, _Command](), dict[str, str]()
    with _only_one(study) as lock, _Bar(console, len(runs)) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    run = waiting.pop(0)
                    running[run] = _Command(run, options, lock)
                for run in [run for run, command in running.items() if command.ended]:
                    said = running.pop(run).last_line()
                    # W&B's command ends with 0 whatever has failed: what counts is what it has marked.
                    if not run.synced:
                        failures[run.run_id] = said
                    bar.update(len(runs) - len(waiting) - len(running), len(failures))
                time.sleep(0.05)
        finally:
            for command in running.values():
                command.stop()
    return failures


class _Command:
    """W&B's command for one run: it puts the parts in order of their start, one after another.

    A command for each: one that meets a damaged file in one run syncs none of the others that it was given.
    """

    def __init__(self, run: OfflineRun, options: Sequence[str], lock: int) -> None:
        # Open as long as the command runs: what it prints would fill a pipe that nobody reads.
        self.output: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        command = [
            sys.executable,
            "-m",
            "wandb",
            "sync",
            "--yes",
            "--skip-synced",
            *options,
            *map(str, run.parts),
        ]
        # The lock goes along: if we are killed, it is free only when the last command has ended too.
        self.process = subprocess.Popen(
            command, env=_environment(), stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT,
            pass_fds=[lock],
        )  # fmt: skip

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def last_line(self) -> str:
        self.output.seek(0)
        with self.output:
            return _last_line(self.output.read()) or f"no message, exit code {self.process.returncode}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.output.close()


def _last_line(text: str) -> str:
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "\n")
    lines = [line.removeprefix("wandb: ").removeprefix("ERROR ").strip() for line in plain.splitlines()]
    return next((line for line in reversed(lines) if line), "")


@contextmanager
def _only_one(study: Path) -> Iterator[int]:
    with (study / "sync.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{study} is being synced by another process: wait for it, or stop it") from None
        yield file.fileno()


class _Bar:
    """A bar on a terminal; elsewhere a line whenever a twentieth is done."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total, self.said = console, total, 0
        columns = TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.bar.add_task("synced", total=total)

    def __enter__(self) -> _Bar:
        self.bar.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.bar.stop()

    def update(self, ended: int, failed: int) -> None:
        apart = f", {failed} failed" if failed else ""
        self.bar.update(self.task, completed=ended, description=f"synced{apart}")
        if not self.console.is_terminal and (ended == self.total or ended >= self.said + max(1, self.total // 20)):
            self.said = ended
            self.console.print(f"{ended - failed} of {self.total} runs synced{apart}", highlight=False)
