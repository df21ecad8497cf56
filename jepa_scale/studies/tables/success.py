"""How to say the regret of a table that has rates or counts of success instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from jepa_scale.runs.errors import UserError

if TYPE_CHECKING:
    from jepa_scale.studies.tables.columns import Columns

_EPISODES = re.compile(r"(?i)\b(num_?|n_?)?(eval_?)?(episodes?|evals?|trials?|rollouts?)(_?eval)?\b|num_?eval")


def how_to_say(columns: Columns) -> str:
    """Return the option that makes a regret of a column of successes; empty if there is no such column."""
    numbers = {name: _numbers(columns, name) for name in columns.table.columns}
    successes = {name: values for name, values in numbers.items() if "success" in name.lower() and values.size}
    episodes = [name for name, values in numbers.items() if _EPISODES.search(name) and values.size]
    options = []
    for name, values in successes.items():
        if name in episodes and len(successes) > 1:
            continue
        total = next((other for other in episodes if other != name), None)
        counts = total is not None and bool((values % 1 == 0).all() and (values <= numbers[total].max()).all())
        if values.min() < 0:
            continue
        if values.max() <= 1:
            options.append(f"--columns 'regret=1-{name}'")
        elif counts and "rate" not in name.lower():
            options.append(f"--columns 'regret=1-{name}/{total}'")
        elif values.max() <= 100:
            options.append(f"--columns 'regret=1-0.01*{name}'")
    return f"the regret is 1 minus the rate of success: give {' or '.join(options)}" if options else ""


def _numbers(columns: Columns, name: str) -> np.ndarray:
    try:
        values = columns.column(name)
    except UserError:
        return np.empty(0)
    return values[np.isfinite(values)]
