"""Columns of Arrow tables as arrays: numbers, lists of equal length, and encoded pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.video import listed_pictures
from jepa_scale.foreign import Refused, inside


def as_rows(column: Any, label: str, folder: Path) -> Any:
    """Return a column as numbers (R,) or (R, …), text (R,), or as pictures that are decoded when asked for.

    Raises
    ------
    Refused
        If values are missing, or lists have different lengths.
    """
    array = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    if is_picture(array.type):
        return listed_pictures(_encoded(array, label, folder), label)
    return dense(array, label)


def is_picture(kind: Any) -> bool:
    """Whether a column holds encoded pictures: bytes, or Hugging Face's pairs of bytes and path."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return {"bytes", "path"} <= {kind.field(place).name for place in range(kind.num_fields)}
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _encoded(array: Any, label: str, folder: Path) -> list[bytes | Path]:
    import pyarrow as pa

    if not pa.types.is_struct(array.type):
        if array.null_count:
            raise Refused(f"{label}: expected a picture in every row, got {array.null_count} missing ones")
        return array.to_pylist()
    pictures: list[bytes | Path] = []
    for pair in array.to_pylist():
        if pair and pair["bytes"]:
            pictures.append(pair["bytes"])
        elif pair and pair["path"]:
            pictures.append(inside(Path(label), folder if folder.is_dir() else folder.parent, pair["path"]))
        else:
            raise Refused(f"{label}: expected a picture in every row, got one with neither bytes nor path")
    return pictures


def dense(array: Any, label: str) -> NDArray[Any]:
    """Return a column of numbers, or of lists (of lists) of equal length, as (R,) or (R, D, …)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if array.null_count:
        raise Refused(f"{label}: expected a value in every row, got {array.null_count} missing ones: drop the rows")
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if not (
        pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type)
    ):
        return array.to_numpy(zero_copy_only=False)
    sizes = np.unique(pc.list_value_length(array).to_numpy(zero_copy_only=False))
    if len(sizes) > 1:
        raise Refused(f"{label}: expected lists of one length, got {sizes[0]} to {sizes[-1]} entries: pad or cut them")
    flat = _numbers(array.flatten(), label)
    return flat.reshape(len(array), -1, *flat.shape[1:])


def _numbers(flat: Any, label: str) -> NDArray[Any]:
    """Return entries of lists; a missing number among them is NaN, as an action that was not taken."""
    import pyarrow as pa

    if flat.null_count and pa.types.is_floating(flat.type):
        return flat.to_numpy(zero_copy_only=False)
    return dense(flat, label)
