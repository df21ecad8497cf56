"""A walk on an L × L grid with walls and no chance in it: the negative control, whose spectrum is flat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.shapes import Float64
from jepa_scale.worlds.base import ExactWorld
from jepa_scale.worlds.memory import check_tables
from jepa_scale.worlds.torus import MOVES, move_table


@dataclass(frozen=True)
class DeterministicGrid(ExactWorld):
    """x' = x + a, or x where a wall is in the way; five moves, action 0 stays.

    The columns of M̄(a) with q_a > 0 are orthonormal for any deterministic map T_a, so M̄(a) has |T_a(X)| singular values
    1 and no others: L² for staying, L² − L for a step, which no cell of the wall behind it is reached by. Hence
    tail_k(a) = max(0, |T_a(X)| − k), a straight line: there is no decay to scale with, and a decay law that is fitted
    here must come out as unfit (E4).

    A bump makes two cells land on one, so the q_a of steps are not uniform; but going from x to y and back have the
    same probability under the uniform policy, so its stationary law p is.

    The resolution of its observations is exact: one-hot vectors, without sensor noise.

    Raises
    ------
    ValueError
        If the side is below 2, or the table would not fit into memory.
    """

    side: int = 6
    """L, cells along one axis; N = L²."""

    def __post_init__(self) -> None:
        if self.side < 2:
            raise ValueError(f"expected a grid of side ≥ 2, got side={self.side}: one cell has nowhere to go")
        check_tables(len(MOVES), self.side**2)

    @property
    def null_action(self) -> int | None:
        """Stay."""
        return 0

    def kernel(self) -> Float64[np.ndarray, "A N N"]:
        """P(x'|x, a) ∈ {0, 1}."""
        # One coordinate moves at a time, so clipping leaves the walker where it is.
        return move_table(self.side, lambda place: np.clip(place, 0, self.side - 1))
