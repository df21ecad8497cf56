"""How workers claim waiting runs from a study's queue, each exactly once."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Mapping

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.trial import TrialState

from jepa_scale.studies.queue import server
from jepa_scale.studies.queue.journal import JournalFile
from jepa_scale.studies.queue.places import Claim, Kind, Place, Places, place_of
from jepa_scale.studies.queue.trials import suggest

_LOOKED_AT = 32
"""Places that are tried at once on a server, beside those that are wanted: others are claiming the first of them."""


class Claims:
    """Claims of one worker, which lists what waits once and tries those places in turn."""

    def __init__(self, study: optuna.Study, storage: BaseStorage, space: Mapping[str, BaseDistribution]) -> None:
        self.study, self.storage, self._space = study, storage, space
        self.study_id = storage.get_study_id_from_name(study.study_name)
        self._places: dict[tuple[str | None, bool], Places] = {}
        """Waiting runs by class of resources, and whether by kind, as they were found last."""

    def forget(self) -> None:
        """List again at the next claim."""
        self._places.clear()

    def claim(
        self, worker: str, resources: str | None, kind: Kind | None, most: Callable[[str, int], int]
    ) -> list[Claim]:
        """Claim runs of one kind, ``most`` of the first and how many of its kind seem to wait, or none if none waits.

        Places found so far are tried first, then those of a new list: what a claim costs does not grow with the study.
        """
        listed = resources, kind is not None
        for _ in range(2):
            if (places := self._places.pop(listed, None)) is None:
                places = Places(self.waiting(resources), kind)
            while line := places.next():
                claimed = self._claim_from(line, worker, most)
                if claimed:
                    self._places[listed] = places
                    return claimed
        return []

    def seem_waiting(self, resources: str | None) -> bool:
        """Whether runs wait, by what was found last if that is not used up."""
        found = (self._places.get((resources, kinds)) for kinds in (False, True))
        return any(places is not None and places.next() is not None for places in found) or bool(
            self.waiting(resources)
        )

    def waiting(self, resources: str | None) -> list[Place]:
        """List what waits now, of a class of resources or of all; trials of no class are of every one."""
        if isinstance(self.storage, RDBStorage):
            places = server.waiting(self.storage, self.study_id)
        else:
            trials = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            places = [place_of(trial._trial_id, trial.user_attrs) for trial in trials]
        return [place for place in places if resources is None or place.resources in (None, resources)]

    def _claim_from(self, line: deque[Place], worker: str, most: Callable[[str, int], int]) -> list[Claim]:
        claimed: list[Claim] = []
        limit = max(1, most(line[0].run_id, len(line)))
        if isinstance(self.storage, RDBStorage):
            return self._claim_on_server(self.storage, line, worker, limit)
        with self.transaction():
            while line and len(claimed) < limit:
                place = line.popleft()
                if not self._free(place.trial_id) or not self.take(place.trial_id):
                    continue
                self.storage.set_trial_user_attr(place.trial_id, "worker", worker)
                handle = optuna.trial.Trial(self.study, place.trial_id)
                # The queued values become the trial's parameters only when they are asked for.
                for parameter, space in self._space.items():
                    suggest(handle, parameter, space)
                claimed.append(Claim(place.trial_id, place.run_id, place.attempt))
        return claimed

    def _claim_on_server(self, storage: RDBStorage, line: deque[Place], worker: str, most: int) -> list[Claim]:
        seen = list(itertools.islice(line, most + _LOOKED_AT))
        taken = server.claim(storage, [place.trial_id for place in seen], most, worker, self._space)
        last = taken[-1] if taken else seen[-1].trial_id
        # Those before the last one were others'.
        gone = [line.popleft() for place in seen if place.trial_id <= last]
        return [Claim(place.trial_id, place.run_id, place.attempt) for place in gone if place.trial_id in taken]

    def _free(self, trial_id: int) -> bool:
        """Whether a trial seems to wait; a journal says so from memory, a proxy is as quick to take it."""
        return (
            not isinstance(self.storage, JournalStorage) or self.storage.get_trial(trial_id).state == TrialState.WAITING
        )

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """Let nobody else write to a journal while this lasts, which is synced to disk once."""
        backend = self.storage._backend if isinstance(self.storage, JournalStorage) else None
        return backend.transaction() if isinstance(backend, JournalFile) else contextlib.nullcontext()

    def take(self, trial_id: int) -> bool:
        """Mark a waiting trial as running; false if another worker was faster."""
        # Ended between our look and now: likewise not ours.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, RuntimeError):
            return self.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        return False
