"""One copy of an environment, stepped by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from jepa_scale.worlds.environments.views import View
from jepa_scale.worlds.environments.watch import checked, seeded, tried


class Copy:
    """A copy of an environment with what it last returned.

    Raises
    ------
    ValueError
        From ``reset`` and ``step``: if the environment raises anything, or observes what is not a number.
    """

    def __init__(self, made: Any, view: View) -> None:
        self.made, self.view = made, view
        self.observed: Any = None
        self.info: Mapping[str, Any] = {}
        self.reward = 0.0
        self.over = True
        """Whether the episode has ended, terminated or truncated."""
        self.steps = 0
        """Steps of the environment since its reset."""
        self._restarts = np.random.default_rng(0)

    def reset(self, seed: int | None = None, options: Mapping[str, Any] | None = None) -> None:
        """Begin an episode. Without a seed the environment goes on with its own generator.

        Environments that draw from the global generators of NumPy and Python are seeded there as well.
        """
        if seed is not None:
            self._restarts = np.random.default_rng(seed)
        with seeded(int(self._restarts.integers(2**31)) if seed is None else seed):
            observed, info = tried(
                self.view.name,
                "reset",
                lambda: self.made.reset(seed=seed, options=None if options is None else dict(options)),
            )
        self.over, self.steps, self.reward = False, 0, 0.0
        self._take(observed, info)

    def step(self, actions: Sequence[Any]) -> None:
        """Take actions in the environment's own units, one after the other, until the episode ends."""
        for action in actions:
            if self.over:
                break
            self.steps += 1
            took = partial(self.made.step, action)
            observed, reward, ended, cut, info = tried(self.view.name, f"step {self.steps} of an episode", took)
            self.over, self.reward = bool(ended or cut), float(reward)
            self._take(observed, info)

    def _take(self, observed: Any, info: Mapping[str, Any]) -> None:
        self.observed, self.info = observed, info
        if not self.view.image:
            checked(self.view.name, self.view.vector(observed), self.steps)

    @property
    def seen(self) -> np.ndarray:
        """What a model sees now."""
        return tried(self.view.name, "rendering", lambda: self.view.seen(self.observed, self.made))

    def position(self, coordinates: Sequence[int] | None) -> np.ndarray:
        """Coordinates by which a goal is reached."""
        return self.view.position(self.observed, coordinates)

    def close(self) -> None:
        """Free it; a renderer that cannot be closed twice is left."""
        self.made.close()
