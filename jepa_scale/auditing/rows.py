"""Transitions of embeddings in files, checked and cut into blocks of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jepa_scale.auditing.columns import Column, distinct, open_columns
from jepa_scale.auditing.layouts import BFLOAT16, EMBEDDINGS, MOST_ROWS, EpisodeArrays, Flat, check_types
from jepa_scale.shapes import Float, Float64, Int64
from jepa_scale.streams import stream_seed

TOKENS = ("mean", "sample", "all")
"""Treatments of an axis of patch tokens: averaged, one token for each row, or a row for each token."""

_LEAST_ROWS = 1024


@dataclass(frozen=True)
class Block:
    """A block of transitions in the order of the file.

    Embeddings are float32, or float64 where the file holds that; trajectories are numbers 0 … count − 1; discrete
    actions keep their own numbers.
    """

    z: Float[np.ndarray, "B k"]
    z_next: Float[np.ndarray, "B q"]
    z_pred: Float[np.ndarray, "B q"] | None
    actions: Int64[np.ndarray, " B"] | Float64[np.ndarray, "B d"] | None
    trajectories: Int64[np.ndarray, " B"]
    weights: Float64[np.ndarray, " B"] | None


def open_rows(
    path: Path,
    names: Mapping[str, str] | None = None,
    tokens: str = "mean",
    drop_nonfinite: bool = False,
    seed: int = 0,
    block_bytes: int = 2**25,
) -> EmbeddingRows:
    """Open the transitions of a file without reading them; see ``open_columns`` and ``EmbeddingRows``."""
    return EmbeddingRows(open_columns(path, names or {}), tokens, drop_nonfinite, seed, block_bytes)


class EmbeddingRows:
    """Transitions from arrays in one of three layouts.

    ========  ================  ============================  ==================================================
    layout    recognised by     embeddings                    transition i
    ========  ================  ============================  ==================================================
    pairs     ``z_next``        (n, k)                        row i of every array
    series    ``trajectory``    (n, k)                        rows i and i + 1, if of one trajectory
    episodes  neither           (E, T + 1, k)                 times t and t + 1 of an episode, its trajectory
    ========  ================  ============================  ==================================================

    Embeddings may have one more axis of patch tokens before the last. Actions, predictions and weights stand beside
    the first of the two times; in episodes their time axis has length T, or T + 1 with the last entry unused.

    Parameters
    ----------
    columns
        Arrays by canonical name; ``z`` at least. The column of trajectories is read once, here.
    tokens
        ``"mean"`` averages over patch tokens; ``"sample"`` draws one position for each transition, the same in all
        embeddings; ``"all"`` makes each token a row with the action, trajectory and weight of its transition.
    drop_nonfinite, seed
        Leave out transitions with NaN or infinity instead of refusing them; seed of the numbering of trajectories and
        of the sampling of tokens.
    block_bytes
        What a block may take in memory, in bytes, as far as blocks of 1024 to 65536 rows allow. A single episode is
        read whole.

    Attributes
    ----------
    layout
        One sentence that says how the arrays are read.
    rows
        Transitions (times tokens, for ``"all"``), dropped ones included.
    width, next_width, predicted_width
        Last axis of ``z``, ``z_next`` and ``z_pred``; the last is None where nothing is predicted.
    action_kind, token_count
        ``"none"``, ``"discrete"`` or ``"continuous"``; length of the axis of tokens, or None.
    trajectory_count, trajectory_source
        Trajectories with a transition, before any is dropped; ``"given"`` by the file, ``"episodes"``, or contiguous
        ``"blocks"`` of rows.
    dropped
        Rows that the last complete pass left out as not finite.

    Raises
    ------
    ValueError
        If an option is unknown, an array has the wrong type, shapes disagree, or there is no transition.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        tokens: str = "mean",
        drop_nonfinite: bool = False,
        seed: int = 0,
        block_bytes: int = 2**25,
    ):
        if tokens not in TOKENS:
            raise ValueError(f"expected tokens to be one of {', '.join(TOKENS)}, got {tokens!r}")
        if block_bytes < 1:
            raise ValueError(f"expected a positive number of bytes for a block, got {block_bytes}")
        check_types(columns)
        self._columns, self._tokens, self._drop, self._seed = columns, tokens, drop_nonfinite, seed
        layout = Flat(columns) if {"z_next", "trajectory"} & columns.keys() else EpisodeArrays(columns)
        self._layout: Flat | EpisodeArrays = layout
        z = columns["z"]
        self.token_count: int | None = z.shape[-2] if len(z.shape) == layout.axes + 2 else None
        self.width = z.shape[-1]
        self.next_width = columns.get("z_next", z).shape[-1]
        self.predicted_width = columns["z_pred"].shape[-1] if "z_pred" in columns else None
        self.action_kind = "none"
        if "action" in columns:
            discrete = columns["action"].dtype.kind in "biu" and math.prod(columns["action"].shape[layout.axes :]) == 1
            self.action_kind = "discrete" if discrete else "continuous"
        self.trajectory_source = layout.source
        self._number_trajectories()
        self._repeats = (self.token_count or 1) if tokens == "all" else 1
        self.rows *= self._repeats
        self.dropped = 0
        unit = sum(math.prod(column.shape[1:]) * column.dtype.itemsize for column in columns.values())
        self._units = max(1, min(MOST_ROWS // layout.per_unit, block_bytes // max(unit, 1)))
        row = sum(max(4, c.dtype.itemsize) * c.shape[-1] for name, c in columns.items() if name in EMBEDDINGS)
        self._block_rows = min(max(block_bytes // row, _LEAST_ROWS), MOST_ROWS)
        self.layout = self._sentence()

    def blocks(self) -> Iterator[Block]:
        """Yield the transitions in order; every pass gives the same blocks, and only one pass at a time is fast.

        Raises
        ------
        ValueError
            If a row is not finite and such rows are not to be dropped, a weight is negative, the file is damaged, or,
            at the end of the pass, no row is left or all weights are zero.
        """
        kept, mass = 0, 0.0
        for block in _regroup(self._pieces(), self._block_rows):
            kept += len(block.z)
            mass += 1.0 if block.weights is None else float(block.weights.sum())
            yield block
        self.dropped = self.rows - kept
        if kept == 0:
            raise ValueError(f"expected finite embeddings, got none in {self.rows} rows: nothing is left to estimate")
        if mass == 0:
            raise ValueError("expected some positive weight, got zeros only: correct the weights or leave them out")

    def action_blocks(self) -> Iterator[np.ndarray]:
        """Actions alone, in order, shaped as in the file but for episodes' unused last ones: to plan by, not to count.

        Rows that are no transition or are to be dropped are among them.
        """
        for start in range(0, self._layout.units, self._units):
            values = self._columns["action"].read(start, min(start + self._units, self._layout.units))
            yield (
                values if self._layout.axes == 1 else values[:, : self._layout.per_unit].reshape(-1, *values.shape[2:])
            )

    def _pieces(self) -> Iterator[Block]:
        for start in range(0, self._layout.units, self._units):
            stop = min(start + self._units, self._layout.units)
            numbers, arrays = self._layout.read(start, stop)
            if len(numbers):
                yield self._checked(numbers, arrays)

    def _checked(self, numbers: np.ndarray, arrays: dict[str, np.ndarray]) -> Block:
        """Return raw transitions as a checked ``Block``; ``numbers`` are their places in the layout."""
        ids = arrays["trajectory"]
        ids = self._numbers[ids if self._values is None else np.searchsorted(self._values, ids)]
        parts = {name: self._embedding(arrays[name], numbers) for name in EMBEDDINGS if name in arrays}
        for name in ("action", "weight"):
            if name in arrays:
                parts[name] = np.repeat(arrays[name], self._repeats, axis=0)
        numbers, ids = np.repeat(numbers, self._repeats), np.repeat(ids, self._repeats)
        if "action" in parts:
            shape = (-1,) if self.action_kind == "discrete" else (len(numbers), -1)
            parts["action"] = parts["action"].reshape(shape).astype(np.int64 if len(shape) == 1 else np.float64)
        keep = np.ones(len(numbers), dtype=bool)
        for name, values in parts.items():
            # A sum is finite only if every term is: no array of truth values for blocks that are.
            with np.errstate(invalid="ignore", over="ignore"):
                if np.isfinite(values.sum()):
                    continue
            finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
            if not (self._drop or finite.all()):
                bad = len(finite) - int(np.count_nonzero(finite))
                raise ValueError(
                    f"expected finite numbers, got NaN or infinity in {bad} row{'s' * (bad != 1)} of "
                    f"the first block with any, first in {self._layout.place(name, numbers[finite.argmin()])}: mend "
                    "these rows, or leave them out with --drop-nonfinite"
                )
            keep &= finite
        weights = parts["weight"].astype(np.float64) if "weight" in parts else None
        if weights is not None and (negative := (weights < 0) & np.isfinite(weights)).any():
            place = self._layout.place("weight", numbers[negative.argmax()])
            raise ValueError(f"expected weights of at least 0, got {weights[negative][0]:g} in {place}: correct them")
        block = Block(parts["z"], parts["z_next"], parts.get("z_pred"), parts.get("action"), ids, weights)
        return block if keep.all() else _select(block, keep)

    def _embedding(self, values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return embeddings (rows, width) in float32 or float64, without the axis of tokens."""
        if values.dtype.kind == "V":
            values = (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        values = values.astype(np.float64 if values.dtype.itemsize > 4 else np.float32, copy=False)
        if self.token_count is None:
            return values
        if self._tokens == "all":
            return values.reshape(-1, values.shape[-1])
        if self._tokens == "sample":
            return values[np.arange(len(values)), _draw(self._seed, numbers, self.token_count)]
        with np.errstate(invalid="ignore", over="ignore"):
            return values.mean(axis=1, dtype=np.float64).astype(values.dtype)

    def _number_trajectories(self) -> None:
        """Number trajectories by first appearance, then shuffle the numbers.

        Unshuffled, ids with a period (environments stepped in turn) would fall into few of the jackknife's groups.
        """
        self._values: np.ndarray | None = None
        if self.trajectory_source == "given":
            self._values, order, self.rows = distinct(self._layout.ids())
            if self.rows == 0:
                raise ValueError(
                    "expected consecutive rows of z with one trajectory id, got none: give z_next (--columns "
                    "z_next=NAME), or leave the ids of episodes out (--columns trajectory=)"
                )
        else:
            self.rows = self._layout.units * self._layout.per_unit
            order = np.arange(self._layout.trajectories)
        self.trajectory_count = len(order)
        generator = np.random.default_rng(stream_seed(self._seed, "trajectories"))
        self._numbers = generator.permutation(len(order))[order]

    def _sentence(self) -> str:
        parts = [self._layout.sentence]
        if self.token_count is not None:
            how = {"mean": "averaged", "sample": "one drawn for each row", "all": "each a row"}[self._tokens]
            parts.append(f"{self.token_count} tokens, {how}")
        if any(self._columns[name].dtype == BFLOAT16 for name in EMBEDDINGS if name in self._columns):
            parts.append("two-byte numbers read as bfloat16")
        parts.append(f"{self.action_kind} actions" if self.action_kind != "none" else "no actions")
        source = {"given": "by id", "episodes": "one per episode", "blocks": "contiguous blocks of rows"}
        many = "trajectory" if self.trajectory_count == 1 else "trajectories"
        parts.append(f"{self.trajectory_count} {many} ({source[self.trajectory_source]})")
        return "; ".join(parts)


def _draw(seed: int, numbers: np.ndarray, count: int) -> np.ndarray:
    """Draw for each number one of 0 … count − 1 that depends on it and the seed only (SplitMix64), not on blocks."""
    state = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(stream_seed(seed, "tokens"))
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((state ^ (state >> np.uint64(31))) % np.uint64(count)).astype(np.int64)


def _select(block: Block, rows: slice | np.ndarray) -> Block:
    values: list[Any] = [None if values is None else values[rows] for values in vars(block).values()]
    return Block(*values)


def _join(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    parts = zip(*(vars(block).values() for block in blocks), strict=True)
    values: list[Any] = [None if part[0] is None else np.concatenate(part) for part in parts]
    return Block(*values)


def _regroup(pieces: Iterator[Block], size: int) -> Iterator[Block]:
    """Yield the same rows in blocks of ``size``, the last one shorter."""
    pending: list[Block] = []
    count = 0
    for piece in pieces:
        if not pending and size // 2 <= len(piece.z) <= size:
            yield piece  # large enough, and joining copies
            continue
        pending.append(piece)
        count += len(piece.z)
        if count < size:
            continue
        whole, full = _join(pending), count - count % size
        for start in range(0, full, size):
            yield _select(whole, slice(start, start + size))
        count -= full
        pending = [_select(whole, slice(full, None))] if count else []
    if count:
        yield _join(pending)
