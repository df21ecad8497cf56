"""Errors of held-out episodes by n: against one regression at a time, a known floor, and what cannot be measured."""

from dataclasses import replace

import numpy as np
import pytest

from jepa_scale.data.enough import ladder as module
from jepa_scale.data.enough.ladder import FOLDS, measure
from jepa_scale.records import ActionSpace, Episodes
from tests.data.recorded import episodes, images

LENGTHS = [9] * 40


def test_against_one_regression_at_a_time(generator):
    recording = episodes(generator, LENGTHS, noise=0.3)
    windows = module._windows(recording, 2, seed=3)
    cuts = [20, 40]
    linear, bent = module._errors(windows, cuts, 1.0, (0, 8), 3, lambda level: None)
    fold = windows.place % FOLDS
    design = np.concatenate([np.ones((len(fold), 1)), windows.inputs], axis=1)
    for level, cut in enumerate(cuts):
        for part in range(FOLDS):
            seen = (windows.place < cut) & (fold != part)
            penalty = module._PENALTIES[2] * seen.sum() * np.eye(design.shape[1])
            table = design[seen]
            weights = np.linalg.solve(table.T @ table + penalty, table.T @ windows.targets[seen])
            errors = np.square(windows.targets[fold == part] - design[fold == part] @ weights).mean(1).sum()
            np.testing.assert_allclose(linear[2, level, part], errors, rtol=1e-9)
    assert bent.shape == linear.shape == (len(module._PENALTIES), 2, FOLDS)
    assert not np.allclose(bent, linear)


def test_the_floor_of_a_random_walk_is_its_noise(generator):
    found = measure(episodes(generator, [12] * 320, noise=0.5), 1)
    floor = 0.25 / (1 / 3 + 0.25)
    assert abs(found.means[-1] - floor) < 4 * found.errors_of_means[-1] + 0.01
    assert found.copy == pytest.approx(1, abs=0.02)
    assert (np.diff(found.n) > 0).all()
    assert found.episodes.tolist() == [5, 10, 20, 40, 80, 160, 320]
    np.testing.assert_allclose(found.n[-1], 320 * 11 * (FOLDS - 1) / FOLDS)


def test_two_steps_ahead_the_noise_of_both_is_left(generator):
    found = measure(episodes(generator, [12] * 160, noise=0.5), 2)
    assert found.means[-1] == pytest.approx(0.25 / (1 / 3 + 0.25), abs=0.05)


def test_actions_of_other_episodes_explain_nothing(generator):
    recording = episodes(generator, [12] * 160)
    shuffled = Episodes(
        recording.observations, recording.actions[generator.permutation(len(recording.actions))], recording.lengths,
        recording.usable, recording.action_space,
    )  # fmt: skip
    shuffled.actions[np.isnan(shuffled.actions)] = 0.0
    assert measure(recording, 1).means[-1] < 1e-4
    assert measure(shuffled, 1).means[-1] > 0.95


def test_images_and_discrete_actions(generator):
    # A bright column that two of three actions move.
    lengths, rows = np.array([15] * 60), 900
    actions = generator.integers(0, 3, rows)
    place = np.zeros(rows, int)
    for row in range(rows):
        place[row] = generator.integers(16) if row % 15 == 0 else (place[row - 1] + actions[row - 1] - 1) % 16
    frames = images(generator, rows, side=16, channels=1) // 16
    frames[np.arange(rows), :, place] += 200
    usable = np.arange(rows) % 15 != 14
    found = measure(Episodes(frames, actions, lengths, usable, ActionSpace(count=3)), 1)
    assert found.means[-1] < 0.85 * found.means[0]


def test_a_long_recording_is_thinned(generator, monkeypatch):
    monkeypatch.setattr(module, "_VECTOR_WINDOWS", 500)
    found = measure(episodes(generator, [12] * 160, noise=0.5), 1)
    assert found.stride == 4
    assert found.windows <= 500
    np.testing.assert_allclose(found.n[-1], 160 * 11 * (FOLDS - 1) / FOLDS)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [([9] * 7, "at least 8 episodes"), ([2] * 40, "2 usable transitions in a row")],
)
def test_too_little(generator, lengths, message):
    with pytest.raises(ValueError, match=message):
        measure(episodes(generator, lengths), 1)


def test_nothing_moves(generator):
    still = replace(episodes(generator, LENGTHS), observations=np.ones((360, 2), np.float32), states=None)
    with pytest.raises(ValueError, match="got constant ones"):
        measure(still, 1)
