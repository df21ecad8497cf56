"""What the ranks of a run agree on, share and exchange."""

import pytest
import torch

from jepa_scale import processes
from jepa_scale.objectives.base import gather
from jepa_scale.records import Batch
from jepa_scale.runs.distributed.group import joined
from jepa_scale.training.finetuning.base import goals_of, step_generator
from tests.runs.ranks import on_ranks

SETTINGS = {"devices": 3, "accelerator": "cpu"}


def failing(number):
    raise ValueError(f"job {number}")


def collected(make):
    try:
        return make()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


class Unsendable(Exception):
    def __init__(self, one, two):
        super().__init__(one + two)


def refuse():
    raise Unsendable("not ", "sent")


def exchanges():
    with joined(SETTINGS) as here:
        rank, asked = processes.rank(), []
        assert (here.rank, here.world_size) == (rank, processes.world_size())
        rows = torch.arange(12.0).view(6, 2)
        mine = processes.strided(rows).clone().requires_grad_(True)
        everybody = gather(mine)
        # Each rank's loss looks at all rows; rank r weighs them with r + 1.
        (everybody.square().sum() * (rank + 1)).backward()
        return {
            "agreed": processes.agreed(lambda: asked.append(rank) or rank),
            "asked": asked,
            "every": processes.every(lambda: rank * 10),
            "spread": processes.spread([lambda number=number: (number, processes.rank()) for number in range(7)]),
            "greatest": processes.greatest(rank % 2),
            "agreed fails": collected(lambda: processes.agreed(lambda: failing(0))),
            "one of every fails": collected(lambda: processes.every(lambda: failing(1) if rank == 1 else 1)),
            "two jobs fail": collected(lambda: processes.spread([lambda: 1, lambda: failing(1), lambda: failing(2)])),
            "unsendable": collected(lambda: processes.agreed(refuse)),
            "afterwards": processes.every(lambda: rank),
            "gathered": everybody.detach()[processes.gathered_place(torch.arange(6), 6)].tolist(),
            "gradient": mine.grad.tolist(),
        }


def test_ranks_exchange_what_one_process_has():
    found = on_ranks(3, exchanges)
    rows = torch.arange(12.0).view(6, 2)
    for rank, one in enumerate(found):
        assert one["agreed"] == 0
        assert one["asked"] == ([0] if rank == 0 else [])
        assert one["every"] == [0, 10, 20]
        assert one["spread"] == [(number, number % 3) for number in range(7)]
        assert one["greatest"] == 1
        assert one["agreed fails"] == "ValueError: job 0"
        assert one["one of every fails"] == "ValueError: job 1"
        assert one["two jobs fail"] == "ValueError: job 1"
        assert "Unsendable: not sent" in one["unsendable"]
        assert one["afterwards"] == [0, 1, 2]
        assert one["gathered"] == rows.tolist(), "rows of the global batch are found again"
        # d/dx of x² of every rank's loss, weights 1 + 2 + 3.
        assert one["gradient"] == (12 * rows[rank::3]).tolist()


def test_a_process_on_its_own_does_everything_itself():
    assert processes.every(lambda: 3) == [3]
    assert processes.agreed(lambda: 4) == 4
    assert processes.spread([lambda: 1, lambda: 2]) == [1, 2]
    assert processes.greatest(2) == 2
    assert processes.strided(torch.arange(3)).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="job 0"):
        processes.agreed(lambda: failing(0))


def goals(ranks):
    batch = Batch(torch.arange(60.0).view(12, 5, 1), torch.zeros(12, 4))
    latents = batch.observations * 2
    if ranks == 1:
        found = goals_of(batch, latents, 0.5, step_generator(0, 3), shared=True)
        return found.observations.tolist(), found.latents.tolist()
    with joined({**SETTINGS, "devices": ranks}):
        mine = Batch(processes.strided(batch.observations), processes.strided(batch.actions))
        found = goals_of(mine, processes.strided(latents), 0.5, step_generator(0, 3), shared=True)
        return found.observations.tolist(), found.latents.tolist()


def test_goals_are_drawn_for_the_global_batch():
    observations, latents = goals(1)
    for rank, (ours, theirs) in enumerate(on_ranks(2, goals, 2)):
        assert ours == observations[rank::2]
        assert theirs == latents[rank::2]
