"""Layouts of transitions in arrays: rows along one axis, or episodes along two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from jepa_scale.auditing.columns import Column

BLOCKS = 256
"""Number of contiguous blocks of rows that replace trajectories if the file names none."""

MOST_ROWS = 65536
"""Largest number of rows of a block."""

EMBEDDINGS = ("z", "z_next", "z_pred")

# Not among floating types: NumPy saves bfloat16 as two bytes without a meaning.
BFLOAT16 = np.dtype("V2")


class Flat:
    """Layout of rows along one axis: pairs, or a series in which rows i and i + 1 of one id are a transition."""

    axes, per_unit = 1, 1

    def __init__(self, columns: Mapping[str, Column]):
        z, z_next = columns["z"].shape, columns.get("z_next", columns["z"]).shape
        self._columns, self._series = columns, "z_next" not in columns
        hint = ", or episodes without trajectory (--columns trajectory=)" if self._series else " beside z_next"
        check_axes(z, (2, 3), f"(n, width) or (n, tokens, width){hint}")
        agree(columns, "z_next", [(*z[:-1], None)])
        agree(columns, "z_pred", [z_next], "z" if self._series else "z_next")
        agree(columns, "action", [z[:1], (z[0], None)])
        agree(columns, "trajectory", [z[:1]])
        agree(columns, "weight", [z[:1]])
        self.units = z[0] - self._series
        self.source = "given" if "trajectory" in columns else "blocks"
        self.trajectories = min(BLOCKS, self.units)
        how = f"each with its z_next, {z_next[-1]} wide"
        if self._series:
            how = "consecutive rows of one trajectory are a transition"
        self.sentence = f"{'series' if self._series else 'pairs'}: {z[0]} rows of z, {z[-1]} wide, {how}"

    def ids(self) -> Iterator[np.ndarray]:
        """Yield the trajectory id of each transition, in blocks."""
        for start in range(0, self.units, MOST_ROWS):
            stop = min(start + MOST_ROWS, self.units)
            ids = self._columns["trajectory"].read(start, stop + self._series)
            yield ids[:-1][ids[:-1] == ids[1:]] if self._series else ids

    def read(self, start: int, stop: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Read the numbers and arrays of the transitions from rows start … stop − 1."""
        ends = {name: stop + (self._series and name in ("z", "trajectory")) for name in self._columns}
        arrays = {name: column.read(start, ends[name]) for name, column in self._columns.items()}
        numbers = np.arange(start, stop)
        if not self._series:
            return numbers, {"trajectory": numbers * self.trajectories // self.units, **arrays}
        z, ids = arrays["z"], arrays["trajectory"]
        arrays |= {"z": z[:-1], "z_next": z[1:], "trajectory": ids[:-1]}
        inside = ids[:-1] == ids[1:]
        return numbers[inside], {name: values[inside] for name, values in arrays.items()}

    def place(self, name: str, number: int) -> str:
        """Where the file holds what transition ``number`` has under this name."""
        return f"row {number + 1} of z" if self._series and name == "z_next" else f"row {number} of {name}"


class EpisodeArrays:
    """Layout (E, T + 1, ...): consecutive times, in the order of episodes, then times."""

    axes, source = 2, "episodes"

    def __init__(self, columns: Mapping[str, Column]):
        z = columns["z"].shape
        neither = "where there is neither z_next (--columns z_next=NAME) nor trajectory (--columns trajectory=NAME)"
        check_axes(z, (3, 4), f"(episodes, times, width) or (episodes, times, tokens, width) {neither}")
        if z[1] < 2:
            raise ValueError(f"expected episodes of two times at least, got z with shape {z}: give z_next instead")
        self._columns, self.units, self.trajectories, self.per_unit = columns, z[0], z[0], z[1] - 1
        times = [(z[0], z[1] - 1), z[:2]]
        agree(columns, "z_pred", [(*lead, *z[2:]) for lead in times])
        agree(columns, "action", [*times, *((*lead, None) for lead in times)])
        agree(columns, "weight", times)
        self.sentence = f"episodes: {z[0]} of {z[1]} times, z {z[-1]} wide, consecutive times are a transition"

    def ids(self) -> Iterator[np.ndarray]:
        """Yield nothing: the episodes are the trajectories."""
        return iter(())

    def read(self, start: int, stop: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Read the numbers and arrays of the transitions of episodes start … stop − 1."""
        arrays = {name: column.read(start, stop) for name, column in self._columns.items()}
        arrays["z_next"] = arrays["z"][:, 1:]
        for name, values in arrays.items():
            arrays[name] = values[:, : self.per_unit].reshape(-1, *values.shape[2:])
        numbers = np.arange(start * self.per_unit, stop * self.per_unit)
        return numbers, {"trajectory": numbers // self.per_unit, **arrays}

    def place(self, name: str, number: int) -> str:
        """Where the file holds what transition ``number`` has under this name."""
        episode, time = divmod(number, self.per_unit)
        return f"episode {episode} at time {time + (name == 'z_next')} of {'z' if name == 'z_next' else name}"


def check_types(columns: Mapping[str, Column]) -> None:
    """Refuse empty arrays and arrays whose type does not fit their name."""
    for name, column in columns.items():
        kind, dtype = column.dtype.kind, column.dtype
        if 0 in column.shape:
            raise ValueError(f"expected rows of numbers in {name}, got shape {column.shape}: nothing to read")
        if name in EMBEDDINGS and kind != "f" and dtype != BFLOAT16:
            hint = "cast them to float32 if they are embeddings" if kind in "biu" else "save real numbers"
            raise ValueError(f"expected floating numbers in {name}, got {dtype}: {hint}")
        if name in ("action", "weight") and kind not in "biuf":
            raise ValueError(f"expected real numbers in {name}, got {dtype}: number them, or leave {name} out")
        if name == "trajectory" and kind not in "iuSU":
            raise ValueError(f"expected integers or strings in trajectory, got {dtype}: cast the ids")


def check_axes(shape: tuple[int, ...], counts: tuple[int, ...], expected: str) -> None:
    """Refuse arrays whose number of axes fits no layout."""
    if len(shape) not in counts:
        raise ValueError(f"expected z with shape {expected}, got {shape}: reshape z or say what it goes with")


def agree(
    columns: Mapping[str, Column], name: str, allowed: Sequence[tuple[int | None, ...]], beside: str = "z"
) -> None:
    """Refuse a shape that is not among the allowed ones, in which None stands for any length."""
    if name not in columns:
        return
    shape = columns[name].shape
    for lengths in allowed:
        if len(shape) == len(lengths) and all(b in (None, a) for a, b in zip(shape, lengths, strict=True)):
            return
    shapes = " or ".join(str(lengths).replace("None", "any") for lengths in allowed)
    raise ValueError(
        f"expected {name} with shape {shapes} beside {beside} with shape {columns[beside].shape}, got {shape}: "
        "cut or reshape one of them"
    )
