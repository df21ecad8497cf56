"""Bytes of a table file or of standard input, and their text."""

from __future__ import annotations

import codecs
import gzip
import io
import sys
from pathlib import Path

from jepa_scale.foreign import reading
from jepa_scale.runs.errors import UserError

STDIN = "-"
_MOST = 2**31
"""Largest size of an unpacked file, in bytes."""

_GZIP = b"\x1f\x8b"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; that of UTF-32 begins with that of UTF-16."""


def read_content(path: Path) -> bytes:
    """Return the bytes of a file, or of standard input for ``-``, unpacked if they are gzip.

    Raises
    ------
    UserError
        If they cannot be read or unpacked.
    """
    with reading(path, "a table of runs", refuse=UserError):
        content = sys.stdin.buffer.read() if str(path) == STDIN else path.read_bytes()
    if not content.startswith(_GZIP):
        return content
    with reading(path, "a table packed by gzip", refuse=UserError):
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(content)).read(_MOST + 1)
    if len(unpacked) > _MOST:
        raise UserError(f"{path}: expected at most {_MOST} bytes, got more when unpacked: keep fewer rows or columns")
    return unpacked


def decoded(content: bytes, source: str) -> str:
    """Return the text of a table: UTF-8, or what the byte order mark says.

    Raises
    ------
    UserError
        If it is another encoding or no text.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in content:
        half = content[:1000]
        zeros = max(half[::2].count(0), half[1::2].count(0))
        if len(half) >= 4 and zeros > len(half) // 4 and not min(half[::2].count(0), half[1::2].count(0)):
            raise UserError(f"{source}: expected UTF-8, got UTF-16 without a byte order mark: save it as UTF-8")
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise UserError(f"{source}: expected a table of text, got a NUL byte in line {line}: save it as UTF-8 again")
    with reading(source, "a table of text in UTF-8", refuse=UserError):
        text = content.decode(encoding)
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UserError(f"{source}: expected a table of text, got a NUL character in line {line}: save it again")
    return text
