"""Batches of several data sets at once, each distinct observation once where that is less work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_scale.data.loader import StepLoader
from jepa_scale.data.rows import CachedRows, MappedRows, windows
from jepa_scale.training.cohort.numbers import NotStackable


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

    def all_places(self) -> Tensor | None:
        """(R,) rows of the table that all rows of all data sets show, of M tables end to end; None without a table."""
        if self.table is None:
            return None
        return torch.cat([places + number * len(self.table) for number, places in enumerate(self._places)])

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


class ResidentRows:
    """The data of M loaders end to end on one device, from which batches are taken by numbers that were drawn before.

    The loaders' own rows become views of them, so that nothing lies on the device twice.

    Raises
    ------
    NotStackable
        If rows are in a file.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches, self._data = batches, [loader.data for loader in batches.loaders]
        self._actions = _joined([data.actions for data in self._data])
        self._observations = None
        if batches.table is None:
            self._observations = _joined([data.observations for data in self._data])
        rows = torch.tensor([0, *(len(data.actions) for data in self._data)]).cumsum(0).tolist()
        self._starts = torch.cat([data.starts + first for data, first in zip(self._data, rows, strict=False)])
        self._offsets = torch.tensor([0, *(len(data.starts) for data in self._data[:-1])]).cumsum(0)
        self._places = batches.all_places()

    def draw(self, step: int, steps: int) -> Tensor:
        """(steps, M, B) numbers of windows among all, in the memory of the host."""
        drawn = [torch.stack([one.drawn(s) for one in self._batches.loaders]) for s in range(step, step + steps)]
        return torch.stack(drawn) + self._offsets[:, None]

    def take(self, chosen: Tensor) -> StackedBatch:
        """The batches of a step, the same bit by bit as of ``Batches.take``, by the (M, B) numbers of their windows."""
        rows = self._starts[chosen][..., None] + torch.arange(self._batches.length, device=chosen.device)
        observations = None if self._observations is None else self._batches.cast(self._observations.take(rows))
        actions = self._batches.cast(self._actions.take(rows[..., :-1]))
        return StackedBatch(observations, actions, None if self._places is None else self._places[rows])


def _joined(parts: Sequence[CachedRows | MappedRows]) -> CachedRows:
    held = [part for part in parts if isinstance(part, CachedRows)]
    if len(held) < len(parts):
        raise NotStackable("its observations are read from a file")
    whole = torch.cat([part.values for part in held])
    for part, values in zip(held, whole.split([len(part) for part in held]), strict=True):
        part.values = values
    return CachedRows(whole)
