"""Tables of both years' notations, a few rows each."""

import csv
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from jepa_scale.data.external.detect import read_episodes
from jepa_scale.data.external.overcooked import MOVES

LAYOUT = "cramped_room"


def state(x, held=None, objects=()):
    first = {"position": [x, 2], "orientation": [0, -1], "held_object": held}
    second = {"position": [3, 1], "orientation": [1, 0]}
    return {"players": [first, second], "objects": list(objects), "timestep": 4}


def onion(*position):
    return {"name": "onion", "position": list(position)}


def rows(trial="t", layout=LAYOUT):
    """Right twice, then take up the onion."""
    right, stay = [1, 0], [0, 0]
    steps = [
        (state(0, objects=[onion(2, 1)]), [right, stay]),
        (state(1, objects=[onion(2, 1)]), [right, [0, -1]]),
        (state(2, objects=[onion(2, 1)]), ["INTERACT", stay]),
        (state(2, held=onion(2, 2)), ["interact", "interact"]),
    ]
    return [
        {"state": seen, "joint_action": done, "layout_name": layout, "cur_gameloop": t, "trial_id": trial}
        for t, (seen, done) in enumerate(steps)
    ]


def write(path, table, text=json.dumps):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        for row in table:
            writer.writerow(
                {name: text(value) if isinstance(value, dict | list) else value for name, value in row.items()}
            )
    return path


@pytest.mark.parametrize("text", [json.dumps, repr], ids=["json", "python"])
def test_states_become_vectors_and_joint_actions_numbers(tmp_path, text):
    # Rows of two trials in turn, the second one's backwards.
    table = [row for pair in zip(rows("a"), rows("b")[::-1], strict=True) for row in pair]
    found = read_episodes(write(tmp_path / "trials.csv", table, text))
    assert found.lengths.tolist() == [4, 4]
    assert np.flatnonzero(~found.usable).tolist() == [3, 7]
    right, stay, up, interact = MOVES.index((1, 0)), MOVES.index((0, 0)), MOVES.index((0, -1)), 5
    assert found.actions[:3].tolist() == [6 * right + stay, 6 * right + up, 6 * interact + stay]
    assert found.action_space.count == 36
    # One onion at its place, one in the hand, four numbers for each player.
    assert found.observations.shape == (8, 10)
    np.testing.assert_array_equal(found.observations[:4], found.observations[4:])
    change = np.abs(np.diff(found.observations[:4], axis=0)).sum(axis=1)
    assert change.tolist() == [1, 1, 2], "a step to the right, another, and the onion from its place to the hand"


def test_soups_of_both_years(tmp_path):
    old = {"name": "soup", "position": [1, 0], "state": ["onion", 2, 5]}
    new = {"name": "soup", "position": [1, 0], "_ingredients": [onion(1, 0), onion(1, 0)], "cooking_tick": 4}
    found = {}
    for name, soup in {"old": {"(1, 0)": old}, "new": [new]}.items():
        table = rows()
        table[1]["state"] = {**table[1]["state"], "objects": soup}
        found[name] = read_episodes(write(tmp_path / f"{name}.csv", table)).observations
    np.testing.assert_array_equal(found["old"], found["new"])
    assert sorted(found["old"][1].tolist())[-3:] == [2, 3, 5]


def test_gaps_and_states_that_do_not_follow_are_skipped(tmp_path):
    table = rows()
    for before, after in zip(table, [*table[1:], table[-1]], strict=True):
        before["next_state"] = after["state"]
    table[3]["cur_gameloop"] = 9
    table[0]["next_state"] = state(5)
    found = read_episodes(write(tmp_path / "gaps.csv", table))
    assert np.flatnonzero(found.usable).tolist() == [1]
    assert found.notes == (
        "1 transitions skipped: the next row of the trial is not one loop later",
        "1 transitions skipped: the next row's state is not the one that was recorded to follow",
    )


def test_one_layout_is_read_at_a_time(tmp_path):
    path = write(tmp_path / "two.csv", [*rows("a"), *rows("b", "ring")])
    with pytest.raises(ValueError, match=r"two\.csv: expected one layout, .*layout=None of cramped_room, ring: choose"):
        read_episodes(path)
    assert read_episodes(path, layout="ring").lengths.tolist() == [4]


def test_what_does_not_fit_is_refused(tmp_path):
    table = rows()
    table[1]["joint_action"] = [[2, 0], [0, 0]]
    with pytest.raises(ValueError, match=r"expected a move \(dx, dy\) of one step or 'interact', got \[2, 0\]"):
        read_episodes(write(tmp_path / "jump.csv", table))
    bare = [{name: value for name, value in row.items() if name != "trial_id"} for row in rows()]
    with pytest.raises(ValueError, match="trial_id is missing"):
        read_episodes(write(tmp_path / "bare.csv", bare))


def test_pickles_are_opened_only_if_trusted(tmp_path, monkeypatch):
    path = tmp_path / "trials.pickle"
    path.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ValueError, match=r"a pickle, which runs code .*allow_pickle=True, once, and write a store"):
        read_episodes(path)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ValueError, match="a pickled table needs pandas, which is absent: pip install pandas"):
        read_episodes(path, allow_pickle=True)

    class Table:
        """As much of pandas as is used, so that the tests need not install it."""

        columns = tuple(rows()[0])

        def __getitem__(self, name):
            return np.array([row[name] for row in rows()], dtype=object)

    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Table, read_pickle=lambda path: Table()))
    assert read_episodes(path, allow_pickle=True).transitions == 3
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Table, read_pickle=lambda path: []))
    with pytest.raises(ValueError, match="expected a pickled table of pandas, got list"):
        read_episodes(path, allow_pickle=True)
