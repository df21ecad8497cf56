"""One pass over the rows, which accumulates moments and keeps no rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from jepa_scale.auditing.plan import DICTIONARY_ROWS, Plan
from jepa_scale.auditing.rows import Block, EmbeddingRows
from jepa_scale.auditing.settings import AuditSettings
from jepa_scale.estimators.actions import with_actions
from jepa_scale.estimators.dictionary import RandomFeatures
from jepa_scale.estimators.moments import MomentAccumulator
from jepa_scale.estimators.spectrum import SAMPLES_PER_DIMENSION
from jepa_scale.streams import stream_seed

_RESOLUTION_ROWS = 50_000
"""Number of rows, in evenly spread blocks, for each resolution."""

_BATCH_BYTES = 2**26
"""Bytes of the rows of one side that are accumulated at once."""

_EXACT = 256
"""Widths up to which products are float64: float32 lost a direction of 128 that were mixed at random, and 0.5 of T."""

_KEYS = 2_000_000
"""Largest number of keys kept to find repeated rows."""


@dataclass
class Gathered:
    """Sums that one pass accumulates."""

    plan: Plan
    moments: MomentAccumulator
    dictionary: MomentAccumulator | None
    resolution: dict[float, MomentAccumulator]
    joint: MomentAccumulator | None
    """Moments of z ⊗ φ(a), for the plan's basis."""
    reduced: bool
    """Whether the dictionary's arguments are some principal directions of the embeddings, and not all."""
    seen: np.ndarray
    """Number of rows of each cell, without dropped ones."""
    every: int
    """One in ``every`` keys is kept, chosen by the key itself: equal rows are kept or left out together."""
    keys: list[np.ndarray] = field(default_factory=list)
    """Kept keys of each block, without repetitions."""
    repeated_in_blocks: int = 0

    @property
    def repeated(self) -> int:
        """Number of rows that repeat another's transition; of many rows a share is checked and the number scaled."""
        keys = np.concatenate(self.keys) if self.keys else np.zeros(0, dtype=np.uint64)
        return self.every * (self.repeated_in_blocks + len(keys) - len(np.unique(keys)))


def gather(
    rows: EmbeddingRows, plan: Plan, settings: AuditSettings, advance: Callable[[int], None] = lambda count: None
) -> Gathered:
    """Accumulate all moments; ``advance`` is called with the number of rows of every block."""
    with _threads(settings.threads) as pool:
        return _gather(rows, plan, settings, advance, pool)


@contextmanager
def _threads(count: int | None) -> Iterator[ThreadPoolExecutor]:
    """Start a pool of threads that each compute on one core.

    Not one product on all cores: its parts end together only if nobody else, such as the reader, takes a core.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count or _cores()) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gather(
    rows: EmbeddingRows, plan: Plan, settings: AuditSettings, advance: Callable[[int], None], pool: ThreadPoolExecutor
) -> Gathered:
    gathered: Gathered | None = None
    batches: _Batches | None = None
    project: list[np.ndarray | None] = []
    reduce: list[np.ndarray | None] = []
    features: dict[float, tuple[RandomFeatures, RandomFeatures]] = {}
    every = max(1, rows.rows // DICTIONARY_ROWS)
    rarely = max(1, rows.rows // _RESOLUTION_ROWS)
    for number, block in enumerate(_ahead(rows.blocks())):
        h, f = (block.z if block.z_pred is None else block.z_pred), block.z_next
        if gathered is None:
            project = _projections(h, f, settings.components)
            widths = [
                part.shape[1] if matrix is None else matrix.shape[1]
                for part, matrix in zip((h, f), project, strict=True)
            ]
            reduce = _projections(block.z, f, _inputs(rows, plan, settings))
            features = _features(rows, plan, _reduced(block, reduce), settings)
            gathered = _empty(plan, widths, features, max(1, rows.rows // _KEYS), pool)
            gathered.reduced = any(matrix is not None for matrix in reduce)
            batches = _Batches(gathered.moments, np.result_type(h, f))
        cells = plan.cells_of(block)
        left, right = (part if matrix is None else part @ matrix for part, matrix in zip((h, f), project, strict=True))
        trajectories = torch.from_numpy(block.trajectories)
        weights = None if block.weights is None else torch.from_numpy(block.weights)
        places = None if cells is None else torch.from_numpy(cells)
        assert batches is not None
        batches.add(left, right, cells, block)
        gathered.seen += np.bincount(np.zeros(len(h), int) if cells is None else cells, minlength=plan.cells)
        keys = _keys(block)
        chosen = keys[keys % np.uint64(gathered.every) == 0]
        gathered.keys.append(np.unique(chosen))
        gathered.repeated_in_blocks += len(chosen) - len(gathered.keys[-1])
        if gathered.joint is not None and number % every == 0:
            assert plan.basis is not None
            assert block.actions is not None
            products = with_actions(left, plan.basis(block.actions))
            gathered.joint.update(torch.from_numpy(products), torch.from_numpy(right), None, trajectories, weights)
        for eps, (phi, psi) in features.items():
            if number % (every if eps == 0 else rarely) == 0:
                target = gathered.dictionary if eps == 0 else gathered.resolution[eps]
                assert target is not None
                narrow = _reduced(block, reduce)
                target.update(
                    torch.from_numpy(phi(_context(narrow, plan))),
                    torch.from_numpy(psi(narrow.z_next.astype(np.float64))),
                    None if plan.joint else places,
                    trajectories,
                    weights,
                )
        advance(len(h))
    assert gathered is not None
    assert batches is not None
    batches.flush()
    return gathered


def _ahead(blocks: Iterator[Block]) -> Iterator[Block]:
    """Yield the same blocks; the next one is read while the current one is processed."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = reader.submit(next, blocks, None)
            yield block


class _Batches:
    """Concatenation of blocks in reused memory: products over more rows of a group at once are faster."""

    def __init__(self, moments: MomentAccumulator, dtype: np.dtype):
        widths = moments.width_h, moments.width_f
        self._rows = max(1024, _BATCH_BYTES // (max(widths) * dtype.itemsize))
        self._moments = moments
        kind = torch.float64 if dtype == np.float64 else torch.float32
        self._h, self._f = (torch.empty(self._rows, width, dtype=kind) for width in widths)
        self._cells, self._trajectories = (torch.zeros(self._rows, dtype=torch.int64) for _ in range(2))
        self._weights = torch.ones(self._rows, dtype=torch.float64)
        self._weighted = False
        self._filled = 0

    def add(self, h: np.ndarray, f: np.ndarray, cells: np.ndarray | None, block: Block) -> None:
        """Copy a block's rows and pass full batches on."""
        for start in range(0, len(h), self._rows):
            part = slice(start, start + self._rows)
            size = len(h[part])
            if self._filled + size > self._rows:
                self.flush()
            to = slice(self._filled, self._filled + size)
            self._h[to], self._f[to] = torch.from_numpy(h[part]), torch.from_numpy(f[part])
            self._cells[to] = 0 if cells is None else torch.from_numpy(cells[part])
            self._trajectories[to] = torch.from_numpy(block.trajectories[part])
            if block.weights is not None:
                self._weights[to] = torch.from_numpy(block.weights[part])
                self._weighted = True
            self._filled += size

    def flush(self) -> None:
        """Pass the remaining rows on."""
        if self._filled:
            to = slice(0, self._filled)
            weights = self._weights[to] if self._weighted else None
            self._moments.update(self._h[to], self._f[to], self._cells[to], self._trajectories[to], weights)
            self._filled = 0


def _context(block: Block, plan: Plan) -> np.ndarray:
    """Return the arguments of the dictionary's left features: z, and the action if the operator is the joint one."""
    parts = [block.z, block.actions] if plan.joint else [block.z]
    return np.hstack([part.astype(np.float64) for part in parts if part is not None])


def _reduced(block: Block, matrices: list[np.ndarray | None]) -> Block:
    """Return the block with z and z_next on principal directions, where there are too many for a dictionary."""
    z, following = (
        part if matrix is None else part @ matrix
        for part, matrix in zip((block.z, block.z_next), matrices, strict=True)
    )
    return replace(block, z=z, z_next=following)


def _most_features(rows: EmbeddingRows, plan: Plan) -> int:
    """Return how many features the rows of an action allow."""
    rarest = rows.rows / (1 if plan.joint else plan.cells)
    if plan.counts is not None:
        # An action too rare for its own spectrum has no say in the others' dictionary.
        common = plan.counts[plan.counts >= min(_SOME, plan.counts.max())]
        rarest = float(common.min())
    share = min(1.0, DICTIONARY_ROWS / rows.rows)
    return int(rarest * share / (1.2 * SAMPLES_PER_DIMENSION))


_SOME = 2 * SAMPLES_PER_DIMENSION * 16
"""Rows of an action that make it common: enough for a dictionary of sixteen directions."""


def _inputs(rows: EmbeddingRows, plan: Plan, settings: AuditSettings) -> int | None:
    """Return how many principal directions the dictionary takes; None: all coordinates."""
    if settings.dictionary is not None:
        return settings.components
    wide = max(rows.width, rows.next_width)
    fits = min(wide, settings.components or wide, min(512, _most_features(rows, plan)) // 2)
    return fits if 16 <= fits < wide else settings.components


def _features(
    rows: EmbeddingRows, plan: Plan, block: Block, settings: AuditSettings
) -> dict[float, tuple[RandomFeatures, RandomFeatures]]:
    """Return the dictionary by resolution, 0 for none; empty if rows are too few or nothing varies."""
    context, following = _context(block, plan), block.z_next.astype(np.float64)
    inputs = max(context.shape[1], following.shape[1])
    most = _most_features(rows, plan)
    width = min(max(4 * inputs, 128), 512, most) if settings.dictionary is None else settings.dictionary
    # Twice the inputs at least: a dictionary hardly wider than the embeddings has no tail to show.
    if width < (2 * inputs if settings.dictionary is None else 1):
        return {}
    if settings.dictionary is not None and width < inputs:
        raise ValueError(f"expected a dictionary of at least the {inputs} coordinates, got --dictionary {width}")
    seeds = [stream_seed(settings.seed, f"dictionary/{side}") for side in ("context", "following")]
    dictionaries = {}
    for eps in (0.0, *settings.resolution):
        try:
            dictionaries[eps] = (
                RandomFeatures(context, width, seeds[0], eps),
                RandomFeatures(following, width, seeds[1], eps),
            )
        except ValueError:
            # Collapsed embeddings: the spectrum says so.
            return {}
    return dictionaries


def _empty(
    plan: Plan,
    widths: list[int],
    features: dict[float, tuple[RandomFeatures, RandomFeatures]],
    every: int,
    pool: ThreadPoolExecutor,
) -> Gathered:
    cells = 1 if plan.joint else plan.cells

    def accumulator(eps: float) -> MomentAccumulator:
        return MomentAccumulator(features[eps][0].width, features[eps][1].width, cells, pool=pool)

    return Gathered(
        plan,
        MomentAccumulator(
            widths[0], widths[1], plan.cells, precision=torch.float64 if max(widths) <= _EXACT else None, pool=pool
        ),
        accumulator(0.0) if features else None,
        {eps: accumulator(eps) for eps in features if eps > 0},
        None if plan.basis is None else MomentAccumulator(len(plan.basis) * (widths[0] + 1) - 1, widths[1], pool=pool),
        False,
        np.zeros(plan.cells, dtype=np.int64),
        every,
    )


def _projections(h: np.ndarray, f: np.ndarray, components: int | None) -> list[np.ndarray | None]:
    """Return leading principal directions (width, components) of each side's first rows; None if not needed."""
    projections: list[np.ndarray | None] = []
    for part in (h, f):
        if components is None or components >= part.shape[1]:
            projections.append(None)
            continue
        covariance = np.cov(part.astype(np.float64).T)
        projections.append(np.linalg.eigh(covariance)[1][:, ::-1][:, :components].astype(part.dtype))
    return projections


def _keys(block: Block) -> np.ndarray:
    """Return a 64-bit hash of each transition: equal rows have equal keys, other rows hardly ever."""
    parts = [block.z, block.z_next] + ([] if block.actions is None else [block.actions.reshape(len(block.z), -1)])
    keys = np.zeros(len(block.z), dtype=np.uint64)
    for part in parts:
        # A few coordinates suffice: embeddings that agree in eight of them to the last bit are the same.
        chosen = part[:, :: max(1, part.shape[1] // 8)][:, :8].astype(np.float64)
        for column in np.ascontiguousarray(chosen.T).view(np.uint64):
            keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
    return keys
