"""Loader of batches from a data set in memory, addressed by step number."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from jepa_scale.data.windows import Windows
from jepa_scale.records import Batch


class StepLoader:
    """Loader of ``steps_per_epoch`` batches per epoch, whatever the size of the data set: every n trains equally long.

    Batches are slices of one random permutation per pass through the data; what is left of a pass is dropped, so that
    no batch holds a transition twice. Step s of the run is always the same batch: there is no state to save, and a
    run that resumes sees what it would have seen. ``taken`` tells, when an epoch begins, how many steps are done.
    Ranks take strided rows of the same global batch.

    Raises
    ------
    ValueError
        If the data set is smaller than a batch, or the ranks' shares of a batch differ.
    """

    batch_sampler = None  # Lightning looks for it wherever there is a sampler

    def __init__(
        self,
        data: Windows,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        taken: Callable[[], int] = lambda: 0,
    ) -> None:
        self.rows = len(data)
        if batch_size < 2 or self.rows < batch_size:
            raise ValueError(
                f"expected 2 ≤ batch_size ≤ n, got batch_size={batch_size}, and {self.rows} "
                "windows: lower data.batch_size or raise data.n"
            )
        if batch_size % world_size:
            # Losses gather the rows of all ranks, which takes as many from each; and DDP's mean weighs ranks alike.
            raise ValueError(
                f"expected a batch size that the number of processes divides, got {batch_size=} for {world_size} "
                f"processes: set data.batch_size={batch_size - batch_size % world_size or world_size}"
            )
        self.data, self.batch_size, self.steps_per_epoch = data, batch_size, steps_per_epoch
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch, self.taken = 0, taken
        self._pass, self._order = -1, torch.empty(0, dtype=torch.int64)
        self._moved: torch.Tensor | None = None
        """The order on the device of the data, once it is needed there."""

    @property
    def sampler(self) -> StepLoader:
        """Return the loader itself: Lightning calls ``sampler.set_epoch`` at the start of each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose batches iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps_per_epoch

    def chosen(self, step: int) -> torch.Tensor:
        """Numbers of the windows of this rank's batch at a step of the run, (B / N,), on the device of the data."""
        slot = self._turn(step)
        if self._moved is None:
            self._moved = self._order.to(self.data.starts.device)
        return self._batch(self._moved, slot)

    def drawn(self, step: int) -> torch.Tensor:
        """The same numbers in the memory of the host."""
        slot = self._turn(step)
        return self._batch(self._order, slot)

    def _turn(self, step: int) -> int:
        """Draw the order of the pass that a step is in, and return the number of its batch there."""
        passed, slot = divmod(step, self.rows // self.batch_size)
        if passed != self._pass:
            generator = torch.Generator().manual_seed((self.seed + passed * 0x9E3779B97F4A7C15) % 2**63)
            self._pass, self._order, self._moved = passed, torch.randperm(self.rows, generator=generator), None
        return slot

    def _batch(self, order: torch.Tensor, slot: int) -> torch.Tensor:
        return order[slot * self.batch_size : (slot + 1) * self.batch_size][self.rank :: self.world_size]

    def __iter__(self) -> Iterator[Batch]:
        first = self.epoch * self.steps_per_epoch
        for step in range(max(first, self.taken()), first + self.steps_per_epoch):
            yield self.data.take(self.chosen(step))
