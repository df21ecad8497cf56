"""A walk on an L × L torus: five moves, slip, and Gaussian blur of the landing cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jepa_scale.shapes import Float64
from jepa_scale.worlds.base import ExactWorld
from jepa_scale.worlds.memory import check_tables

MOVES = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
"""Stay, and one step in each direction; action 0 does nothing."""


def move_table(side: int, bring_back: Callable[[np.ndarray], np.ndarray]) -> Float64[np.ndarray, "A N N"]:
    """P(x'|x, a) of the moves without chance; ``bring_back`` takes coordinates −1 … L to cells, 0 … L − 1."""
    row, column = np.divmod(np.arange(side * side), side)
    moves = np.zeros((len(MOVES), side * side, side * side))
    for action, (down, right) in enumerate(MOVES):
        landing = bring_back(row + down) * side + bring_back(column + right)
        moves[action, np.arange(side * side), landing] = 1.0
    return moves


@dataclass(frozen=True)
class Torus(ExactWorld):
    """P(·|x, a) = B [(1 − slip) δ_{x+a} + slip · mean over moves], B a Gaussian blur on the ring of each axis.

    All matrices commute with translations, so p and every q_a are uniform and the singular values are the moduli of the
    kernel's Fourier coefficients.

    Raises
    ------
    ValueError
        If the side is below 2, the slip outside [0, 1], the blur negative, or the table would not fit into memory.
    """

    side: int = 8
    """L, cells along one axis; N = L²."""
    slip: float = 0.2
    """Probability that a uniformly drawn move replaces the chosen one."""
    blur: float = 0.0
    """Standard deviation of the landing noise, in cells; 0 for none."""

    def __post_init__(self) -> None:
        if self.side < 2:
            raise ValueError(f"expected a torus of side ≥ 2, got side={self.side}")
        if not 0 <= self.slip <= 1:
            raise ValueError(f"expected a probability in [0, 1], got slip={self.slip}")
        # Its square is divided by.
        if self.blur != 0 and not 1e-30 < self.blur < 1e30:
            raise ValueError(f"expected a standard deviation of 0, or between 1e-30 and 1e30, got blur={self.blur}")
        check_tables(len(MOVES), self.side**2)

    @property
    def null_action(self) -> int | None:
        """Stay."""
        return 0

    def kernel(self) -> Float64[np.ndarray, "A N N"]:
        """P(x'|x, a)."""
        moves = move_table(self.side, lambda place: place % self.side)
        slipped = (1 - self.slip) * moves + self.slip * moves.mean(0)
        ring = self._ring_blur()
        return slipped @ np.kron(ring, ring)

    def _ring_blur(self) -> Float64[np.ndarray, "L L"]:
        side = self.side
        if self.blur == 0:
            return np.eye(side)
        offset = np.arange(side)
        # The tail of the Gaussian wraps around the ring; eight turns are far below float64's resolution for any blur
        # at which the ring is not uniform already.
        turns = np.arange(-8, 9) * side
        weight = np.exp(-((offset[:, None] + turns[None]) ** 2) / (2 * self.blur**2)).sum(1)
        weight /= weight.sum()
        return weight[(offset[None] - offset[:, None]) % side]
