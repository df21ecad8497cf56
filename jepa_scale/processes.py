"""The processes of one run, its ranks: how they agree, share work and exchange results.

Whatever is asked here is asked at call time, and is trivial in a process on its own.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

_control: list[Any] = []
"""The group that plain values travel in, where the default one moves tensors of an accelerator only."""


def use_group(group: Any) -> None:
    """Exchange plain values in this group from now on; None: in the default one."""
    _control[:] = [] if group is None else [group]


def group() -> Any:
    """The group of plain values; None is the default one."""
    return _control[0] if _control else None


def world_size() -> int:
    """How many ranks the run has."""
    return dist.get_world_size() if _joined() else 1


def rank() -> int:
    """Number of this one; rank 0 writes."""
    return dist.get_rank() if _joined() else 0


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def strided(values: Tensor) -> Tensor:
    """This rank's rows of what was drawn for the global batch, (B, …) → (B / N, …), as the loader deals them."""
    return values[rank() :: world_size()]


def gathered_place(rows: Tensor, total: int) -> Tensor:
    """Where rows of the global batch, by number, lie among ``total`` that were gathered rank after rank."""
    ranks = world_size()
    return rows % ranks * (total // ranks) + rows // ranks


def every(make: Callable[[], T]) -> list[T]:
    """What each rank makes, in order of rank, on all of them.

    Raises
    ------
    Exception
        Where one rank's ``make`` raises, all ranks raise what the first of these raised: none waits for another that
        has left.
    """
    if world_size() == 1:
        return [make()]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, _attempt(make), group=group())
    for _, error in found:
        if error is not None:
            raise error
    return [value for value, _ in found]


def agreed(decide: Callable[[], T]) -> T:
    """What rank 0 decides, on all ranks; the others do not ask.

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
    """Results of all jobs, in order, on all ranks; job i is done by rank i mod N alone.

    Raises
    ------
    Exception
        What a job raised, everywhere.
    """
    ranks = world_size()
    done = every(lambda: [job() for job in jobs[rank() :: ranks]])
    return [done[number % ranks][number // ranks] for number in range(len(jobs))]


def greatest(number: int) -> int:
    """The largest of one whole number of each rank."""
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
