"""Frame skip: several steps of the simulator become one step of the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.rows import RowSource, Selected, is_mapped
from jepa_scale.records import ActionSpace, Episodes
from jepa_scale.worlds.environments.units import MOST_ACTIONS


def frameskip(episodes: Episodes, steps: int) -> Episodes:
    """Keep every ``steps``-th observation, with the actions up to the next one side by side.

    Row j of an episode is its row j f, and its action is (a_{jf}, …, a_{jf + f − 1}) ∈ R^{f A}, usable if all of them
    are. Discrete actions become one number, the first step's in the highest place. What is left of an episode after
    its last whole step is dropped, and so are episodes too short for one.

    Parameters
    ----------
    episodes
        Rows one step apart.
    steps
        f ≥ 1; observations that are in a file stay there.

    Raises
    ------
    ValueError
        If f < 1, no episode is long enough, or the numbered actions would be more than 4096.
    """
    if steps < 1:
        raise ValueError(f"expected a frameskip of 1 or more, got {steps}")
    if steps == 1:
        return episodes
    space = _space(episodes.action_space, steps)
    whole = (episodes.lengths - 1) // steps
    kept = whole > 0
    if not kept.any():
        raise ValueError(
            f"{episodes.source}: expected an episode of more than {steps} rows, got {episodes.lengths.max()} at most: "
            "lower the frameskip"
        )
    lengths = whole[kept] + 1
    # Row 0 of each episode again and again, plus f for each row since.
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows = np.repeat(episodes.offsets[kept], lengths) + steps * within
    last = within == np.repeat(lengths - 1, lengths)
    # An episode's last row has no action: it borrows numbers that are never read.
    spans = np.where(last[:, None], rows[:, None], rows[:, None] + np.arange(steps))
    usable = episodes.usable[spans].all(axis=1) & ~last
    if not usable.any():
        raise ValueError(f"{episodes.source}: expected {steps} usable actions in a row, got none: lower the frameskip")
    observations, states = episodes.observations, episodes.states
    return Episodes(
        observations=_select(observations, rows),
        actions=_actions(episodes.actions[spans], episodes.action_space, usable),
        lengths=lengths,
        usable=usable,
        action_space=space,
        states=None if states is None else states[rows],
        source=episodes.source,
        notes=(*episodes.notes, *_note(episodes, steps, kept)),
    )


def _space(space: ActionSpace, steps: int) -> ActionSpace:
    if space.count is None:
        return replace(space, size=space.size * steps)
    if space.count**steps > MOST_ACTIONS:
        raise ValueError(
            f"expected at most {MOST_ACTIONS} actions of {steps} steps, got {space.count}^{steps}: lower the frameskip"
        )
    return ActionSpace(count=space.count**steps)


def _select(observations: Any, rows: NDArray[np.int64]) -> Any:
    lazy = isinstance(observations, RowSource) or is_mapped(observations)
    return Selected(observations, rows) if lazy else observations[rows]


def _actions(spans: NDArray[Any], space: ActionSpace, usable: NDArray[np.bool_]) -> NDArray[Any]:
    """Combine the actions of several steps: (R, f) or (R, f, A) to (R,) or (R, f A)."""
    if space.count is None:
        return np.where(usable[:, None], spans.reshape(len(spans), -1), np.nan).astype(np.float32)
    places = space.count ** np.arange(spans.shape[1] - 1, -1, -1)
    return np.where(usable, spans @ places, 0).astype(np.int64)


def _note(episodes: Episodes, steps: int, kept: NDArray[np.bool_]) -> list[str]:
    left = int(((episodes.lengths - 1) % steps).sum())
    notes = [f"frameskip {steps}: {left} steps at the ends of episodes dropped"] if left else [f"frameskip {steps}"]
    if dropped := int((~kept).sum()):
        notes.append(f"{dropped} of {len(kept)} episodes shorter than {steps} steps dropped")
    return notes
