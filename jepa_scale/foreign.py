"""Reading untrusted files: whatever a parser raises becomes one sentence that names the file."""

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
"""Exceptions that parsers raise for damaged files or for content of another kind than expected."""

_LONGEST = 300
"""Largest number of characters of an untrusted text that an error quotes."""


class Refused(ValueError):
    """A file was refused; the message is one line with the file, what it should hold, what it holds and what to do."""

    def __init__(self, sentence: str) -> None:
        super().__init__(" ".join(sentence.splitlines()))


@contextmanager
def reading(
    label: Path | str, expected: str, *also: type[Exception], refuse: type[ValueError] = Refused
) -> Iterator[None]:
    """Turn what a parser raises into one sentence; a ``Refused`` raised inside passes unchanged.

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
    """Return the cause that a parser's error gives, in a few words on one line."""
    if isinstance(error, RecursionError):
        return "content that is nested too deeply"
    if isinstance(error, MemoryError):
        return f"more than fits into memory ({short(error) or 'no size given'})"
    if isinstance(error, KeyError):
        return f"nothing called {short(error)}"
    if "allow_pickle" in str(error):
        # NumPy takes whatever it does not know for a pickle, and says how to open that.
        return "neither arrays nor an archive of them"
    message = error.strerror if isinstance(error, OSError) and error.strerror else error
    return short(message).rstrip(".") or f"content that makes no sense ({type(error).__name__})"


def short(value: object, most: int = _LONGEST) -> str:
    """Return an untrusted value as text on one line, cut if it is long."""
    try:
        text = " ".join(str(value).split())
    except (ValueError, RecursionError):
        # A whole number of thousands of digits, or lists in lists.
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]} …"


def listed(names: Iterable[object], most: int = 24) -> str:
    """Return untrusted names on one line; only the first ones if there are many."""
    shown = [short(name, 80) for name in names]
    return ", ".join(shown[:most]) + (f", … and {len(shown) - most} more" if len(shown) > most else "")


def json_object(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file that holds an object.

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
    """Return the file that ``path`` names, which must lie in its dataset's folder.

    Raises
    ------
    Refused
        If the name leads out of the folder, by ``..``, from the root or by a link.
    """
    with reading(path, "names of files"):
        target = Path(os.path.realpath(folder / name))
        root = folder.resolve()
    # The cache of Hugging Face's hub keeps what a snapshot holds beside all snapshots, and links to it.
    roots = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    if not any(target.is_relative_to(allowed) for allowed in roots):
        raise Refused(
            f"{path}: expected names of files in {folder}, got {short(name)}, which leads out of it and is not opened: "
            "if you trust it, copy that file into the folder and correct the name"
        )
    return folder / name
