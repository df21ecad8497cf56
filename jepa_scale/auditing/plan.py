"""Plan of an audit: what to accumulate, decided from actions and sizes before the embeddings are read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.auditing.rows import Block, EmbeddingRows
from jepa_scale.auditing.settings import AuditSettings
from jepa_scale.estimators.actions import ActionBasis
from jepa_scale.estimators.cells import ActionCells
from jepa_scale.estimators.moments import GROUPS
from jepa_scale.estimators.spectrum import SAMPLES_PER_DIMENSION
from jepa_scale.streams import stream_seed

STATE_BYTES = 640 * 2**20
"""Memory limit of the moments in bytes; above it an audit asks for fewer components or cells."""

DICTIONARY_ROWS = 200_000
"""Number of rows, in evenly spread blocks, for the dictionary and for products with functions of actions."""

_JOINT_FEATURES = 512
"""Largest number of products of embeddings and functions of actions."""

_MOST_LABELS = 256
_MOST_CELLS = 16
_SAMPLE = 100_000


@dataclass(frozen=True)
class Plan:
    """What to accumulate, decided before the first row of embeddings is read."""

    labels: np.ndarray | None
    """(A,) discrete actions in increasing order; None where there are none."""
    counts: np.ndarray | None
    """(A,) number of rows with each action."""
    bins: ActionCells | None
    """Cells of continuous actions."""
    joint: bool
    """Whether the joint operator (x, a) → x⁺ is audited in place of each action's."""

    bins_dimension: int = 1
    """Number of coordinates of a continuous action."""
    basis: ActionBasis | None = None
    """Functions of continuous actions for a joint operator besides the cells, if there are no predictions."""
    no_basis: str = ""
    """Why there is no such basis."""

    @property
    def cells(self) -> int:
        """Number of cells for which moments are kept."""
        if self.labels is not None:
            return len(self.labels)
        return len(self.bins) if self.bins is not None else 1

    def cells_of(self, block: Block) -> np.ndarray | None:
        """Return the cell of each row."""
        if block.actions is None:
            return None
        if self.labels is not None:
            return np.searchsorted(self.labels, block.actions)
        return self.bins(block.actions) if self.bins is not None else None


def components_that_fit(rows: EmbeddingRows, settings: AuditSettings) -> int | None:
    """Return how many principal directions to project on: as asked for, or as many as rows and memory allow.

    None: all. Rows that allow next to nothing are no reason to project: no spectrum is shown then.
    """
    if settings.components is not None:
        return settings.components
    wide = max(rows.predicted_width or rows.width, rows.next_width)
    counts = _labels(rows)[1] if rows.action_kind == "discrete" else np.array([rows.rows])
    by_rows = int(counts.max() / (1.1 * SAMPLES_PER_DIMENSION))
    if by_rows < _LEAST_COMPONENTS:
        return None if _state(len(counts), wide, wide) <= STATE_BYTES else min(wide, _LEAST_COMPONENTS)
    fits = min(wide, by_rows)
    while fits > 1 and _state(len(counts), fits, fits) > STATE_BYTES:
        fits -= 1 + fits // 50
    return fits if fits < wide else None


_LEAST_COMPONENTS = 16
"""Fewest principal directions that an audit projects on for want of rows."""


def make_plan(rows: EmbeddingRows, settings: AuditSettings) -> Plan:
    """Read the actions and decide on the cells.

    Raises
    ------
    ValueError
        If there are more discrete actions than can be told apart, or moments would not fit into memory.
    """
    if rows.action_kind == "discrete":
        labels, counts = _labels(rows)
        plan = Plan(labels, counts, None, False)
    elif rows.action_kind == "continuous":
        sample = _sampled(rows, settings.seed)
        count = settings.cells or _cells_that_fit(rows, settings)
        bins = ActionCells.of(sample, min(count, 1 << (len(sample).bit_length() - 1)))
        basis, why = (None, "") if rows.predicted_width is not None else _basis(sample, rows, settings)
        plan = Plan(None, None, bins, rows.predicted_width is not None, sample.shape[1], basis, why)
    else:
        plan = Plan(None, None, None, False)
    _check_memory(plan, rows, settings)
    return plan


def _basis(sample: np.ndarray, rows: EmbeddingRows, settings: AuditSettings) -> tuple[ActionBasis | None, str]:
    """Return as many functions of actions as there are rows for their products with z, or why there are none."""
    width = _widths(rows, settings)[0] + 1
    enough = int(min(rows.rows, DICTIONARY_ROWS) / (1.2 * SAMPLES_PER_DIMENSION))
    try:
        return ActionBasis(sample, min(_JOINT_FEATURES, enough) // width), ""
    except ValueError as error:
        return None, f"{error}, or give more rows: at most {_JOINT_FEATURES} products with the {width - 1} coordinates"


def _state(cells: int, p: int, q: int) -> int:
    return 8 * cells * GROUPS * ((p + 1) ** 2 + (q + 1) ** 2 + (p + 1) * (q + 1))


def _widths(rows: EmbeddingRows, settings: AuditSettings) -> tuple[int, int]:
    limit = settings.components or max(rows.width, rows.next_width)
    return min(rows.predicted_width or rows.width, limit), min(rows.next_width, limit)


def _cells_that_fit(rows: EmbeddingRows, settings: AuditSettings) -> int:
    widths = _widths(rows, settings)
    cells = _MOST_CELLS
    while cells > 1 and (
        rows.rows < 1.5 * cells * SAMPLES_PER_DIMENSION * max(widths) or _state(cells, *widths) > STATE_BYTES
    ):
        cells //= 2
    return cells


def _check_memory(plan: Plan, rows: EmbeddingRows, settings: AuditSettings) -> None:
    widths = _widths(rows, settings)
    needed = _state(plan.cells, *widths)
    if needed > STATE_BYTES:
        fits = max(widths)
        while _state(plan.cells, fits, fits) > STATE_BYTES:
            fits -= 1
        raise ValueError(
            f"expected moments within {STATE_BYTES // 2**20} MiB, got {needed // 2**20} MiB for {plan.cells} actions "
            f"or cells of width {max(widths)}: project with --components {2 ** (fits.bit_length() - 1)}, or take fewer "
            "--cells"
        )


def _labels(rows: EmbeddingRows) -> tuple[np.ndarray, np.ndarray]:
    counted: dict[int, int] = {}
    for block in rows.action_blocks():
        for label, count in zip(*np.unique(block.reshape(-1).astype(np.int64), return_counts=True), strict=True):
            counted[int(label)] = counted.get(int(label), 0) + int(count)
        if len(counted) > _MOST_LABELS:
            raise ValueError(
                f"expected at most {_MOST_LABELS} different discrete actions, got more: if they are continuous or "
                "composed, save them as floating numbers (n, d)"
            )
    labels = np.array(sorted(counted))
    return labels, np.array([counted[int(label)] for label in labels])


def _sampled(rows: EmbeddingRows, seed: int) -> np.ndarray:
    """Return a sample of the actions, an equal share of every block."""
    share = min(1.0, _SAMPLE / rows.rows)
    generator = np.random.default_rng(stream_seed(seed, "actions"))
    parts = []
    for block in rows.action_blocks():
        flat = block.reshape(len(block), -1).astype(np.float64)
        flat = flat[np.isfinite(flat).all(1)]
        chosen = generator.random(len(flat)) < share if share < 1 else slice(None)
        parts.append(flat[chosen])
    sample = np.concatenate(parts)
    if len(sample) == 0:
        raise ValueError("expected finite actions, got NaN or infinity in every row: mend them, or leave action out")
    return sample
