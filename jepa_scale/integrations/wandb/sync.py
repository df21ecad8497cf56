"""Uploading a study's offline W&B runs with W&B's own command."""

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
from jepa_scale.studies.queue.owners import held


@dataclass(frozen=True)
class OfflineRun:
    """Folders of one run that have not been synced; a requeued run has several."""

    run_id: str
    parts: tuple[Path, ...]
    """Folders of the run, oldest first."""
    in_progress: bool
    """Whether the run is still being written; W&B would mark it as synced and miss later rows."""

    @property
    def synced(self) -> bool:
        """Whether W&B has marked every part as synced."""
        return all(_marked(part) for part in self.parts)


def offline_runs(study: Path) -> list[OfflineRun]:
    """Find the offline W&B runs that have not been synced, of the study's runs and of the study itself.

    Raises
    ------
    UserError
        If the folder does not belong to a study.
    """
    if not (study / "runs").is_dir() and not (study / "wandb").is_dir():
        raise UserError(
            f"{study} is neither a study's folder nor a run's (no runs/, no wandb/): give the folder that `study`, "
            "`sweep` or `train` wrote"
        )
    runs = []
    for owner in (study, *sorted(path.parent for path in study.glob("runs/*/wandb"))):
        parts: dict[str, list[Path]] = {}
        for folder in sorted((owner / "wandb").glob("offline-run-*")):
            if folder.is_dir() and not _marked(folder):
                # offline-run-DATE_TIME-ID
                parts.setdefault(folder.name.split("-", 3)[-1], []).append(folder)
        busy = bool(parts) and held(owner)
        runs += [OfflineRun(run_id, tuple(folders), busy) for run_id, folders in parts.items()]
    return runs


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
    """Check, in a separate process, that W&B has an API key, and that its server answers.

    ``settings`` are environment variables.

    Raises
    ------
    UserError
        If there is no key, with W&B's reason, or the server does not answer.
    """
    done = subprocess.run(
        [sys.executable, "-c", _LOGIN], env=_environment() | dict(settings or {}), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    server = _last_line(done.stdout)
    if done.returncode:
        cause = _last_line(done.stdout.removesuffix(f"{server}\n") + done.stderr)
        raise UserError(
            f"not logged in to W&B{f' ({cause})' if cause else ''}: run `wandb login` here first, or set WANDB_API_KEY"
        )
    _reach(server)


def _reach(server: str) -> None:
    """Refuse a server that does not answer: W&B's own command would wait for it forever, in silence.

    Raises
    ------
    UserError
        If the server does not answer at all.
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
    """Environment of W&B's commands, without WANDB_MODE: set offline for runs, it would keep W&B from finding a key.

    The command's own logs are kept out of the working directory.
    """
    kept = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
    return {"WANDB_DIR": tempfile.gettempdir()} | kept


def sync_study(
    study: Path, runs: Sequence[OfflineRun], options: Sequence[str], console: Console, at_once: int = 8
) -> dict[str, str]:
    """Sync runs by several commands at a time; return W&B's last message for each run that failed.

    Of many runs each command takes several, as to start one costs more than to upload a run; those that it leaves are
    tried again alone. W&B marks what is synced, so that an interrupted sync can be resumed.

    Raises
    ------
    UserError
        If another sync of the study is running.
    """
    waiting, running, failures = _batches(runs, at_once), dict[tuple[OfflineRun, ...], _Command](), dict[str, str]()
    with _only_one(study) as lock, _Bar(console, len(runs)) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    batch = waiting.pop(0)
                    running[batch] = _Command(batch, options, lock)
                for batch in [batch for batch, command in running.items() if command.ended]:
                    message = running.pop(batch).last_line()
                    # W&B's command ends with 0 whatever has failed: what counts is what it has marked.
                    left = [run for run in batch if not run.synced]
                    if len(batch) > 1:
                        waiting += [(run,) for run in left]
                    else:
                        failures |= {run.run_id: message for run in left}
                    bar.update(len(runs) - sum(map(len, (*waiting, *running))), len(failures))
                time.sleep(0.05)
        finally:
            for command in running.values():
                command.stop()
    return failures


_MANY, _TOGETHER = 16, 16
"""Number of runs from which a command takes several, and the most that it takes."""


def _batches(runs: Sequence[OfflineRun], at_once: int) -> list[tuple[OfflineRun, ...]]:
    """Return which runs each command takes; one of several parts has a command of its own, which keeps their order."""
    size = min(-(-len(runs) // at_once), _TOGETHER) if len(runs) >= _MANY else 1
    batches: list[tuple[OfflineRun, ...]] = []
    for run in runs:
        before = batches[-1] if batches else ()
        fits = 0 < len(before) < size and all(len(one.parts) == 1 for one in (*before, run))
        batches[-1:] = [(*before, run)] if fits else [*batches[-1:], (run,)]
    return batches


class _Command:
    """W&B's sync command for one run, whose parts it uploads in the order of their start, or for several runs.

    One that meets a damaged file skips all other runs that it was given.
    """

    def __init__(self, runs: Sequence[OfflineRun], options: Sequence[str], lock: int) -> None:
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
            *(str(part) for run in runs for part in run.parts),
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
    """Progress bar on a terminal; elsewhere a line for each twentieth done."""

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
