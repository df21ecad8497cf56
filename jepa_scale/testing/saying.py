"""What a broken promise is told by."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def require(kept: bool, part: Any, promise: str) -> None:
    """Raise an AssertionError that names the part and the promise, unless it is kept.

    Raises
    ------
    AssertionError
        If it is not.
    """
    if not kept:
        name = part if isinstance(part, str) else type(part).__name__
        raise AssertionError(f"{name}: expected {promise}")


def require_shape(found: Any, wanted: tuple[int, ...], part: Any, what: str) -> None:
    """Require a tensor of a shape.

    Raises
    ------
    AssertionError
        If it is another, or no tensor.
    """
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    require(shape == wanted, part, f"{what} of shape {wanted}, got {shape}")
