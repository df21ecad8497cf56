import numpy as np
import pytest
import torch

from jepa_scale.data.loader import StepLoader
from jepa_scale.data.module import WorldData
from jepa_scale.data.rows import CachedRows
from jepa_scale.data.windows import Windows, windows_of
from jepa_scale.records import ActionSpace, Episodes
from jepa_scale.worlds.torus import Torus

ALL = np.array([0])


def numbered(rows):
    index = torch.arange(rows + 1)
    return Windows(CachedRows(index[:, None].float()), CachedRows(index), torch.arange(rows), 1)


def rows_of(loader, epoch):
    loader.set_epoch(epoch)
    return [batch.actions[:, 0].tolist() for batch in loader]


def test_steps_do_not_depend_on_the_size_of_the_data():
    for rows in (10, 64, 1000):
        assert len(rows_of(StepLoader(numbered(rows), 8, 25, seed=0), 0)) == 25


def test_a_pass_sees_every_row_at_most_once_and_no_batch_repeats_a_row():
    batches = rows_of(StepLoader(numbered(20), 6, 30, seed=0), 0)
    for start in range(0, 30, 3):
        seen = [row for batch in batches[start : start + 3] for row in batch]
        assert len(set(seen)) == 18


def test_passes_and_seeds_differ():
    batches = rows_of(StepLoader(numbered(16), 8, 4, seed=0), 0)
    assert batches[:2] != batches[2:]
    assert batches != rows_of(StepLoader(numbered(16), 8, 4, seed=1), 0)


def test_epochs_are_one_long_sequence():
    long = rows_of(StepLoader(numbered(50), 8, 12, seed=3), 0)
    short = StepLoader(numbered(50), 8, 4, seed=3)
    assert rows_of(short, 0) + rows_of(short, 1) + rows_of(short, 2) == long
    assert rows_of(StepLoader(numbered(50), 8, 4, seed=3), 2) == long[8:], "a fresh loader at a later epoch agrees"


def test_ranks_share_the_same_global_batch():
    whole = rows_of(StepLoader(numbered(50), 8, 5, seed=3), 1)
    parts = [rows_of(StepLoader(numbered(50), 8, 5, seed=3, rank=rank, world_size=2), 1) for rank in range(2)]
    for batch, even, odd in zip(whole, *parts, strict=True):
        assert batch[::2] == even
        assert batch[1::2] == odd


def test_data_smaller_than_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"batch_size=8, and 7 windows.*raise data\.n"):
        StepLoader(numbered(7), 8, 5, seed=0)


@pytest.mark.parametrize(("batch_size", "ranks", "better"), [(8, 3, 6), (10, 4, 8), (2, 4, 4)])
def test_ranks_with_unequal_shares_are_refused(batch_size, ranks, better):
    with pytest.raises(ValueError, match=rf"for {ranks} processes: set data\.batch_size={better}$"):
        StepLoader(numbered(50), batch_size, 5, seed=0, rank=0, world_size=ranks)


def data(n, seed=0, horizon=1):
    sizes = {"heldout": 200, "test": 100, "length": 7, "batch_size": 4, "steps_per_epoch": 5}
    return WorldData(Torus(3), n=n, seed=seed, horizon=horizon, **sizes)


def test_data_sets_are_nested():
    small, large = data(50).windows, data(333).windows
    assert (len(small), len(large)) == (50, 333)
    few, many = (windows.take(torch.arange(50)) for windows in (small, large))
    torch.testing.assert_close(few.observations, many.observations, rtol=0, atol=0)
    assert torch.equal(few.actions, many.actions)


def test_held_out_and_test_data_never_depend_on_n():
    one, other = data(50), data(333)
    assert one.heldout.checksum == other.heldout.checksum
    assert one.test.checksum == other.test.checksum
    assert len({one.heldout.checksum, one.test.checksum, data(50, seed=1).heldout.checksum}) == 3


def test_splits_share_no_trajectory():
    one = data(200)
    width = min(one.train.states.shape[1], 8)
    rows = [split.states[:, :width] for split in (one.train, one.heldout, one.test)]
    # Different streams of 8 random states on 9 cells, 5 actions: a shared start sequence has odds below 1e-2 in all.
    keys = [
        {tuple(np.r_[r, a]) for r, a in zip(row, split.actions, strict=True)}
        for row, split in zip(rows, (one.train, one.heldout, one.test), strict=True)
    ]
    assert not keys[0] & keys[1]
    assert not keys[0] & keys[2]


@pytest.mark.parametrize("horizon", [1, 3, 7])
def test_windows_are_consecutive_states_of_one_trajectory(horizon):
    """20 transitions in trajectories of 7: windows end with the trajectory, and with the 20th transition."""
    one = data(20, horizon=horizon)
    batch = one.windows.take(torch.arange(len(one.windows)))
    expected = [
        (one.train.states[row, start : start + horizon + 1], one.train.actions[row, start : start + horizon])
        for row, length in ((0, 7), (1, 7), (2, 6))
        for start in range(length - horizon + 1)
    ]
    assert len(one.windows) == len(expected)
    for found, actions, (states, taken) in zip(batch.observations, batch.actions, expected, strict=True):
        np.testing.assert_array_equal(found.argmax(-1).numpy(), states)
        np.testing.assert_array_equal(actions.numpy(), taken)


def test_rows_without_an_action_break_windows():
    """7 rows, of which row 2 has no usable action: windows of two transitions begin in rows 0, 3 and 4."""
    usable = np.array([True, True, False, True, True, True, False])
    episodes = Episodes(
        observations=np.arange(7, dtype=np.float32)[:, None],
        actions=np.arange(7, dtype=np.float32)[:, None],
        lengths=np.array([7]),
        usable=usable,
        action_space=ActionSpace(None, 1),
    )
    assert windows_of(episodes, ALL, 5, 2).starts.tolist() == [0, 3, 4]
    assert windows_of(episodes, ALL, 4, 2).starts.tolist() == [0, 3]
    assert windows_of(episodes, ALL, 5, 3).starts.tolist() == [3]
    with pytest.raises(ValueError, match="4 transitions in a row, got none"):
        windows_of(episodes, ALL, 5, 4)
    with pytest.raises(ValueError, match="1 to 5 transitions"):
        windows_of(episodes, ALL, 6, 1)


def test_fewer_transitions_than_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"data\.n=3 < data\.batch_size=4"):
        data(3)
