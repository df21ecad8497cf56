"""Whether a recording and an environment show and do the same: shapes, ranges, scales and the layout of images."""

from __future__ import annotations

import numpy as np

from jepa_scale.records import Episodes
from jepa_scale.worlds.gymnasium_env import GymnasiumEnv

_ROWS, _EPISODES, _STEPS = 2048, 8, 25
_FAR, _SCALE = 10.0, 30.0
_BEYOND = 0.01


def check_agreement(world: GymnasiumEnv, recording: Episodes) -> None:
    """Compare recorded rows with some episodes of random actions in the environment.

    A coordinate disagrees if its median lies 10 ranges of the other's apart, or the deviations differ by a factor of
    30: policies visit different states, but not other units.

    Raises
    ------
    ValueError
        On the first difference, with what to do.
    """
    _check_actions(world, recording)
    shape = tuple(recording.observations.shape[1:])
    if shape != world.observation_shape:
        hint = "frames of another size: world.play={options: {width: …, height: …}}"
        if len(shape) != 3:
            hint = "name the part by world.play={part: …}, or other columns by world.observation"
        elif len(world.observation_shape) != 3:
            hint = "images were recorded: world.play={rendered: true}"
        raise ValueError(
            f"{world.environment}: expected the shape of recorded observations, {shape}, got "
            f"{world.observation_shape}: {hint}"
        )
    rows = np.unique(np.linspace(0, len(recording.observations) - 1, _ROWS).astype(int))
    recorded = np.asarray(recording.observations[rows])
    played = world.sample(_EPISODES, _STEPS, 0).observations.reshape(-1, *shape)
    if len(shape) == 3:
        _check_images(world, recorded, played)
    else:
        _check_vectors(world, recorded.astype(np.float64), played.astype(np.float64))


def _check_actions(world: GymnasiumEnv, recording: Episodes) -> None:
    ours, theirs = world.action_space, recording.action_space
    if (ours.count, ours.size) != (theirs.count, theirs.size):
        raise ValueError(
            f"{world.environment}: expected actions as recorded, {_said(theirs)}, got {_said(ours)}: name other "
            "columns by world.action, or set world.frameskip"
        )
    if ours.count is None:
        usable = recording.actions[recording.usable]
        beyond = float(((usable < ours.low - 1e-3) | (usable > ours.high + 1e-3)).any(-1).mean())
        if beyond > _BEYOND:
            raise ValueError(
                f"{world.environment}: expected recorded actions in [{ours.low:g}, {ours.high:g}], got {beyond:.0%} of "
                f"rows beyond, up to {np.abs(usable).max():.3g}: they are in other units"
            )


def _said(space: object) -> str:
    count, size = getattr(space, "count", None), getattr(space, "size", 1)
    return f"{count} discrete ones" if count is not None else f"{size} coordinates"


def _check_vectors(world: GymnasiumEnv, recorded: np.ndarray, played: np.ndarray) -> None:
    middles = [np.median(values, axis=0) for values in (recorded, played)]
    ranges = [np.ptp(values, axis=0) for values in (recorded, played)]
    widest = np.maximum(*ranges)
    moves = widest > 1e-6
    apart = np.abs(middles[0] - middles[1]) / np.where(moves, widest, 1.0)
    both = (ranges[0] > 1e-6) & (ranges[1] > 1e-6)
    factor = np.where(both, np.maximum(*ranges) / np.maximum(np.minimum(*ranges), 1e-12), 1.0)
    wrong = np.flatnonzero((moves & (apart > _FAR)) | (factor > _SCALE))
    if len(wrong):
        place = int(wrong[0])
        spans = [f"[{values[:, place].min():.3g}, {values[:, place].max():.3g}]" for values in (recorded, played)]
        raise ValueError(
            f"{world.environment}: expected observations in the recording's units, got coordinate {place} in "
            f"{spans[1]} where {spans[0]} was recorded ({len(wrong)} of {recorded.shape[1]} coordinates differ so): "
            "another version of the environment, or columns in another order"
        )


def _check_images(world: GymnasiumEnv, recorded: np.ndarray, played: np.ndarray) -> None:
    means = [values.reshape(-1, values.shape[-1]).mean(0) for values in (recorded, played)]
    apart = float(np.abs(means[0] - means[1]).max())
    swapped = float(np.abs(means[0][::-1] - means[1]).max())
    if apart > 2 * swapped + 2 and apart > _SHADE / 4:
        raise ValueError(
            f"{world.environment}: expected the recorded order of colours, got means {np.round(means[1], 1).tolist()} "
            f"where {np.round(means[0], 1).tolist()} were recorded: one of them is BGR"
        )
    if apart > _SHADE:
        raise ValueError(
            f"{world.environment}: expected frames as recorded, got mean colours {np.round(means[1], 1).tolist()} "
            f"where {np.round(means[0], 1).tolist()} were recorded: another camera or renderer"
        )


_SHADE = 48.0
"""Difference of mean colours, in bytes, beyond which frames are of something else."""
