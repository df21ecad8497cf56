"""Which axis holds the channels, and when images are loaded; the rest is seen through the formats."""

import numpy as np
import pytest

from jepa_scale.data.external.assemble import assemble
from jepa_scale.data.rows import is_mapped
from jepa_scale.records import ActionSpace


def read(observations, **options):
    actions = np.arange(6, dtype=np.float32)
    return assemble(observations, actions, np.array([4, 2]), source="here", **options)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((64, 64, 3), (64, 64, 3)),
        ((3, 64, 64), (64, 64, 3)),
        ((1, 8, 8), (8, 8, 1)),
        ((3, 3, 3), (3, 3, 3)),
        ((2, 2, 4), (2, 2, 4)),
        # More channels than colours have.
        ((32, 32, 6), (32, 32, 6)),
        ((6, 32, 32), (32, 32, 6)),
        ((64, 48), (64, 48, 1)),
    ],
)
def test_channels_come_last(generator, shape, expected):
    images = generator.integers(0, 256, (6, *shape), dtype=np.uint8)
    found = read(images).observations
    assert found.shape == (6, *expected)
    turned = np.moveaxis(images, 1, -1) if len(shape) == 3 and shape != expected else images
    np.testing.assert_array_equal(found, turned.reshape(found.shape))


def test_maps_are_loaded_up_to_the_limit(generator, tmp_path):
    images = generator.integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert isinstance(read(mapped, load_bytes=mapped.nbytes).observations, np.ndarray)
    lazy = read(mapped, load_bytes=mapped.nbytes - 1).observations
    assert is_mapped(lazy.base)
    np.testing.assert_array_equal(np.asarray(lazy), np.moveaxis(images, 1, -1))


def test_numbers_of_any_kind_become_vectors():
    for values in (np.arange(6), np.arange(6.0)[:, None], np.arange(6, dtype=np.uint8)[:, None]):
        found = read(values).observations
        assert found.dtype == np.float32
        assert found[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_an_action_space_that_is_given_is_held_to(generator):
    observations = np.zeros((6, 1), np.float32)
    actions = np.array([0, 1, 2, 9, 0, -9])
    found = assemble(observations, actions, np.array([4, 2]), source="here", action_space=ActionSpace(count=3))
    assert found.action_space.count == 3
    with pytest.raises(
        ValueError, match=r"here: expected discrete actions 0 … 1, got 0 to 2: correct the action space"
    ):
        assemble(observations, actions, np.array([4, 2]), source="here", action_space=ActionSpace(count=2))
    with pytest.raises(ValueError, match=r"whole numbers for 3 discrete actions, got float64"):
        assemble(observations, actions / 1, np.array([4, 2]), source="here", action_space=ActionSpace(count=3))


def test_actions_beyond_the_limits_that_are_given_are_refused():
    """Those of the last row of an episode are nobody's: they may be anything."""
    observations, actions = np.zeros((4, 1), np.float32), np.array([[0.0], [1.0], [-1.0], [9.0]])
    space = ActionSpace(None, 1, -1.0, 1.0)
    found = assemble(observations, actions, np.array([4]), source="here", action_space=space)
    assert found.action_space == space
    with pytest.raises(ValueError, match=r"here: expected actions in \[-1, 1\], as their space says, got -1 to 1\.5"):
        assemble(observations, np.where(actions == 1, 1.5, actions), np.array([4]), source="here", action_space=space)


def test_an_action_that_never_changes_still_has_limits():
    space = assemble(np.zeros((3, 1)), np.full(3, 0.5), np.array([3]), source="here").action_space
    assert (space.low, space.high) == (0.5, 1.5)
