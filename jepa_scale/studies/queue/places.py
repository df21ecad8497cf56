"""The runs that a worker has found waiting: listed once, then tried in turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

Kind = Callable[[str], Hashable]
"""From a run's id to what runs must share to be claimed together; None: the run is claimed alone."""


@dataclass(frozen=True)
class Claim:
    """A run that this worker has claimed exclusively."""

    trial_id: int
    run_id: str
    attempt: int


def claim_of(trial: FrozenTrial) -> Claim:
    """Return the claim that a running trial stands for."""
    return Claim(trial._trial_id, trial.user_attrs["run"], trial.user_attrs["attempt"])


@dataclass(frozen=True)
class Place:
    """A trial that was waiting when the queue was listed."""

    trial_id: int
    run_id: str
    attempt: int
    resources: str | None


def place_of(trial_id: int, attributes: Mapping[str, Any]) -> Place:
    """Return the place of a trial by its user attributes."""
    return Place(trial_id, attributes["run"], attributes["attempt"], attributes.get("resources"))


class Places:
    """Waiting trials by kind, in the queue's order; what others have claimed since is found out when it is tried.

    A run that has been tried before is of no kind: if it is what killed its worker, it is not to kill others' again.
    """

    def __init__(self, waiting: Iterable[Place], kind: Kind | None) -> None:
        self._by_kind: dict[Hashable, deque[Place]] = {}
        for place in waiting:
            shared = kind(place.run_id) if kind is not None and place.attempt == 1 else None
            # Without kinds all are in one line.
            key = place.trial_id if kind is not None and shared is None else shared
            self._by_kind.setdefault(key, deque()).append(place)

    def next(self) -> deque[Place] | None:
        """Places of the first kind that has any left, to be taken from the left; None if there are none."""
        while self._by_kind:
            key = next(iter(self._by_kind))
            if self._by_kind[key]:
                return self._by_kind[key]
            del self._by_kind[key]
        return None
