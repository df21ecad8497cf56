import dataclasses

import numpy as np
import pytest
import torch

from jepa_scale.data.normalise import fit_normaliser
from jepa_scale.records import ActionSpace
from tests.data.recorded import episodes, images


@pytest.fixture
def many(generator):
    return episodes(generator, lengths=[40] * 80, size=3)


def test_training_rows_get_mean_zero_and_deviation_one(many):
    rows = np.flatnonzero(many.usable)[: 60 * 39][::-1]
    fitted = fit_normaliser(many, rows)
    seen = fitted.apply(many.observations[rows])
    assert seen.dtype == np.float32
    # Sums of 2340 float32 numbers of order 1.
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std(axis=0), 1, atol=1e-5)
    done = fitted.apply_actions(many.actions[rows])
    np.testing.assert_allclose(done.std(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(fitted.actions.restore(done), many.actions[rows], atol=1e-6)
    assert fitted.observations.n == len(rows)


def test_other_rows_have_no_influence(many):
    rows = np.flatnonzero(many.usable)[:1000]
    changed = many.observations.copy()
    changed[1100:] += 1e6
    one, other = (fit_normaliser(part, rows) for part in (many, dataclasses.replace(many, observations=changed)))
    np.testing.assert_array_equal(one.observations.mean, other.observations.mean)


def test_a_large_offset_does_not_cancel(many):
    """Deviations of 1 around 10⁴: the difference of two sums of squares in float32 would have none of it left."""
    rows = np.arange(3000)
    moved = (many.observations.astype(np.float64) + 1e4).astype(np.float32)
    fitted = fit_normaliser(dataclasses.replace(many, observations=moved), rows)
    np.testing.assert_allclose(fitted.observations.deviation, moved[rows].astype(np.float64).std(axis=0), rtol=1e-6)


def test_constant_coordinates_are_not_scaled(many):
    observations = many.observations.copy()
    observations[:, 1] = 0.1
    fitted = fit_normaliser(dataclasses.replace(many, observations=observations), np.arange(3000))
    assert fitted.observations.constant == (1,)
    assert fitted.observations.deviation[1] == 1
    np.testing.assert_allclose(fitted.apply(observations)[:, 1], 0, atol=1e-7)


def test_nan_is_left_out_and_stays(many):
    observations = many.observations.copy()
    observations[5, 0] = np.nan
    rows = np.arange(39)
    fitted = fit_normaliser(dataclasses.replace(many, observations=observations), rows)
    assert fitted.observations.n == 38
    np.testing.assert_allclose(
        fitted.observations.mean, np.delete(observations[rows], 5, axis=0).mean(axis=0), rtol=1e-5
    )
    assert np.isnan(fitted.apply(observations)[5, 0])
    # Row 39 is an episode's last: its action is NaN and no concern of anybody's.
    assert fit_normaliser(many, np.arange(40)).actions.n == 39
    with pytest.raises(ValueError, match=r"observations: expected at least one finite row"):
        fit_normaliser(dataclasses.replace(many, observations=observations * np.nan), rows)


def test_images_are_scaled_by_channel_and_tensors_like_arrays(generator, tmp_path):
    frames = images(generator, 3000, side=4)
    frames[..., 2] = 7
    np.save(tmp_path / "frames.npy", frames)
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="r")
    walk = episodes(generator, lengths=[30] * 100, observations=mapped)
    walk = dataclasses.replace(walk, actions=np.zeros(3000, np.int64), action_space=ActionSpace(count=2))
    fitted = fit_normaliser(walk, np.flatnonzero(walk.usable))
    assert fitted.actions is None
    assert fitted.observations.constant == (2,)
    trained = frames[walk.usable].astype(np.float64)
    np.testing.assert_allclose(fitted.observations.mean, trained.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(fitted.observations.deviation[:2], trained.std(axis=(0, 1, 2))[:2], rtol=1e-6)
    tensor = fitted.apply(torch.from_numpy(frames[:5]))
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor.numpy(), fitted.apply(frames[:5]), rtol=1e-6)
    actions = torch.zeros(4, dtype=torch.int64)
    assert fitted.apply_actions(actions) is actions
    with pytest.raises(ValueError, match=r"3 coordinates on the last axis, got \(5, 3, 4\)"):
        fitted.apply(np.zeros((5, 3, 4)))
