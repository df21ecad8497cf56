"""Episodes with a known rule: x' = x + a, actions of their own for each row, and episodes of several lengths."""

import numpy as np

from jepa_scale.records import ActionSpace, Episodes


def walk(generator, lengths=(7, 4, 9), size=2, noise=0.0):
    """Flat observations (R, size) f32, actions (R, size) f32 with NaN in each last row, lengths."""
    lengths = np.array(lengths)
    actions = generator.uniform(-1, 1, (lengths.sum(), size)).astype(np.float32)
    observations = np.empty_like(actions)
    row = 0
    for length in lengths:
        observations[row] = generator.normal(size=size)
        for t in range(row, row + length - 1):
            observations[t + 1] = observations[t] + actions[t] + noise * generator.normal(size=size)
        row += length
        actions[row - 1] = np.nan
    return observations, actions, lengths


def episodes(generator, lengths=(7, 4, 9), size=2, noise=0.0, observations=None):
    seen, actions, lengths = walk(generator, lengths, size, noise)
    usable = np.ones(len(actions), dtype=bool)
    usable[np.cumsum(lengths) - 1] = False
    space = ActionSpace(size=size, low=-1.0, high=1.0)
    return Episodes(seen if observations is None else observations, actions, lengths, usable, space, states=seen)


def images(generator, rows, side=8, channels=3):
    return generator.integers(0, 256, (rows, side, side, channels), dtype=np.uint8)


def same(found, expected):
    """Whether two records hold the same transitions."""
    np.testing.assert_array_equal(np.asarray(found.observations), np.asarray(expected.observations))
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    np.testing.assert_array_equal(found.usable, expected.usable)
    np.testing.assert_array_equal(found.actions[found.usable], expected.actions[expected.usable])
