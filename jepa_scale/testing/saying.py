"""What a broken promise is told by."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from torch import Tensor

P = ParamSpec("P")


def contract(check: Callable[P, None]) -> Callable[P, None]:
    """Turn whatever a part raises while it is checked into an AssertionError that names the part."""

    @wraps(check)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            check(*args, **kwargs)
        except AssertionError:
            raise
        except Exception as error:
            part = args[0] if args else next(iter(kwargs.values()), None)
            name = part.__name__ if isinstance(part, type) else type(part).__name__
            message = " ".join(str(error).split())[:300]
            what = "an instance, not a class" if isinstance(part, type) else "to work on what its contract says"
            raise AssertionError(f"{name}: expected {what}, got {type(error).__name__}: {message}") from error

    return wrapped


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
