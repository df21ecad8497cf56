"""The card of a recording."""

from __future__ import annotations

import numpy as np

from jepa_scale.data.alignment.check import alignment
from jepa_scale.data.alignment.features import chosen_rows
from jepa_scale.data.alignment.regression import Folds
from jepa_scale.data.card.content import content_of, coordinates_of
from jepa_scale.data.card.coverage import coverage_of, sample_of
from jepa_scale.data.card.findings import findings_of
from jepa_scale.data.card.policy import effect_of, policy_of
from jepa_scale.data.card.record import DataCard
from jepa_scale.records import Episodes

_FEWEST = 100
"""Transitions with neighbours that policy and coverage need."""


def data_card(episodes: Episodes, seed: int = 0) -> DataCard:
    """Describe a recording: its content, policy, reach and alignment, and what would ruin training on it.

    Policy, effect of the action, coverage and sample are estimated from at most some 12 000 transitions (4 000 of
    images) of episodes drawn at random; everything else is counted over all rows.

    Parameters
    ----------
    episodes
        At the recorder's own steps.
    seed
        Of the choice of rows and of random projections.
    """
    content = content_of(episodes, seed)
    coordinates = coordinates_of(episodes)
    found = alignment(episodes, seed)
    rows = chosen_rows(episodes, seed, 3)
    if len(rows.rows) < _FEWEST:
        rows = chosen_rows(episodes, seed, 1)
    enough = len(rows.rows) >= _FEWEST and rows.table.shape[1] > 0
    folds = Folds.of(rows.groups) if enough else None
    moves = folds is not None and bool((rows.observation(1) != rows.observation(0)).any())
    policy = policy_of(rows, folds) if folds is not None else None
    effect = effect_of(rows, folds) if folds is not None and moves else None
    coverage = coverage_of(rows, folds) if folds is not None else None
    sample = sample_of(rows) if folds is not None else None
    return DataCard(
        source=episodes.source,
        kind=kind_of(episodes),
        content=content,
        coordinates=coordinates,
        policy=policy,
        effect=effect,
        coverage=coverage,
        sample=sample,
        alignment=found,
        findings=findings_of(content, coordinates, policy, effect, found, still=_still(episodes)),
        notes=episodes.notes,
    )


def kind_of(episodes: Episodes) -> str:
    """Return the shapes of observations, actions and states in words."""
    space, seen = episodes.action_space, episodes.observations
    kind = "images" if seen.dtype == np.uint8 else "vectors"
    actions = (
        f"{space.count} discrete actions"
        if space.discrete
        else f"actions of {space.size} coordinates in [{space.low:.3g}, {space.high:.3g}]"
    )
    states = "" if episodes.states is None else f", states of {episodes.states.shape[1]} numbers"
    return f"{kind} {'×'.join(str(size) for size in seen.shape[1:])}, {actions}{states}"


def _still(episodes: Episodes) -> bool:
    """Whether all observations are the same, up to float32's rounding."""
    values = episodes.observations
    first = np.asarray(values[:1]).astype(np.float64)
    slack = 1e-7 * np.maximum(np.abs(first), 1e-30)
    return all(
        bool((np.abs(np.asarray(values[start : start + 1024]).astype(np.float64) - first) <= slack).all())
        for start in range(0, len(values), 1024)
    )
