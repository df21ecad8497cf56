"""Products of many rows: cut for a cache, in full single precision, refused where they are not finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

SEGMENT = 4096
"""Rows of one single-precision sum; longer sums are taken in float64, or rounding would show in small s_i."""


def windows(key: Tensor) -> Iterator[tuple[slice, list[tuple[int, slice]]]]:
    """Sorted rows in windows that a cache can hold, and in each the pieces of one place, counted from its start."""
    kept, counts = torch.unique_consecutive(key, return_counts=True)
    pieces: list[tuple[int, slice]] = []
    start, length = 0, 0
    for place, count in zip(kept.tolist(), counts.tolist(), strict=True):
        for first in range(0, count, SEGMENT):
            size = min(SEGMENT, count - first)
            if length + size > SEGMENT:
                yield slice(start, start + length), pieces
                start, length, pieces = start + length, 0, []
            pieces.append((place, slice(length, length + size)))
            length += size
    yield slice(start, start + length), pieces


def tasks(key: Tensor) -> list[list[tuple[slice, list[tuple[int, slice]]]]]:
    """``windows`` in runs that share no place, which threads can work on at the same time."""
    found: list[list[tuple[slice, list[tuple[int, slice]]]]] = []
    for window in windows(key):
        if found and found[-1][-1][1][-1][0] == window[1][0][0]:
            found[-1].append(window)
        else:
            found.append([window])
    return found


_LEAF = 128


def add_gram(target: Tensor, left: Tensor, right: Tensor) -> None:
    """target += leftᵀ right where that is symmetric: blocks on and above the diagonal; ``mirror`` gives the others."""
    half = len(target) // 2
    if half < _LEAF:
        target.addmm_(left.T, right)
        return
    add_gram(target[:half, :half], left[:, :half], right[:, :half])
    target[:half, half:].addmm_(left[:, :half].T, right[:, half:])
    add_gram(target[half:, half:], left[:, half:], right[:, half:])


def mirror(target: Tensor) -> None:
    """Fill what ``add_gram`` left out."""
    half = len(target) // 2
    if half >= _LEAF:
        mirror(target[:half, :half])
        target[half:, :half] = target[:half, half:].T
        mirror(target[half:, half:])


def finite(rows: Tensor) -> bool:
    """Whether all are: their sum is finite only if every term is, which needs one pass and no mask."""
    # A float32 sum may overflow where no term does; float16 sums do.
    fast = torch.isfinite(rows.sum(dtype=torch.float32 if rows.element_size() < 4 else rows.dtype))
    return bool(fast) or bool(torch.isfinite(rows).all())


def augmented(rows: Tensor, shift: Tensor) -> Tensor:
    """[1, v − μ]"""
    whole = rows.new_ones(len(rows), rows.shape[1] + 1)
    torch.sub(rows, shift.to(rows), out=whole[:, 1:])
    return whole


@contextmanager
def exact_products(device: str) -> Iterator[None]:
    """Full single precision, whatever the trainer has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
