"""Which column of a table a name means: case, spaces and the path before it do not matter if only one can be meant."""

from __future__ import annotations

import re
from collections.abc import Collection

_SEPARATORS = "./"


def candidates(name: str, known: Collection[str]) -> list[str]:
    """Return the columns that a name may mean: its own, else those alike but for case and spaces, else by last part.

    Examples
    --------
    >>> candidates("n", ["config.data.n", "config.model.k"])
    ['config.data.n']
    >>> candidates("regret", ["Regret", "eval/regret"])
    ['Regret']
    """
    if name in known:
        return [name]
    wanted = plain(name)
    alike = [column for column in known if plain(column) == wanted]
    if alike or not wanted:
        return alike
    return [column for column in known if plain(column).endswith(tuple(mark + wanted for mark in _SEPARATORS))]


def plain(name: str) -> str:
    """Return a name without what does not matter in it: case and spaces."""
    return re.sub(r"\s", "", name).casefold()
