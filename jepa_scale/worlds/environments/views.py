"""What of an environment's observations a model sees, and which coordinates are positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

GOAL_PARTS = frozenset({"observation", "achieved_goal", "desired_goal"})
"""Parts of the observations of environments with goals, as Gymnasium-Robotics has them."""


@dataclass(frozen=True)
class View:
    """A part of the observations, or the frames that the environment renders.

    Raises
    ------
    ValueError
        If there is no such part, or it can be neither flattened to a vector nor is an image of bytes.
    """

    name: str
    space: Any
    """Space of the environment's observations."""
    part: str | None
    frame: tuple[int, ...] | None
    """(H, W, C) of a rendered frame; None if frames are not observed."""

    def __post_init__(self) -> None:
        parts = list(self.space) if self._parted else []
        if self.part is not None and self.part not in parts:
            raise ValueError(
                f"{self.name}: expected part among {parts or 'no parts: observations are one'}, got {self.part!r}"
            )
        if not self.image and not self._shown.is_np_flattenable:
            raise ValueError(f"{self.name}: expected observations that can be flattened to a vector, got {self._shown}")

    @property
    def _parted(self) -> bool:
        from gymnasium import spaces

        return isinstance(self.space, spaces.Dict)

    @property
    def with_goals(self) -> bool:
        """Whether observations say what was achieved and what is desired."""
        return self._parted and set(self.space) >= GOAL_PARTS

    @property
    def _chosen(self) -> str | None:
        # The goal is no part of what is seen: a planner is shown it by itself.
        return "observation" if self.part is None and self.with_goals else self.part

    @property
    def _shown(self) -> Any:
        return self.space if self._chosen is None else self.space[self._chosen]

    @property
    def image(self) -> bool:
        """Whether what the environment observes by itself is an image of bytes."""
        shape = getattr(self._shown, "shape", None)
        return shape is not None and len(shape) == 3 and self._shown.dtype == np.uint8

    @property
    def shape(self) -> tuple[int, ...]:
        """(D,) of vectors, (H, W, C) of images."""
        if self.frame is not None:
            return self.frame
        from gymnasium import spaces

        return tuple(self._shown.shape) if self.image else (int(spaces.flatdim(self._shown)),)

    @property
    def positions(self) -> int:
        """Coordinates of the vector that positions are taken from."""
        from gymnasium import spaces

        return int(spaces.flatdim(self._shown))

    @property
    def dtype(self) -> Any:
        """Bytes of images, float32 of vectors."""
        return np.uint8 if len(self.shape) == 3 else np.float32

    def vector(self, observed: Any) -> np.ndarray:
        """The part as one vector of float32."""
        from gymnasium import spaces

        chosen = observed if self._chosen is None else observed[self._chosen]
        return np.asarray(spaces.flatten(self._shown, chosen), dtype=np.float32)

    def seen(self, observed: Any, made: Any) -> np.ndarray:
        """What the model sees: the vector, the image, or the frame that ``made`` renders now."""
        if self.frame is not None:
            return np.asarray(made.render(), dtype=np.uint8)
        if self.image:
            return np.asarray(observed if self._chosen is None else observed[self._chosen], dtype=np.uint8)
        return self.vector(observed)

    def position(self, observed: Any, coordinates: Sequence[int] | None) -> np.ndarray:
        """Coordinates by which a goal is reached: those named, else what was achieved, else the whole vector."""
        if coordinates is not None:
            return self.vector(observed)[list(coordinates)]
        return np.asarray(observed["achieved_goal"], np.float32) if self.with_goals else self.vector(observed)
