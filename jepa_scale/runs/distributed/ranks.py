"""Ranks of a run: this process's rank, and starting all ranks on this machine. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jepa_scale.runs.distributed.exits import FINISHED, STOPPED, worst
from jepa_scale.runs.distributed.python import python_module
from jepa_scale.runs.errors import UserError
from jepa_scale.signals import SIGNALS

LAUNCHER = "JEPA_SCALE_LAUNCHER"
"""Environment variable: id of the process that started a rank; the rank stops once that process is gone."""
GRACE = 5.0
"""Seconds that the other ranks get after the first failure, to report errors of their own, before they are ended."""
_PORTS = range(12_000, 26_000)
"""Below the ports that systems give to outgoing connections (from 32 768 on Linux)."""


@dataclass(frozen=True)
class Place:
    """Place of a process among the ranks of its run: its rank and their number."""

    rank: int
    local_rank: int
    world_size: int

    @property
    def leads(self) -> bool:
        """Whether this is the first rank, which writes and prints."""
        return self.rank == 0


ALONE = Place(0, 0, 1)


def place(environment: Mapping[str, str] | None = None) -> Place:
    """Determine this process's place among its ranks, from torchrun's variables or those of a SLURM step.

    A batch script, and any process it starts without srun, has the variables of its job but is not a step: it is a
    single process.

    Raises
    ------
    UserError
        If the variables make no sense, or the ranks are on several machines.
    """
    variables = os.environ if environment is None else environment
    step = "SLURM_STEP_ID" in variables and "SLURM_STEP_NUM_TASKS" in variables
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    if not ("RANK" in variables and "WORLD_SIZE" in variables):
        if not step:
            return ALONE
        names = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS")
    try:
        rank, size = int(variables[names[0]]), int(variables[names[2]])
        local = int(variables.get(names[1], rank))
    except (KeyError, ValueError):
        shown = ", ".join(f"{name}={variables.get(name)!r}" for name in names)
        raise UserError(f"expected whole numbers in {', '.join(names)}, got {shown}: start the ranks anew") from None
    if not 0 <= rank < size:
        raise UserError(f"expected 0 ≤ {names[0]} < {names[2]}, got {rank} and {size}: start the ranks anew")
    if local != rank:
        raise UserError(
            f"expected all ranks of a run on one machine, got local rank {local} for rank {rank}: ask for one node "
            "(#SBATCH --nodes=1)"
        )
    return Place(rank, local, size)


def check_place(devices: int, here: Place) -> None:
    """Refuse to train unless there are ``devices`` processes; with fewer ranks a run would silently be another one.

    Raises
    ------
    UserError
        If there are more or fewer processes.
    """
    if here.world_size == devices:
        return
    mismatch = f"trainer.devices={devices}: expected {devices} process{'es' * (devices > 1)}, got {here.world_size}"
    if devices == 1:
        raise UserError(f"{mismatch}: start one task (srun --ntasks=1), or set trainer.devices={here.world_size}")
    raise UserError(
        f"{mismatch}: let `jepa-scale train` start them, or start them yourself with srun --nodes=1 "
        f"--ntasks-per-node={devices} or torchrun --nproc-per-node={devices}; sbatch without srun starts one"
    )


class LocalRanks:
    """Ranks that run on this machine; when one fails the others are ended, as they would wait for it forever."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self.processes = list(processes)
        self.failure = ""
        """Which rank failed first, and how; empty while none has failed."""
        self._deadline = 0.0

    def send_signal(self, number: int) -> None:
        """Pass a signal on to every rank that is alive."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    def poll(self) -> int | None:
        """Return the run's exit code (``exits.worst`` of its ranks), None while a rank is alive; call it regularly."""
        codes = [process.poll() for process in self.processes]
        failed = [rank for rank, code in enumerate(codes) if code not in (None, FINISHED, STOPPED)]
        if failed and not self.failure:
            self.failure = f"rank {failed[0]} of {len(codes)} {_how(codes[failed[0]] or 0)}"
            self._deadline = time.monotonic() + GRACE
        if failed and None in codes and time.monotonic() > self._deadline:
            self.kill()
        return None if None in codes else worst(code for code in codes if code is not None)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for all ranks and return the run's exit code.

        Raises
        ------
        subprocess.TimeoutExpired
            If the ranks have not ended after ``timeout`` seconds; they keep running.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("the ranks of a run", timeout or 0.0)
            time.sleep(0.05)
        return code

    def kill(self) -> None:
        """End every rank at once; nothing is saved."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def free_port() -> int:
    """Return a port on which ranks of this machine can meet.

    A port that the kernel hands out (bind to port 0) may be taken by any outgoing connection before rank 0 listens on
    it, so ports below its range come first.
    """
    for port in random.SystemRandom().sample(_PORTS, 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def start(command: Sequence[str], environment: Mapping[str, str], ranks: int) -> LocalRanks:
    """Start ``ranks`` processes of a command, the ``command_of`` a run, on this machine.

    They get the variables of torchrun and a session of their own, so that Ctrl-C reaches only the caller. Signals that
    ask to stop stay blocked in them until ``signals.install`` has run there.
    """
    shared = {
        **environment,
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        LAUNCHER: str(os.getpid()),
    }
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with _held_back():
            for rank in range(ranks):
                own = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                processes.append(
                    subprocess.Popen(list(command), env=own, stdin=subprocess.DEVNULL, start_new_session=True)
                )
    except BaseException:
        LocalRanks(processes).kill()
        raise
    return LocalRanks(processes)


def command_of(folder: str | os.PathLike[str], *options: str) -> list[str]:
    """Command of one rank of the run in a folder; further options are those of ``runs.process``."""
    return python_module("jepa_scale.runs.distributed.process", os.fspath(folder), *options)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Block signals while children start: they inherit the mask, so that an early signal waits and does not kill."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def attend(ranks: LocalRanks, patience: float = 60.0) -> int:
    """Wait for ranks started by a user; Ctrl-C, and signals to this process, ask them to save and stop.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, once the ranks have ended; they have ``patience`` seconds, or until Ctrl-C comes again.
    """
    from jepa_scale import signals

    passed = 0
    try:
        while (code := ranks.poll()) is None:
            if signals.request() > passed:
                passed = signals.request()
                ranks.send_signal(SIGNALS[passed - 1])
            time.sleep(0.05)
        return code
    except KeyboardInterrupt:
        ranks.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            ranks.wait(patience)
        raise
    finally:
        ranks.kill()
