"""The scale of log odds, on which regret is nearly straight in ln n and both of its ends are finite."""

from __future__ import annotations

import numpy as np

from jepa_scale.laws.forecasters.base import Seen

LOW, HIGH = 0.007, 0.05
"""Shares added at both ends before log odds are taken: y = 0 and y = 1 are finite there. Many cells are solved exactly;
those at the level of random plans scatter about it."""


def log_odds(level: np.ndarray) -> np.ndarray:
    """Return ln(y′/(1 − y′)), y′ = (y + l)/(1 + l + h), y cut to [0, 1 + h/2]: a planner can be worse than chance."""
    share = _share(level)
    return np.log(share / (1 - share))


def from_odds(odds: np.ndarray) -> np.ndarray:
    """Return y; at least −l and at most 1 + h."""
    return (1 + LOW + HIGH) / (1 + np.exp(-np.clip(odds, -500, 500))) - LOW


def deviation_of_odds(seen: Seen) -> np.ndarray:
    """Return the sd of the cells' log odds by seed noise, to first order."""
    level, share = np.clip(seen.mean, 0.0, 1.0), _share(seen.mean)
    return seen.deviation(level, seen.seeds) / (1 + LOW + HIGH) / (share * (1 - share))


def _share(level: np.ndarray) -> np.ndarray:
    return (np.clip(level, 0.0, 1.0 + HIGH / 2) + LOW) / (1 + LOW + HIGH)
