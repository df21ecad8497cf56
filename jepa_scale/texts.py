"""Untrusted text: safe parsing of YAML and JSON, and removal of control characters before text is shown."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, TextIO

_DEPTH = 64
"""Largest depth of nesting; a hundred thousand levels overrun the stack of a parser in C and end the process."""
_SIZE = 1_000_000
"""Largest number of values; those that YAML aliases repeat are counted each time."""


def parse_yaml(text: str, exponents: bool = False) -> Any:
    """Return the plain values of a YAML text: mappings, lists, texts, numbers, dates.

    With ``exponents`` 1e3 and 1.5e-4 are numbers, as in YAML 1.2, and whole ones whole numbers; YAML 1.1, which is read
    otherwise, takes them for texts.

    Raises
    ------
    ValueError
        If it is no YAML, names Python objects, has a key twice, is nested deeply, or unfolds into very many values.
    """
    import yaml

    # libyaml's, where PyYAML has it: a study of thousands of runs has as many configurations.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_depth(yaml.parse(text, Loader=loader))
        content = yaml.load(text, Loader=_strict(loader, exponents))
    except yaml.MarkedYAMLError as error:
        raise ValueError(_at(error.problem_mark, error.problem or error.context or "")) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(first_line(error)) from None
    except (AttributeError, LookupError, TypeError) as error:
        # A value that is tagged as what it is not, such as !!float "".
        raise ValueError(f"a value is not of its tag's type ({first_line(error)})") from None
    _check_size(content)
    return content


_EXPONENT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]{1,3}$")


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= 2**53 else value


@lru_cache(maxsize=4)
def _strict(loader: Any, exponents: bool) -> Any:
    """Return the loader with a refusal of keys that stand twice, of which YAML's readers take the last in silence."""
    import yaml

    class Strict(loader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            first: dict[str, int] = {}
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if key.value in first:
                        problem = f"{key.value} stands twice, first in line {first[key.value]}"
                        raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                    first[key.value] = key.start_mark.line + 1
            return super().construct_mapping(node, deep)

    if exponents:
        # After YAML's own kinds of numbers, which stay as they are.
        Strict.add_implicit_resolver("!exponent", _EXPONENT, list("-+.0123456789"))
        Strict.add_constructor("!exponent", lambda _, node: _number(node.value))
    return Strict


def _at(mark: Any, problem: str) -> str:
    return problem if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def yaml_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of every key and list item of a YAML text that can be parsed, by what leads to it.

    The first line is 1; items of a list are counted from 0, as texts.
    """
    import yaml

    lines: dict[tuple[str, ...], int] = {}

    def visit(node: Any, place: tuple[str, ...]) -> None:
        items: list[tuple[str, Any, Any]] = []
        if isinstance(node, yaml.MappingNode):
            items = [(str(key.value), key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            items = [(str(index), value, value) for index, value in enumerate(node.value)]
        for name, start, value in items:
            below = (*place, name)
            # Of a node that an alias repeats, where it was written first.
            if below not in lines and len(below) <= _DEPTH and len(lines) < _SIZE:
                lines[below] = start.start_mark.line + 1
                visit(value, below)

    visit(yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)), ())
    return lines


def parse_json(text: str | bytes) -> Any:
    """Return the content of a JSON text.

    Raises
    ------
    ValueError
        If it is none, is nested deeply, or has a whole number of thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _check_depth(events: Any) -> None:
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind in ("MappingStartEvent", "SequenceStartEvent")
        depth -= kind in ("MappingEndEvent", "SequenceEndEvent")
        if depth > _DEPTH:
            raise ValueError(f"it is nested more than {_DEPTH} levels deep")


def _check_size(content: Any) -> None:
    left, values = _SIZE, [content]
    while values:
        value = values.pop()
        left -= 1
        if left < 0:
            raise ValueError(f"it unfolds into more than {_SIZE} values")
        if isinstance(value, dict):
            values += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            values += value


def first_line(error: BaseException) -> str:
    """Return an error's message in one line; the name of its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# C0 but tab and line feed, DEL, C1, the bidirectional overrides, line and paragraph separators.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def clean(text: str) -> str:
    """Return the text with each control character, which a terminal would obey, shown as ``\\xNN`` or ``\\uNNNN``."""
    return _CONTROL.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    number = ord(match.group())
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


class _Cleaned:
    """A text stream that shows control characters instead of sending them."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream
        """Stream for rich's own output, whose control codes may pass."""

    def write(self, text: str) -> int:
        """Write the text with its control characters shown, not sent."""
        self.rich_proxied_file.write(clean(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write every line with its control characters shown, not sent."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextlib.contextmanager
def cleaned() -> Iterator[None]:
    """Pass everything that is printed inside through ``texts.clean``."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Cleaned(sys.stdout), _Cleaned(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
