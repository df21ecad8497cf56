"""The processes of one run (ranks): how they agree, share work and exchange results.

Whatever is asked here is asked at call time, and is trivial in a process on its own.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

_apart: list[bool] = []
"""Not empty while this process does something that the others do not."""

_control: list[Any] = []
"""Process group for plain values, if the default group can only move tensors of an accelerator."""


def use_group(group: Any) -> None:
    """Set the process group in which plain values are exchanged; None: the default group."""
    _control[:] = [] if group is None else [group]


def group() -> Any:
    """Return the process group for plain values; None is the default group."""
    return _control[0] if _control else None


def world_size() -> int:
    """Return the number of ranks of the run."""
    return dist.get_world_size() if _joined() else 1


def rank() -> int:
    """Return the number of this rank; rank 0 writes files."""
    return dist.get_rank() if _joined() else 0


def _joined() -> bool:
    return not _apart and dist.is_available() and dist.is_initialized()


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Inside, this process is on its own: nothing waits for the other ranks, which do something else."""
    _apart.append(True)
    try:
        yield
    finally:
        _apart.pop()


def strided(values: Tensor) -> Tensor:
    """Return this rank's rows of the global batch, (B, …) → (B / N, …), dealt in turns as by the loader."""
    return values[rank() :: world_size()]


def gathered_place(rows: Tensor, total: int) -> Tensor:
    """Return the indices of rows of the global batch among ``total`` rows that were gathered rank after rank."""
    ranks = world_size()
    return rows % ranks * (total // ranks) + rows // ranks


def every(make: Callable[[], T]) -> list[T]:
    """Call ``make`` on each rank and return all results, in order of rank, on all ranks.

    Raises
    ------
    Exception
        Where one rank's ``make`` raises, all ranks raise what the first of these raised: none waits for another that
        has left.
    """
    if world_size() == 1:
        return [make()]
    results: list[Any] = [None] * world_size()
    dist.all_gather_object(results, _attempt(make), group=group())
    for _, error in results:
        if error is not None:
            raise error
    return [value for value, _ in results]


def agreed(decide: Callable[[], T]) -> T:
    """Call a function on rank 0 only and return its result on all ranks.

    Raises
    ------
    Exception
        What rank 0 raised, everywhere.
    """
    if world_size() == 1:
        return decide()
    told: list[Any] = [_attempt(decide) if rank() == 0 else None]
    dist.broadcast_object_list(told, src=0, group=group())
    value, error = told[0]
    if error is not None:
        raise error
    return value


def spread(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Return the results of all jobs, in order, on all ranks; job i is done by rank i mod N alone.

    Raises
    ------
    Exception
        What a job raised, everywhere.
    """
    ranks = world_size()
    done = every(lambda: [job() for job in jobs[rank() :: ranks]])
    return [done[number % ranks][number // ranks] for number in range(len(jobs))]


def greatest(number: int) -> int:
    """Return the maximum over ranks of an integer."""
    if world_size() == 1:
        return number
    # Never on an accelerator, whose queue it would wait for.
    told = torch.tensor(number)
    dist.all_reduce(told, dist.ReduceOp.MAX, group=group())
    return int(told)


def _attempt(make: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return make(), None
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            # Not every exception can be sent to another process as it is.
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error
