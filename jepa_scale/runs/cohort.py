"""A cohort: several runs that take their training steps together, each in all else the run that it is alone.

Every member is an ordinary ``runs.run.run`` in a thread of its own, of which one at a time moves: it holds its folder's
lock, builds its parts, resumes, estimates, saves and writes its record by the same code as alone, and Lightning carries
it. Only who takes the steps of an epoch is another one (``runs.loop``): the member stands still until the cohort
has taken them (``training.cohort.stack``). It stands still again wherever a callback looks at single steps.
Weights are stacked in between alone, so that a cohort has no state of its own to save: a checkpoint is a member's.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import lightning as L
import torch

from jepa_scale.data.loader import StepLoader
from jepa_scale.models.size import ModelSize, flops_per_step
from jepa_scale.records import RunRecord
from jepa_scale.runs.build import build_model, build_world
from jepa_scale.runs.device_memory import free_memory, most_on_device, on_gpu
from jepa_scale.runs.errors import CohortEnded, CohortTooLarge
from jepa_scale.runs.limits import data_bytes, hidden_of, model_bytes, observation_bytes
from jepa_scale.runs.loop import count, run_epoch, watching
from jepa_scale.runs.run import run
from jepa_scale.training.cohort.stack import NotStackable, Stack, Trainee
from jepa_scale.training.world_model import WorldModel
from jepa_scale.worlds.memory import machine_memory


@dataclass(frozen=True)
class Job:
    """One run of a cohort: its resolved configuration and folder, and what a study says of it to loggers."""

    config: Mapping[str, Any]
    path: Path
    group: str | None = None
    tags: tuple[str, ...] = ()
    patience: float = 0.2
    """Seconds to wait for a folder in use."""


@dataclass(frozen=True)
class Outcome:
    """How a run of a cohort ended: its record, or what it raised."""

    record: RunRecord | None
    error: BaseException | None = None

    def fitting(self, runs: int) -> int | None:
        """Of as many ``runs`` claimed together how many to claim next time, if memory did not suffice; else None."""
        if isinstance(self.error, CohortTooLarge):
            return self.error.kept
        return runs // 2 if isinstance(self.error, torch.OutOfMemoryError) and runs > 1 else None


def run_cohort(jobs: Sequence[Job], end: Callable[[int, Outcome], None] | None = None) -> list[Outcome]:
    """Do several runs together and return how each ended, in their order; none stops another.

    ``end`` is told of each, by its number among the jobs, as soon as it has ended.

    A run that cannot take its steps with the others ends with ``CohortEnded``, as resumable as if it had been
    killed: do it alone. Where steps do not fit into the memory of the device, the second half of those who take them
    ends with ``CohortTooLarge``, and the others go on: do the second half later.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts; every run keeps its last checkpoint.
    """
    cohort = _Cohort(jobs, end)
    with warnings.catch_warnings():
        # The filters that runs set for themselves are restored in another order than they were set in.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        cohort.go_on()
    return [member.outcome for member in cohort.members if member.outcome is not None]


@dataclass
class _Request:
    """Steps that a member waits for."""

    trainee: Trainee
    step: int
    steps: int
    fresh: bool
    """Whether they are the first since its callbacks may have changed the weights."""


class _Cohort:
    def __init__(self, jobs: Sequence[Job], end: Callable[[int, Outcome], None] | None) -> None:
        self.back = threading.Semaphore(0)
        """Released by the member that moves, when it stands still or has ended."""
        self.members = [Member(job, self.back, len(jobs)) for job in jobs]
        self._end, self._told, self._said = end, set[int](), set[str]()
        self.stack: Stack | None = None
        self.stacked: list[Member] = []

    def go_on(self) -> None:
        torch.set_num_threads(self.members[0].job.config["trainer"]["threads"])
        try:
            for member in self.members:
                member.move()
                self._tell()
            while waiting := [member for member in self.members if member.request is not None]:
                step = min(member.position for member in waiting)
                self._turn([member for member in waiting if member.position == step])
                self._tell()
        except BaseException:
            self._unwind()
            raise

    def _tell(self) -> None:
        for number, member in enumerate(self.members):
            if member.outcome is not None and number not in self._told:
                self._told.add(number)
                if member.outcome.error is not None and member.outcome.fitting(len(self.members)):
                    # The places where it was raised hold what takes the memory.
                    member.outcome.error.__traceback__ = None
                    free_memory()
                if self._end is not None:
                    self._end(number, member.outcome)

    def _unwind(self) -> None:
        """Let every member leave its run in good order, as at an interrupt."""
        for member in self.members:
            member.settle()
            while member.request is not None:
                member.move(CohortEnded("its cohort was stopped"))

    def _turn(self, members: Sequence[Member]) -> None:
        """Take the next steps of members that are at the same one."""
        requests = [member.request for member in members if member.request is not None]
        step, steps = requests[0].step, min(request.steps for request in requests)
        started = time.perf_counter()
        error: Exception | None = None
        try:
            self._advance(members, requests, step, steps)
        except NotStackable as problem:
            error = CohortEnded(str(problem))
            self.stack = None
        except torch.OutOfMemoryError as problem:
            error, self.stack, self.stacked = problem.with_traceback(None), None, []
        if isinstance(error, torch.OutOfMemoryError) and len(members) > 1:
            self._halve(members)
            return
        share = (time.perf_counter() - started) / len(members)
        for member in members:
            member.shared += share
            member.taken = steps
            member.move(error)

    def _advance(self, members: Sequence[Member], requests: Sequence[_Request], step: int, steps: int) -> None:
        stack = self._stack(members, requests)
        stack.advance(step, steps)
        if stack.why_plain and stack.why_plain not in self._said:
            self._said.add(stack.why_plain)
            print(f"cohort: its steps are not recorded as a CUDA graph: {stack.why_plain}", file=sys.stderr, flush=True)

    def _halve(self, members: Sequence[Member]) -> None:
        """Let the second half of these members go, whose steps together do not fit into memory."""
        kept = len(members) // 2
        for member in members[kept:]:
            member.move(CohortTooLarge(len(members), kept))

    def _stack(self, members: Sequence[Member], requests: Sequence[_Request]) -> Stack:
        fresh = any(request.fresh for request in requests)
        gone = [member for member in self.stacked if member not in members]
        # Members that have ended leave a gap until the epoch does: to stack anew takes longer than a step.
        same = all(member in self.stacked for member in members) and all(one.request is None for one in gone)
        if self.stack is None or not same or (fresh and gone):
            self.stacked = list(members)
            self.stack = Stack([request.trainee for request in requests])
            self.stack.check(requests[0].step)
        elif fresh:
            self.stack.read()
        self.stack.alive = [self.stacked.index(member) for member in members]
        return self.stack


@dataclass(eq=False)
class Member:
    """One run of a cohort, in a thread that moves only while the cohort and the other members stand still."""

    job: Job
    back: threading.Semaphore
    size: int
    """Number of members at the start."""
    request: _Request | None = None
    outcome: Outcome | None = None
    shared: float = 0.0
    """Seconds of steps taken together, divided by how many took them."""
    taken: int = 0
    _moved: float = 0.0
    _since: float | None = None
    _error: Exception | None = None
    _forward: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _thread: threading.Thread | None = None

    @property
    def position(self) -> int:
        """Optimiser steps taken."""
        assert self.request is not None
        return self.request.step

    # What the cohort calls.

    def move(self, error: Exception | None = None) -> None:
        """Let the member go on until it needs steps or ends; with an error, it is raised where the member stands."""
        self._error, self._since = error, time.perf_counter()
        if self._thread is None:
            # A daemon: a process that must end does not wait for a member.
            self._thread = threading.Thread(target=self._live, daemon=True)
            self._thread.start()
        else:
            self._forward.release()
        self.settle()

    def settle(self) -> None:
        """Wait until the member stands still; at once if it does."""
        if self._since is not None:
            self.back.acquire()
            self._moved += time.perf_counter() - self._since
            self._since = None

    # What happens in its own thread.

    def _live(self) -> None:
        job = self.job
        try:
            record = run(job.config, job.path, job.group, patience=job.patience, tags=job.tags, companion=self)
            self.outcome = Outcome(record)
        except BaseException as error:
            # Not lost: whoever asked for the cohort is given it.
            self.outcome = Outcome(None, error)
        finally:
            self.request = None
            self.back.release()

    def seconds(self) -> float:
        """Seconds that the run itself has taken: its own, and its share of steps that several took at once."""
        return self.shared + self._moved + (0.0 if self._since is None else time.perf_counter() - self._since)

    def attach(self, trainer: L.Trainer, module: WorldModel) -> None:
        """Take the place of a trainer's loop over batches.

        Raises
        ------
        CohortEnded
            If a callback must see every step.
        """
        watchers, strange = watching(trainer)
        if strange:
            raise CohortEnded(strange)
        stepper = _Standing(self, trainer, module)

        def epoch(fetcher: Any) -> None:
            del fetcher  # batches are taken by their numbers
            stepper.fresh = True
            run_epoch(trainer, stepper, watchers)

        trainer.fit_loop.epoch_loop.run = epoch  # type: ignore[method-assign,assignment]

    def stand(self, request: _Request) -> None:
        """Stand still until the cohort has taken the steps."""
        self.request = request
        self.back.release()
        self._forward.acquire()
        self.request = None
        if self._error is not None:
            raise self._error


class _Standing:
    """Takes a member's steps by standing still until the cohort has taken them."""

    batch = outputs = None

    def __init__(self, member: Member, trainer: L.Trainer, module: WorldModel) -> None:
        self.member, self.trainer, self.module = member, trainer, module
        self.fresh = True
        """Whether the next steps are the first of an epoch."""

    def begin(self, step: int) -> None:
        """The cohort takes the batches."""

    def take(self, index: int, steps: int) -> int:
        """Stand still until so many steps are taken, or fewer."""
        trainer, loader = self.trainer, self.trainer.train_dataloader
        assert isinstance(loader, StepLoader)
        (schedule,) = (configured.scheduler for configured in trainer.lr_scheduler_configs)
        trainee = Trainee(self.module, trainer.optimizers[0], schedule, loader, trainer.gradient_clip_val)
        self.member.stand(_Request(trainee, trainer.global_step, steps, self.fresh))
        self.fresh = False
        count(trainer, self.member.taken)
        return self.member.taken

    def end(self, index: int) -> None:
        """The cohort has finished its steps."""


@lru_cache(maxsize=64)
def _flops(text: str) -> int:
    config = json.loads(text)
    world, size = build_world(config), ModelSize.of(config["model"]["k"], config["model"]["hidden"])
    with torch.random.fork_rng(devices=[]):
        parts = build_model(config, world, size)
    space = world.action_space
    action = torch.zeros(1, dtype=torch.int64) if space.discrete else torch.zeros(1, space.size)
    seen = torch.zeros(1, *world.observation_shape)
    sizes = config["data"]["batch_size"], config["data"]["horizon"]
    return flops_per_step(parts["encoder"], parts["predictor"], *sizes, seen, action)


def step_flops(config: Mapping[str, Any]) -> int:
    """Floating point operations of a training step of a run, by its configuration."""
    return _flops(json.dumps(dict(config), sort_keys=True, default=str))


def most_in_memory(config: Mapping[str, Any]) -> int:
    """Number of runs like this one that fit into half of the memory of their device, by an estimate from above."""
    if on_gpu(config):
        return most_on_device(config)
    memory = machine_memory()
    if memory is None:
        return sys.maxsize
    data = config["data"]
    rows = data["batch_size"] * (data["horizon"] + 1)
    # Of a layer, what it gives and its gradient.
    passing = 4 * rows * (observation_bytes(config["world"]) // 4 + 16 * hidden_of(config))
    return int(memory / 2 / (2 * data_bytes(config) + 4 * model_bytes(config) + passing))
