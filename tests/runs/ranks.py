"""Ranks for tests: real processes that meet over gloo."""

import multiprocessing
import os

import torch

from jepa_scale.runs.distributed.ranks import free_port


def _work(function, rank, ranks, port, out, arguments):
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    try:
        out.put((rank, function(*arguments), ""))
    except BaseException as error:
        out.put((rank, None, f"{type(error).__name__}: {error}"))
        raise


def on_ranks(ranks, function, *arguments, fails=False):
    """What ``function`` returns on each rank of a group, in order; or, where it ``fails``, what it raises."""
    context = multiprocessing.get_context("spawn")
    out, port = context.Queue(), free_port()
    workers = [
        context.Process(target=_work, args=(function, rank, ranks, port, out, arguments)) for rank in range(ranks)
    ]
    for worker in workers:
        worker.start()
    found = {}
    for _ in workers:
        rank, value, error = out.get(timeout=240)
        assert fails or not error, f"rank {rank}: {error}"
        found[rank] = error if fails else value
    for worker in workers:
        worker.join(60)
    return [found[rank] for rank in range(ranks)]
