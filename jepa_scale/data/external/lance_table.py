"""Tables of Lance, stable-worldmodel's default; and what any table is for the reader."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.arrow import as_rows, is_picture
from jepa_scale.data.external.video import PictureRows
from jepa_scale.foreign import Refused, inside, reading, short


@dataclass(frozen=True)
class Table:
    """Columns of a table by name, loaded when asked for."""

    kind: str
    names: list[str]
    load: Callable[[str], Any]
    """Returns numbers (R, …), or a source of frames."""
    pictures: frozenset[str]
    """Columns that hold encoded pictures."""


def is_lance(path: Path) -> bool:
    """Whether a folder is a table of Lance."""
    return path.is_dir() and (path / "_versions").is_dir() and ((path / "data").is_dir() or path.suffix == ".lance")


def read_lance(path: Path) -> Table:
    """Open the newest version of a table.

    Raises
    ------
    Refused
        If the library is absent, the table is damaged, or its rows lie in files outside its folder.
    """
    try:
        lance = importlib.import_module("lance")
    except ImportError:
        raise Refused(
            f"{path}: Lance needs pylance, which is absent: pip install 'jepa-scale[lance]', or convert it to HDF5 "
            "with stable-worldmodel's converter"
        ) from None
    with _parsing(f"{path}", "a table of Lance"):
        dataset = lance.dataset(str(path))
        schema = dataset.schema
        files = [file for fragment in dataset.get_fragments() for file in fragment.data_files()]
    for file in files:
        if getattr(file, "base_id", None) is not None:
            raise Refused(f"{path}: expected rows in the folder itself, got a clone of another one: copy it whole")
        inside(path, path, f"data/{file.path}")

    def load(name: str) -> Any:
        kind = schema.field(name).type
        if is_picture(kind) and "struct" not in str(kind):
            return PictureRows(_Pictures(path, name), dataset.count_rows(), f"{path}: {name}")
        with _parsing(f"{path}: {name}", "a column of Lance"):
            column = dataset.to_table(columns=[name])[name]
        return as_rows(column, f"{path}: {name}", path)

    return Table("Lance", schema.names, load, frozenset(field.name for field in schema if is_picture(field.type)))


class _Pictures:
    """Pictures of one column by row; each process opens the table for itself."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self._opened: tuple[int, Any] = (-1, None)

    def __call__(self, rows: NDArray[np.int64]) -> list[bytes]:
        if self._opened[0] != os.getpid():
            self._opened = (os.getpid(), importlib.import_module("lance").dataset(str(self.path)))
        with _parsing(f"{self.path}: {self.name}", "pictures in a column of Lance"):
            wanted, place = np.unique(rows, return_inverse=True)
            found = self._opened[1].take(wanted.tolist(), columns=[self.name])[self.name].to_pylist()
        if any(picture is None for picture in found):
            raise Refused(f"{self.path}: {self.name}: expected a picture in every row, got missing ones")
        return [found[row] for row in place]


@contextmanager
def _parsing(label: str, expected: str) -> Iterator[None]:
    try:
        with reading(label, expected, Exception):
            yield
    except BaseException as error:
        # What the library's own language raises for damaged bytes is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise Refused(f"{label}: expected {expected}, got damaged bytes ({short(error, 80)}): copy it again") from None
