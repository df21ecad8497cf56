"""Single-precision stages: where products of rows are added up before they go into float64 sums."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from jepa_scale.estimators.products import SEGMENT, add_gram, mirror


class Stages:
    """Float32 sums of products of z = h − μ_h and y = f − μ_f, of at most 4096 rows for each place.

    The leading 1 of [1, z] is no column here: a width of 512 stays one of 512, whose products take a fifth less than
    those of 513 columns. Places are independent: several threads may add to different ones.
    """

    def __init__(self, places: int, width_h: int, width_f: int, device: torch.device) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(places, *shape, dtype=torch.float32, device=device)

        self._zz, self._yy, self._zy = zeros(width_h, width_h), zeros(width_f, width_f), zeros(width_h, width_f)
        self._z, self._y, self._one = zeros(width_h), zeros(width_f), zeros()
        self._rows = [0] * places

    def add(self, place: int, z: Tensor, y: Tensor, weights: Tensor | None, sums: Mapping[str, Tensor]) -> None:
        """Add rows, at most 4096 of them; a stage that they would overfill is emptied into ``sums`` first."""
        if self._rows[place] + len(z) > SEGMENT:
            self.empty(place, sums)
        self._rows[place] += len(z)
        left, right = (z, y) if weights is None else (part * weights[:, None].to(part) for part in (z, y))
        add_gram(self._zz[place], left, z)
        add_gram(self._yy[place], right, y)
        self._zy[place].addmm_(left.T, y)
        self._z[place] += left.sum(0)
        self._y[place] += right.sum(0)
        self._one[place] += len(z) if weights is None else weights.sum()

    def empty(self, place: int, sums: Mapping[str, Tensor]) -> None:
        """Add one place's stage to ``sums``, flat over places, and begin again."""
        one, first = self._one[place], {"z": self._z[place], "y": self._y[place]}
        for name, stage in (("zz", self._zz[place]), ("yy", self._yy[place]), ("zy", self._zy[place])):
            if name != "zy":
                mirror(stage)
            target = sums[name][place]
            target[1:, 1:] += stage
            target[1:, 0] += first[name[0]]
            target[0, 1:] += first[name[1]]
            target[0, 0] += one
            stage.zero_()
        for part in (one, *first.values()):
            part.zero_()
        self._rows[place] = 0

    def settle(self, sums: Mapping[str, Tensor]) -> None:
        """Empty every stage."""
        for place, rows in enumerate(self._rows):
            if rows:
                self.empty(place, sums)
