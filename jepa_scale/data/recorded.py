"""Recorded episodes as the world of a run."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from jepa_scale import trust
from jepa_scale.data.alignment.check import alignment
from jepa_scale.data.alignment.verdict import Verdict
from jepa_scale.data.external.detect import read_episodes
from jepa_scale.data.frameskip import frameskip
from jepa_scale.data.module import RunData
from jepa_scale.data.normalise import fit_needed
from jepa_scale.data.pieces import pieces_of
from jepa_scale.data.played import PlayedRecording, without_goals
from jepa_scale.data.split import split_episodes
from jepa_scale.records import ActionSpace, Episodes
from jepa_scale.worlds.base import World

FEWEST_EPISODES = 8
"""Smallest number of held-out episodes, and of test episodes.

The jackknife leaves whole episodes out: its error from G groups is itself uncertain by a share of 1/√(2 (G − 1)), which
is 27 % for 8."""


# Compared by identity: settings of the environment cannot be hashed, and a process builds each world once.
@dataclass(frozen=True, eq=False)
class Recorded(World):
    """World of recorded episodes in a file or folder; planned in only if the ``environment`` they come from is named.

    Spectrum, loss, ranks and deficits are estimated from episodes that were not trained on, as in any world that is not
    finite. What was recorded decides what a policy is, and n is at most what the file holds.

    Vectors and continuous actions are standardised by the mean and deviation of the n transitions that train, in layers
    of the model in front of encoder and predictor, which go into its checkpoint. The limits of the action space stay in
    the recording's own units: the predictor sees (a − mean) / deviation in their place and scales no more. Constant
    coordinates are shifted only. Images go as bytes to the encoder, which scales them. Objectives that predict
    observations themselves measure them in the recording's units.

    Raises
    ------
    ValueError
        If there is no path, no reader reads it, the frameskip fits no episode, or actions are shifted against
        observations and ``check_alignment`` is true.
    """

    path: str | None = None
    format: str = "auto"
    observation: str | list | None = None
    """Column, part or feature to read as the observation, or several that are joined; None: the reader's choice.

    ``action`` likewise."""
    action: str | list | None = None
    layout: str | None = None
    """Layout of Overcooked whose trials are read; needed where the table holds several."""
    frameskip: int = 1
    """Number of recorded steps in one step of the model."""
    check_alignment: bool = True
    """Whether to refuse recordings whose actions are clearly shifted; unclear cases only cause a warning."""
    normalise: bool = True
    """Whether vectors and continuous actions are standardised."""
    allow_pickle: bool = False
    """Whether a reader may open pickles, which runs the code they hold."""
    environment: str | None = None
    """The Gymnasium environment that was recorded, to plan in; ``package:id`` where a package registers it."""
    play: Mapping[str, Any] = field(default_factory=dict)
    """Settings of ``data.played.PlayedRecording``, such as coordinates, tolerance and start_option."""

    def __post_init__(self) -> None:
        if self.path is None:
            raise ValueError(
                "expected world.path=FILE of recorded episodes, got none (`jepa-scale data FILE` reads it)"
            )
        if self.allow_pickle and not trust.opens_pickles():
            # A stranger's study file can say so too.
            raise ValueError(
                "world.allow_pickle: expected --allow pickle beside it, as opening a pickle runs code that it holds: "
                "add it if you trust the recording, or convert it once by `jepa-scale data`"
            )
        if self.play and self.environment is None:
            raise ValueError("expected world.environment beside world.play, got none")
        _ = self.episodes, self.task_world

    @cached_property
    def task_world(self) -> PlayedRecording | None:
        """The environment to plan in, if one is named: its goals are of episodes that are not in ``episodes``."""
        if self.environment is None:
            return None
        settings = {"frameskip": self.frameskip, **self.play}
        unknown = sorted(set(settings) - {one.name for one in fields(PlayedRecording)} | {"recording"} & set(settings))
        if unknown:
            known = ", ".join(one.name for one in fields(PlayedRecording) if one.name != "recording")
            raise ValueError(f"world.play: expected settings from {known}, got {unknown}")
        goals = self._parts[1] if settings.get("goals", "data") == "data" else self._recorded
        return PlayedRecording(self.environment, recording=goals, **settings)

    @property
    def episodes(self) -> Episodes:
        """The recorded episodes, at the model's steps, but for those that goals are drawn from."""
        with_goals = self.environment is not None and self.play.get("goals", "data") == "data"
        return self._parts[0] if with_goals else self._recorded

    @cached_property
    def _parts(self) -> tuple[Episodes, Episodes]:
        return without_goals(self._recorded)

    @cached_property
    def _recorded(self) -> Episodes:
        wanted = {name: getattr(self, name) for name in ("observation", "action", "layout", "allow_pickle")}
        assert self.path is not None
        episodes = read_episodes(self.path, self.format, **{name: value for name, value in wanted.items() if value})
        if self.check_alignment:
            # Before steps are put together: a shift by one row is one of the recorder's rows.
            found = alignment(episodes)
            if found.refuses:
                raise ValueError(
                    f"{episodes.source}: {found.sentence}; to train on it all the same, world.check_alignment=false"
                )
            if found.verdict is not Verdict.ALIGNED:
                warnings.warn(f"{episodes.source}: {found.sentence}", stacklevel=2)
        return frameskip(episodes, self.frameskip)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of an observation: (D,) for vectors, (H, W, C) for images."""
        return tuple(self.episodes.observations.shape[1:])

    @property
    def action_space(self) -> ActionSpace:
        """Space of actions, in the recording's units."""
        return self.episodes.action_space


class RecordedData(RunData):
    """Data of a run from whole episodes, in an order drawn by the run's seed: test, then held out, then training.

    Held-out and test episodes are cut into pieces of ``length`` transitions. Their observations stay where they lie, in
    memory or in a file, and are read block by block when estimates are made.

    Raises
    ------
    ValueError
        As for all data; if fewer than 8 episodes are held out or test, or none is left to train on.
    """

    def __init__(
        self,
        world: Recorded,
        n: int,
        heldout: int,
        test: int,
        length: int,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        horizon: int = 1,
    ) -> None:
        episodes = world.episodes
        split = split_episodes(episodes, heldout, test, seed)
        for name, chosen, size in (("heldout", split.heldout, heldout), ("test", split.test, test)):
            if len(chosen) < FEWEST_EPISODES:
                raise ValueError(
                    f"{episodes.source}: expected at least {FEWEST_EPISODES} episodes for data.{name}, got "
                    f"{len(chosen)} with data.{name}={size} transitions: raise it, errors are those of whole episodes"
                )
        super().__init__(episodes, split.train, n, horizon, batch_size, steps_per_epoch, seed)
        self.split = split
        self.heldout, self.test = (pieces_of(episodes, part, length, seed) for part in (split.heldout, split.test))
        self._recorded = episodes
        self.normaliser = fit_needed(episodes, self.rows) if world.normalise else None

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over the split's fingerprint and the training rows."""
        digest = hashlib.sha256(bytes.fromhex(self.split.fingerprint))
        for first in range(0, len(self.rows), _BLOCK):
            rows = self.rows[first : first + _BLOCK]
            digest.update(np.ascontiguousarray(self._recorded.observations[rows]).tobytes())
            digest.update(np.ascontiguousarray(self._recorded.actions[rows]).tobytes())
        return digest.hexdigest()


_BLOCK = 4096
"""Number of rows hashed at a time."""
