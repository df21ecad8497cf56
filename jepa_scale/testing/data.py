"""Contract of readers of recorded episodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jepa_scale.records import Episodes
from jepa_scale.testing.saying import contract, require


@contract
def check_reader(read: Callable[..., Episodes], path: str | Path) -> None:
    """Check a reader on a file of its format: ``read(path) -> Episodes`` in flat rows, read twice alike.

    Raises
    ------
    AssertionError
        On the first promise that is not kept.

    Examples
    --------
    >>> import numpy as np
    >>> from jepa_scale.data.external import npz
    >>> x, a = np.random.default_rng(0).normal(size=(10, 3)), np.random.default_rng(1).uniform(-1, 1, size=(10, 2))
    >>> np.savez("episodes.npz", observations=x, actions=a, ep_len=[5, 5])
    >>> check_reader(npz.read, "episodes.npz")
    """
    name = getattr(read, "__module__", type(read).__name__)
    episodes, again = read(Path(path)), read(Path(path))
    require(isinstance(episodes, Episodes), name, f"Episodes, got {type(episodes).__name__}")
    rows = len(episodes.observations)
    require(rows == int(episodes.lengths.sum()), name, f"lengths that add up to {rows} rows")
    require(len(episodes.actions) == rows == len(episodes.usable), name, f"actions and usable of {rows} rows")
    require(episodes.observations.dtype in (np.float32, np.uint8), name, "observations of float32, or bytes of images")
    ends = np.cumsum(episodes.lengths) - 1
    require(not episodes.usable[ends].any(), name, "no usable action in the last row of an episode: nothing follows it")
    require(bool(episodes.usable.any()), name, "some usable transition")
    space, used = episodes.action_space, np.asarray(episodes.actions)[episodes.usable]
    if space.count is not None:
        inside = used.ndim == 1 and used.min() >= 0 and used.max() < space.count
        require(inside, name, f"actions in 0 … {space.count - 1}")
    else:
        require(used.ndim == 2 and used.shape[1] == space.size, name, f"actions of {space.size} coordinates")
        require(bool(np.isfinite(used).all()), name, "finite actions where usable")
    require(bool(episodes.source), name, "a source: the format and the path, in words")
    require(episodes.checksum == again.checksum, name, "the same episodes when read again")
