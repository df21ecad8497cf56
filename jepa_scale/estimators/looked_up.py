"""Moments of transitions whose embeddings are rows of two tables, as in a finite world: one row per observation."""

from __future__ import annotations

import torch
from torch import Tensor

from jepa_scale.estimators.moments import SCALARS, MomentAccumulator, NotFiniteError
from jepa_scale.estimators.products import augmented, finite, windows


class LookedUpMoments(MomentAccumulator):
    """``MomentAccumulator`` in float64 that takes numbers of rows of tables in place of embeddings."""

    @torch.no_grad()
    def look_up(self, tables: tuple[Tensor, Tensor], left: Tensor, right: Tensor, places: Tensor) -> None:
        """Add the transitions (h[left], f[right]): ``update`` with those rows, with a third of its passes over them.

        Parameters
        ----------
        tables
            h (·, p) and f (·, q) in float64; ``left``, ``right`` (B,) are numbers of their rows.
        places
            (B,) cell · groups + group of each transition, increasing.

        Raises
        ------
        NotFiniteError
            If a number of the tables is NaN or infinite. Nothing is added then.
        """
        h, f = tables
        if not (finite(h) and finite(f)):
            raise NotFiniteError("expected finite embeddings, got NaN or infinity: the model has diverged")
        if len(left) == 0:
            return
        self._move(h.device)
        if self._shift is None:
            # Means over the transitions, of which a row stands for as many as refer to it.
            counts = [torch.bincount(rows, minlength=len(table)) for rows, table in ((left, h), (right, f))]
            self._shift = counts[0].to(h) @ h / len(left), counts[1].to(f) @ f / len(right)
        z, y = augmented(h, self._shift[0]), augmented(f, self._shift[1])
        matched = torch.full((len(left),), torch.nan, device=h.device, dtype=torch.float64)
        sums = self._flat()
        for window, pieces in windows(places):
            rows, following = z.index_select(0, left[window]), y.index_select(0, right[window])
            if self.width_h == self.width_f:
                matched[window] = (rows[:, 1:] * following[:, 1:]).sum(1)
            for place, part in pieces:
                sums["zz"][place].addmm_(rows[part].T, rows[part])
                sums["yy"][place].addmm_(following[part].T, following[part])
                sums["zy"][place].addmm_(rows[part].T, following[part])
        if self.width_h == self.width_f:
            # hᵀf of the shifted ones and of what the shifts add.
            matched += (h @ self._shift[1])[left] + ((f - self._shift[1]) @ self._shift[0])[right]
        ones = torch.ones_like(matched)
        for name, term in zip(SCALARS, (matched**2, ones, ones), strict=True):
            self._sums[name].view(-1).index_add_(0, places, term)
