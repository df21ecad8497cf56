"""Batches of several data sets at once, each distinct observation once where that is less work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_scale.data.loader import StepLoader
from jepa_scale.data.rows import CachedRows, windows


@dataclass(frozen=True)
class StackedBatch:
    """The batch of every data set at one step."""

    observations: Tensor | None
    """(M, B, H+1, *shape); None if there is a table."""
    actions: Tensor
    """(M, B, H) integer or (M, B, H, size)."""
    places: Tensor | None
    """(M, B, H+1) rows of the table; None if there is none."""


class Batches:
    """Batches of M loaders by step, on the device and in the floating dtype of ``like``.

    ``table`` (U, *shape) holds every observation of all data sets once, if there are fewer than in one batch: a finite
    world's. Encoding it instead of a batch gives the same gradients up to the order of sums.
    """

    def __init__(self, loaders: Sequence[StepLoader], like: Tensor, tabulate: bool = True) -> None:
        self.loaders, self.like = list(loaders), like
        self.size, self.length = loaders[0].batch_size, loaders[0].data.horizon + 1
        self.table: Tensor | None = None
        self._places: list[Tensor] = []
        if tabulate:
            self._tabulate()

    def _tabulate(self) -> None:
        every = [loader.data.observations for loader in self.loaders]
        most = self.size * self.length - 1
        # A look at the first rows spares the others, where observations do not repeat.
        first = every[0]
        if not isinstance(first, CachedRows) or len(_keys(first.values[: 4 * most]).unique()) > most:
            return
        rows = [held.values for held in every if isinstance(held, CachedRows)]
        if len(rows) < len(every):
            return
        keys = [_keys(values) for values in rows]
        known, places = torch.cat(keys).unique(return_inverse=True)
        if len(known) > most:
            return
        table = rows[0].new_empty(len(known), *rows[0].shape[1:])
        self._places = list(places.split([len(values) for values in rows]))
        for values, held in zip(rows, self._places, strict=True):
            table[held] = values
        if all(torch.equal(table[held], values) for values, held in zip(rows, self._places, strict=True)):
            self.table = self.cast(table)

    def cast(self, values: Tensor) -> Tensor:
        """Move values to the device and, if they are floating, the dtype of the weights."""
        return values.to(self.like.device, self.like.dtype if values.is_floating_point() else values.dtype)

    def take(self, step: int) -> StackedBatch:
        """Return the batches that each run sees at a step of its own, by the numbers that it draws itself."""
        observations, actions, places = [], [], []
        for number, loader in enumerate(self.loaders):
            data = loader.data
            rows = windows(data.starts[loader.chosen(step)], self.length)
            actions.append(data.actions.take(rows[:, :-1]))
            if self.table is None:
                observations.append(data.observations.take(rows))
            else:
                places.append(self._places[number].take(rows) + number * len(self.table))
        return StackedBatch(
            None if self.table is not None else self.cast(torch.stack(observations)),
            self.cast(torch.stack(actions)),
            torch.stack(places) if places else None,
        )

    def looked_up(self, batch: StackedBatch) -> Tensor:
        """Observations of a batch, (M, B, H+1, *shape)."""
        if self.table is None:
            assert batch.observations is not None
            return batch.observations
        assert batch.places is not None
        return self.table[batch.places % len(self.table)]


def _keys(rows: Tensor) -> Tensor:
    """(R,) numbers that are the same for equal rows, and almost surely differ for others."""
    flat = rows.flatten(1).double()
    return flat @ torch.randn(flat.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(
        flat.device
    )
