"""Cutting recorded episodes into trajectories of equal length, for estimates that stream them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.rows import RowSource
from jepa_scale.data.split import transition_rows
from jepa_scale.records import Episodes, Trajectories


class Pieces(RowSource):
    """Pieces (P, T+1, *shape) of an array or source: item i holds its rows ``rows[i]``, read when indexed."""

    def __init__(self, base: Any, rows: NDArray[np.int64]) -> None:
        self.base, self.rows = base, rows
        self.shape, self.dtype = (*rows.shape, *base.shape[1:]), base.dtype

    def fetch(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Fetch all pieces with one request to the base."""
        taken = self.rows[rows]
        return np.asarray(self.base[taken.reshape(-1)]).reshape(*taken.shape, *self.shape[2:])


def pieces_of(episodes: Episodes, chosen: NDArray[np.int64], length: int, seed: int) -> Trajectories:
    """Cut the chosen episodes into pieces of ``length`` transitions; each usable transition is in exactly one piece.

    A piece ends with its episode or before a row that is not usable; one that is shorter for that is filled up with its
    last row, and those transitions are not usable. Pieces carry the place of their episode among ``chosen``: only
    episodes are independent.

    Raises
    ------
    ValueError
        If the length is below 1, or the episodes have no transition.
    """
    if length < 1:
        raise ValueError(f"expected pieces of at least one transition, got {length=}")
    rows = transition_rows(episodes, chosen)
    if not len(rows):
        raise ValueError(f"{episodes.source}: expected transitions in {len(chosen)} episodes, got none")
    owner = np.searchsorted(episodes.offsets, rows, side="right") - 1
    # A run of usable rows breaks where a row is left out, and at the end of an episode, whose last row never is one.
    begins = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    run = np.diff(begins, append=len(rows))
    within = np.arange(len(rows)) - np.repeat(begins, run)
    first = np.flatnonzero(within % length == 0)
    sizes = np.diff(first, append=len(rows))
    steps = np.arange(length + 1)
    taken = rows[first][:, None] + np.minimum(steps, sizes[:, None])
    usable = steps[:-1] < sizes[:, None]
    actions = episodes.actions[np.where(usable, taken[:, :-1], taken[:, :1])]
    places = np.empty(len(episodes.lengths), dtype=np.int64)
    places[chosen] = np.arange(len(chosen))
    states = episodes.states
    return Trajectories(
        observations=Pieces(episodes.observations, taken),  # type: ignore[arg-type]
        actions=actions,
        states=None if states is None else states[taken],
        seed=seed,
        policy="recorded",
        usable=None if usable.all() else usable,
        episodes=places[owner[first]],
    )
