"""`data` as a user runs it."""

import h5py
import numpy as np
import pytest

from jepa_scale.cli.app import main
from jepa_scale.data.external.detect import read_episodes
from tests.data.recorded import walk


def run(arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.fixture
def recorded(tmp_path, generator):
    observations, actions, lengths = walk(generator, [12] * 40, noise=0.3)
    actions[30] = np.nan
    np.savez(tmp_path / "walk.npz", observations=observations, actions=actions, ep_len=lengths)
    return tmp_path / "walk.npz"


def test_it_says_what_there_is_and_converts_it(recorded, tmp_path, capsys):
    store = tmp_path / "store.h5"
    assert run(["data", recorded, "--to", store, "--frameskip", "3"]) == 0
    shown = capsys.readouterr().out
    assert f"NumPy, {recorded}" in shown
    assert "40 episodes of 4 to 4 rows, 119 transitions" in shown
    assert "vectors 2, actions of 6 coordinates in [-" in shown
    assert "• 1 of 440 transitions skipped: an action that is not finite" in shown
    assert "• frameskip 3: 80 steps at the ends of episodes dropped" in shown
    assert "• actions are aligned: the action explains R² = " in shown
    assert f"store: {store}" in shown
    found = read_episodes(store, verify=True)
    assert found.transitions == 119
    assert run(["data", store, "--verify"]) == 0


def test_misaligned_actions_end_with_code_1(recorded, tmp_path, capsys):
    arrays = dict(np.load(recorded))
    shifted = np.roll(np.nan_to_num(arrays["actions"]), 1, axis=0)
    np.savez(tmp_path / "late.npz", **(arrays | {"actions": shifted}))
    assert run(["data", tmp_path / "late.npz"]) == 1
    assert "• actions look misaligned" in capsys.readouterr().out


def test_a_mistake_is_one_line(recorded, tmp_path, capsys):
    assert run(["data", tmp_path / "absent"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert run(["data", recorded, "--observation", "pixels"]) == 2
    assert "expected an array pixels, got actions, ep_len, observations" in capsys.readouterr().err
    assert run(["data", recorded, "--to", recorded]) == 2
    assert "is the file that is read" in capsys.readouterr().err
    assert run(["data", recorded, "--frameskip", "99"]) == 2
    assert "an episode of more than 99 rows" in capsys.readouterr().err
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["ep_len"], file["ep_offset"] = np.array([2]), np.array([0])
    assert run(["data", tmp_path / "bare.h5"]) == 2
    assert "expected a column action" in capsys.readouterr().err
