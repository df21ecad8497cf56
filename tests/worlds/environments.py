"""Small environments of our own, with the faults that others may have."""

import time

import gymnasium
import numpy as np
from gymnasium import spaces

STEP = 0.1


class Point(gymnasium.Env):
    """x' = x + 0.1 a on the plane, from the left half; the goal lies to the right, reached within 0.1.

    Dictionaries as Gymnasium-Robotics has them, or one vector [x, goal] with the goal in the info as OGBench has it.
    """

    def __init__(self, kind="dictionary", fault=None, at=3, discrete=False, key="success", ends=True):
        self.kind, self.fault, self.at, self.key, self.ends = kind, fault, at, key, ends
        self.action_space = spaces.Discrete(4) if discrete else spaces.Box(-1, 1, (2,), np.float32)
        plane = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        seen = spaces.Box(-np.inf, np.inf, (3,), np.float64)
        parts = {"observation": seen, "achieved_goal": plane, "desired_goal": plane}
        self.observation_space = plane if kind == "vector" else spaces.Dict(parts)
        if fault == "cannot be set":
            self.hidden = (step for step in iter(int, 1))

    def _seen(self):
        if self.kind == "vector":
            return self.x.copy()
        # What was achieved stands behind a constant.
        return {"observation": np.array([7.0, *self.x]), "achieved_goal": self.x.copy(), "desired_goal": self.goal}

    def _info(self):
        reached = bool(np.linalg.norm(self.x - self.goal) <= 0.1)
        return {self.key: reached, **({"goal": self.goal} if self.kind == "vector" else {})}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 0, 2)
        self.goal = self.x + self.np_random.uniform(0.2, 0.5, 2)
        self.time = 0
        return self._seen(), self._info()

    def step(self, action):
        self.time += 1
        if self.fault == "crash" and self.time >= self.at:
            raise RuntimeError("the engine is lost")
        if self.fault == "hang" and self.time >= self.at:
            time.sleep(30)
        move = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])[action] if np.ndim(action) == 0 else np.asarray(action)
        self.x = self.x + STEP * move
        if self.fault == "nan" and self.time >= self.at:
            self.x = self.x * np.nan
        if self.fault == "cannot be set":
            self.x = self.x + 0.01 * self.np_random.normal(size=2)
        info = self._info()
        return self._seen(), -1.0, self.ends and info[self.key], False, info


def register(**versions):
    """Register ``Point<name>-v0`` for each, with its keywords; remove them by ``unregister``."""
    for name, keywords in versions.items():
        gymnasium.register(f"Point{name}-v0", Point, max_episode_steps=30, kwargs=keywords)


def unregister(*names):
    for name in names:
        del gymnasium.registry[f"Point{name}-v0"]


class Steady:
    """A policy that does the same all the time."""

    def __init__(self, value=1.0):
        self.value = value

    def __call__(self, observed, generator):
        return self.value
