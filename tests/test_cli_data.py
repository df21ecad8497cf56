"""`data` as a user runs it."""

import json

import h5py
import numpy as np
import pytest

from jepa_scale.cli.app import main
from jepa_scale.data.external.detect import read_episodes
from jepa_scale.data.recorded import Recorded
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
    assert "40 episodes of 12 to 12 rows, 439 transitions" in shown
    assert "at the frameskip: 40 episodes of 4 to 4 rows, 119 transitions" in shown
    assert "vectors 2, actions of 2 coordinates in [-" in shown
    assert "• 1 of 440 transitions skipped: an action that is not finite" in shown
    assert "• frameskip 3: 80 steps at the ends of episodes dropped" in shown
    assert "• actions are aligned: beyond x_t, x_t-1 and the other lags the action explains " in shown
    assert f"store: {store}" in shown
    found = read_episodes(store, verify=True)
    assert found.transitions == 119
    assert run(["data", store, "--verify"]) == 0


def test_shifted_actions_end_with_code_1(recorded, tmp_path, capsys):
    arrays = dict(np.load(recorded))
    shifted = np.roll(np.nan_to_num(arrays["actions"]), 1, axis=0)
    np.savez(tmp_path / "late.npz", **(arrays | {"actions": shifted}))
    assert run(["data", tmp_path / "late.npz"]) == 1
    assert "✗ actions are shifted by one row" in capsys.readouterr().out
    assert run(["data", tmp_path / "late.npz", "--enough"]) == 1
    assert capsys.readouterr().out.startswith("NOT ANSWERED whether it is enough: actions are shifted by one row")


def test_what_does_not_ruin_training_ends_with_code_0(recorded, tmp_path, capsys):
    """Copies, clocks, a coordinate that never moves and an action without effect are told, and train."""
    arrays = dict(np.load(recorded))
    rows = len(arrays["observations"])
    seen = np.concatenate([arrays["observations"], np.zeros((rows, 1)), np.tile(np.arange(12.0), 40)[:, None]], axis=1)
    actions = np.random.default_rng(0).normal(size=(rows, 2))
    seen[12:24], actions[12:24] = seen[:12], actions[:12]
    np.savez(tmp_path / "odd.npz", observations=seen, actions=actions, ep_len=arrays["ep_len"])
    assert run(["data", tmp_path / "odd.npz"]) == 0
    shown = capsys.readouterr().out
    assert "• 1 of 40 episodes are copies of others" in shown
    assert "• 1 of 4 coordinates never change: 2" in shown
    assert "• coordinates 3 count the rows of the episode" in shown


def test_the_card_as_json_and_as_a_page(recorded, tmp_path, capsys):
    assert run(["data", recorded, "--json", "--page", tmp_path / "card"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["command"], answer["status"]) == ("data", "sound")
    assert answer["next"] == f"jepa-scale data {recorded} --enough"
    assert answer["files"]["page"] == str(tmp_path / "card/card.html")
    printed = answer["card"]
    assert printed == json.loads((tmp_path / "card/card.json").read_text())
    assert printed["alignment"]["verdict"] == "aligned"
    assert printed["policy"]["kind"] == "random"
    assert printed["content"]["transitions"] == 439
    assert not printed["ruined"]
    page = (tmp_path / "card/card.html").read_text()
    assert "Card of NumPy, " in page
    assert (tmp_path / "card/figures/gains.png").exists()
    assert (tmp_path / "card/figures/reach.svg").exists()
    assert run(["data", recorded, "--page", recorded]) == 2
    assert "is a file: give another --page" in capsys.readouterr().err


def test_several_columns_are_joined(recorded, tmp_path, capsys):
    arrays = dict(np.load(recorded))
    joints = {"left": arrays["observations"][:, :1], "right": arrays["observations"][:, 1:]}
    np.savez(tmp_path / "apart.npz", actions=arrays["actions"], ep_len=arrays["ep_len"], **joints)
    assert run(["data", tmp_path / "apart.npz", "--observation", "left,right"]) == 0
    assert "vectors 2, actions of 2" in capsys.readouterr().out
    world = Recorded(str(tmp_path / "apart.npz"), observation=["left", "right"])
    assert world.observation_shape == (2,)


def test_a_mistake_is_one_line(recorded, tmp_path, capsys):
    assert run(["data", tmp_path / "absent"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert run(["data", recorded, "--observation", "pixels"]) == 2
    assert "expected pixels for the observation, got observations, actions, ep_len" in capsys.readouterr().err
    assert run(["data", recorded, "--to", recorded]) == 2
    assert "is the file that is read" in capsys.readouterr().err
    assert run(["data", recorded, "--frameskip", "99"]) == 2
    assert "an episode of more than 99 rows" in capsys.readouterr().err
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["ep_len"], file["ep_offset"] = np.array([2]), np.array([0])
    assert run(["data", tmp_path / "bare.h5"]) == 2
    assert "expected a column action" in capsys.readouterr().err


def test_enough_says_first_whether_more_would_help(recorded, tmp_path, capsys):
    assert run(["data", recorded, "--enough", "--page", tmp_path / "card"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith(("ENOUGH", "MORE DATA HELPS", "CANNOT TELL"))
    assert "twice the data" in shown[0]
    content = json.loads((tmp_path / "card" / "card.json").read_text())
    assert content["enough"]["status"] in ("enough", "more data helps", "cannot tell")
    assert content["enough"]["curves"][0]["ladder"]["horizon"] == 1
    page = (tmp_path / "card" / "card.html").read_text()
    assert page.index("Is it enough?") < page.index("Findings")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--worthwhile", "0.1"], "--worthwhile is for --enough"),
        (["--enough", "--worthwhile", "5"], "a share above 0 and below 1, got 5"),
    ],
)
def test_enough_refuses(recorded, capsys, arguments, message):
    assert run(["data", recorded, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_enough_needs_episodes(tmp_path, generator, capsys):
    observations, actions, lengths = walk(generator, [300] * 4, noise=0.3)
    np.savez(tmp_path / "walk.npz", observations=observations, actions=actions, ep_len=lengths)
    assert run(["data", tmp_path / "walk.npz", "--enough", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)["card"]
    assert content["enough"]["status"] == "not answered"
    assert content["enough"]["reason"].startswith("expected at least 8 episodes of 2 or more transitions, got 4")
    assert content["content"]["episodes"] == 4
