"""Environments run code of others: failures become one sentence, numbers are checked, and nobody waits for ever."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def tried(name: str, what: str, act: Callable[[], T]) -> T:
    """Call the environment.

    Raises
    ------
    ValueError
        If it raises anything of its own: the sentence names it.
    """
    try:
        return act()
    except TimeoutError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f" ({os.path.basename(last.filename)}, line {last.lineno})"
        raise ValueError(f"{name}: {what} failed with {reason}{place}{_remedy(reason)}") from error


def _remedy(reason: str) -> str:
    if any(word in reason for word in ("GLFW", "OpenGL", "EGL", "OSMesa", "gladLoadGL", "GLContext")):
        return (
            ": rendering without a display needs EGL or OSMesa: apt install libegl1 libgl1-mesa-dri and set "
            "MUJOCO_GL=egl, or apt install libosmesa6 and set MUJOCO_GL=osmesa"
        )
    return ""


def checked(name: str, vector: np.ndarray, step: int) -> np.ndarray:
    """The observation, if it is finite.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not np.isfinite(vector).all():
        raise ValueError(
            f"{name}: expected finite observations, got {vector[~np.isfinite(vector)][0]} after {step} steps of an "
            "episode: the simulation is unstable, or the environment has a fault"
        )
    return vector


@contextlib.contextmanager
def patience(name: str, seconds: float) -> Iterator[Callable[[], Any]]:
    """Inside, no time between two calls of what this yields may be longer; elsewhere than in the main thread it may.

    Code that never returns to Python is not interrupted either.

    Raises
    ------
    ValueError
        If it is longer.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield lambda: None
        return

    def ring(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield lambda: signal.setitimer(signal.ITIMER_REAL, seconds)
    except TimeoutError:
        raise ValueError(
            f"{name}: expected a step or reset to end within {seconds:g} s, got none: it hangs, or raise world.patience"
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Inside, the global generators of NumPy and Python are seeded, for environments that draw from them.

    Afterwards they are put back; without a seed nothing is touched.
    """
    if seed is None:
        yield
        return
    numbers, others = np.random.get_state(), random.getstate()  # noqa: NPY002 - it is theirs
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numbers)  # noqa: NPY002
        random.setstate(others)
