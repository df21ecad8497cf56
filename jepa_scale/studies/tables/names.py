"""Which column of a table a name means: case, spaces and the path before it do not matter if only one can be meant."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches

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


_PARAMETERS = frozenset((
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "theta", "iota", "kappa", "lambda", "sigma", "omega", "floor",
    "ceiling", "limit", "offset", "slope", "scale", "shift", "base", "half",
))  # fmt: skip
"""Words of four letters and more that name parameters."""


def column_meant(name: str, known: Collection[str]) -> str | None:
    """Return the column that a name in a formula may mean, which is none; empty for another word, None for neither.

    Examples
    --------
    >>> column_meant("widht", ["n", "width"]), column_meant("tokens", ["n", "k"]), column_meant("alpha", ["n", "k"])
    ('width', '', None)
    """
    word = plain(re.sub(r"_?\d+$", "", name))
    if len(word) < 3 or word in _PARAMETERS:
        return None
    alike = get_close_matches(word, [plain(column) for column in known], n=1, cutoff=0.75)
    if alike:
        return next(column for column in known if plain(column) == alike[0])
    return "" if len(word) > 3 else None


def plain(name: str) -> str:
    """Return a name without what does not matter in it: case and spaces."""
    return re.sub(r"\s", "", name).casefold()
