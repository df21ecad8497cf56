"""Episodes cut into pieces: every usable transition once, in the piece of its own episode."""

from dataclasses import replace

import numpy as np
import pytest

from jepa_scale.callbacks.reference import _estimate
from jepa_scale.data.pieces import pieces_of
from jepa_scale.data.split import transition_rows
from jepa_scale.data.windows import as_episodes
from jepa_scale.records import Trajectories
from jepa_scale.worlds.point_mass import PointMass
from tests.data.recorded import episodes as recorded


def transitions(pieces):
    """(x, a, x⁺, episode) of every usable transition, one row each."""
    count, length = pieces.actions.shape[:2]
    seen = np.asarray(pieces.observations).reshape(count, length + 1, -1)
    owner = np.repeat(pieces.groups, length).reshape(count, length, 1)
    rows = np.concatenate([seen[:, :-1], pieces.actions, seen[:, 1:], owner], axis=2)
    return rows.reshape(count * length, -1)[... if pieces.usable is None else pieces.usable.reshape(-1)]


@pytest.mark.parametrize("length", [1, 3, 5, 50])
def test_every_usable_transition_is_in_one_piece_once(generator, length):
    made = recorded(generator, lengths=(7, 4, 9, 2, 12))
    made.usable[[2, 14]] = False
    chosen = np.array([4, 0, 2, 3])
    rows = transition_rows(made, chosen)
    owner = np.repeat(
        np.arange(4), [made.usable[made.offsets[e] : made.offsets[e] + made.lengths[e]].sum() for e in chosen]
    )
    expected = np.hstack([made.observations[rows], made.actions[rows], made.observations[rows + 1], owner[:, None]])
    found = pieces_of(made, chosen, length, seed=0)
    assert found.actions.shape[1] == length
    assert found.transitions == len(rows)
    np.testing.assert_array_equal(transitions(found), expected)


def test_nothing_of_a_row_without_action_is_read(generator):
    made = recorded(generator, lengths=(7, 4, 9))
    found = pieces_of(made, np.arange(3), 5, seed=0)
    assert np.isfinite(found.actions).all()


def test_reading_pieces_asks_for_their_rows_only(generator):
    made = recorded(generator, lengths=(7, 4, 9))

    class Counted:
        shape, dtype, asked = made.observations.shape, made.observations.dtype, 0

        def __getitem__(self, rows):
            self.asked += len(rows)
            return made.observations[rows]

    counted = Counted()
    found = pieces_of(replace(made, observations=counted), np.array([0, 2]), 3, seed=0)
    assert counted.asked == 0
    _ = found.observations[np.array([1])]
    assert counted.asked == 4


def test_errors_are_those_of_episodes_however_they_are_cut():
    """The moments are the same to rounding, so that a reference spectrum is too, with its errors: groups are kept."""
    drawn = PointMass().sample(320, 20, seed=0)
    whole = as_episodes(drawn, PointMass().action_space)
    cut = pieces_of(whole, np.arange(320), 6, seed=0)
    assert len(cut.actions) == 320 * 4
    ours, theirs = (_estimate(one, PointMass().action_space, 0.0) for one in (cut, drawn))
    np.testing.assert_allclose(ours.whole.total.value, theirs.whole.total.value, rtol=1e-6)
    np.testing.assert_allclose(ours.whole.total.standard_error, theirs.whole.total.standard_error, rtol=1e-4)


def test_the_checksum_sees_what_is_usable(generator):
    observations = generator.normal(size=(3, 5, 2)).astype(np.float32)
    actions = generator.normal(size=(3, 4, 1)).astype(np.float32)
    plain = Trajectories(observations, actions, None, 0, "x")
    masked = replace(plain, usable=np.ones((3, 4), dtype=bool))
    assert plain.checksum != masked.checksum
    assert plain.checksum == replace(plain).checksum
