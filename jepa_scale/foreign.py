"""Files of strangers: whatever a parser raises over one becomes a sentence that names the file."""

from __future__ import annotations

import csv
import json
import lzma
import os
import pickle
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DAMAGE = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError, TypeError,
    ValueError, csv.Error, lzma.LZMAError, pickle.UnpicklingError, struct.error, tokenize.TokenError, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip
"""What parsers raise over damaged bytes, and what is raised over content of another kind than expected."""

_LONGEST = 300
"""Characters of a stranger's text that an error repeats."""


class Refused(ValueError):
    """What a file should hold, what it holds, and what to do: one line that names the file."""

    def __init__(self, sentence: str) -> None:
        super().__init__(" ".join(sentence.splitlines()))


@contextmanager
def reading(
    label: Path | str, expected: str, *also: type[Exception], refuse: type[ValueError] = Refused
) -> Iterator[None]:
    """Turn what a parser raises into one sentence; a ``Refused`` from within passes as it is.

    Parameters
    ----------
    label
        The file, or the file and a place in it.
    expected
        What the file should hold, such as "an HDF5 file".
    also
        Exceptions of a library that are not among ``DAMAGE``.
    refuse
        The error that is raised.

    Raises
    ------
    Refused
        Or ``refuse``.
    """
    kinds: tuple[type[Exception], ...] = (*DAMAGE, *also)
    try:
        yield
    except (Refused, refuse):
        raise
    except kinds as error:
        raise refuse(
            f"{label}: expected {expected}, got {cause(error)}: is it complete? it may be truncated or damaged, write "
            "or copy it again"
        ) from error


def cause(error: BaseException) -> str:
    """What a parser's error says of a file, in a few words on one line."""
    if isinstance(error, RecursionError):
        return "content that is nested too deeply"
    if isinstance(error, MemoryError):
        return f"more than fits into memory ({short(error) or 'no size given'})"
    if isinstance(error, KeyError):
        return f"nothing called {short(error)}"
    if "allow_pickle" in str(error):
        # NumPy takes whatever it does not know for a pickle, and says how to open that.
        return "neither arrays nor an archive of them"
    said = error.strerror if isinstance(error, OSError) and error.strerror else error
    return short(said).rstrip(".") or f"content that makes no sense ({type(error).__name__})"


def short(value: object, most: int = _LONGEST) -> str:
    """A stranger's value as text on one line, cut where it is long."""
    try:
        text = " ".join(str(value).split())
    except (ValueError, RecursionError):
        # A whole number of thousands of digits, or lists in lists.
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]} …"


def listed(names: Iterable[object], most: int = 24) -> str:
    """A stranger's names on one line, the first of many."""
    shown = [short(name, 80) for name in names]
    return ", ".join(shown[:most]) + (f", … and {len(shown) - most} more" if len(shown) > most else "")


def json_object(path: Path) -> dict[str, Any]:
    """Content of a JSON file that holds an object.

    Raises
    ------
    Refused
        If it holds anything else.
    """
    with reading(path, "a JSON object"):
        # Editors of some systems begin with a byte order mark.
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(content, dict):
        raise Refused(f"{path}: expected a JSON object, got {short(content)}: write or copy it again")
    return content


def inside(path: Path, folder: Path, name: str) -> Path:
    """A file that ``path`` names, which has to lie in its dataset's folder.

    Raises
    ------
    Refused
        If the name leads out of the folder, by ``..``, from the root or by a link.
    """
    with reading(path, "names of files"):
        found = Path(os.path.realpath(folder / name))
        root = folder.resolve()
    # The cache of Hugging Face's hub keeps what a snapshot holds beside all snapshots, and links to it.
    roots = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    if not any(found.is_relative_to(one) for one in roots):
        raise Refused(
            f"{path}: expected names of files in {folder}, got {short(name)}, which leads out of it and is not opened: "
            "if you trust it, copy that file into the folder and correct the name"
        )
    return folder / name
