"""Reader of human play in Overcooked-AI: tables of states and joint actions as text."""

from __future__ import annotations

import ast
import csv
import importlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_scale.data.external.assemble import LOAD_BYTES, assemble
from jepa_scale.data.external.formats import Format
from jepa_scale.foreign import Refused, listed, reading, short
from jepa_scale.records import ActionSpace, Episodes

MOVES: tuple[tuple[int, int], ...] = ((0, 0), (0, -1), (0, 1), (1, 0), (-1, 0))
"""Moves of one player by number: stay, up, down, right, left; 5 is to interact."""

_ONE = len(MOVES) + 1
_NEEDED = ("state", "joint_action", "layout_name", "cur_gameloop")
_TRIALS = (("trial_id",), ("workerid_num", "layout_name", "round_num"))


def read(
    path: Path, *, layout: str | None = None, allow_pickle: bool = False, load_bytes: int = LOAD_BYTES
) -> Episodes:
    """Read the trials of one layout from a .csv or a pickled pandas table.

    An observation is a vector: places, orientations and held objects of both players, then objects by kind and place,
    soups with their ingredients and time; one coordinate for each that occurs in the layout's rows, in the order of
    their names. A joint action is 6 i + j for the first player's i and the second's j.

    A row leads to the next one of its trial if that is one loop later and, where the table has ``next_state``, is it.

    Parameters
    ----------
    path
        The table.
    layout
        ``layout_name`` of the rows to read; not needed where there is only one.
    allow_pickle
        Whether a pickle may be opened, which runs whatever code it holds and needs pandas.
    load_bytes
        Not needed: vectors are held in memory.

    Raises
    ------
    Refused
        If the table is a pickle and that is not allowed, lacks columns, or holds several layouts and none is chosen.
    """
    table = _pickled(path) if path.suffix != ".csv" and _allowed(path, allow_pickle) else _text(path)
    trial = _columns(table, path)
    chosen = _layout(table, layout, path)
    keys = [tuple(str(table[name][row]) for name in trial) for row in chosen]
    loops = np.array(_each(table, "cur_gameloop", chosen, path, lambda loop: int(float(loop))), dtype=np.int64)
    order = sorted(range(len(chosen)), key=lambda place: (keys[place], loops[place]))
    rows = [chosen[place] for place in order]
    trials, loops = [keys[place] for place in order], loops[order]
    same = np.array([current == following for current, following in pairwise(trials)], dtype=bool)
    ends = np.append(np.flatnonzero(~same), len(rows) - 1)
    states = _each(table, "state", rows, path, lambda text: _named(_parsed(text)))
    notes: list[str] = []
    follows = np.append(same & (np.diff(loops) == 1), False)
    if gaps := int(same.sum() - follows.sum()):
        notes.append(f"{gaps} transitions skipped: the next row of the trial is not one loop later")
    if "next_state" in table:
        recorded = _each(table, "next_state", rows, path, lambda text: _named(_parsed(text)))
        _drop_others(follows, recorded, states, notes)
    return assemble(
        _vectors(states),
        np.array(_each(table, "joint_action", rows, path, lambda text: _joint(_parsed(text), path))),
        np.diff(ends, prepend=-1),
        source=f"Overcooked, {path}",
        known=follows,
        action_space=ActionSpace(count=_ONE**2),
        notes=notes,
        load_bytes=load_bytes,
    )


def _each(
    table: Mapping[str, list[Any]], name: str, rows: Iterable[int], path: Path, parse: Callable[[Any], Any]
) -> list[Any]:
    """Parse every value of a column; an error says which row cannot be parsed."""
    parsed = []
    for row in rows:
        with reading(f"{path}: {name} of row {row + 1}", "Overcooked's notation"):
            parsed.append(parse(table[name][row]))
    return parsed


def _drop_others(follows: NDArray[np.bool_], recorded: list[Any], states: list[Any], notes: list[str]) -> None:
    """Leave out transitions whose next state is not the one that the row records."""
    agree = np.array(
        [expected == actual for expected, actual in zip(recorded[:-1], states[1:], strict=True)], dtype=bool
    )
    if count := int((follows[:-1] & ~agree).sum()):
        notes.append(f"{count} transitions skipped: the next row's state is not the one that was recorded to follow")
    follows[:-1] &= agree


def looks_like(path: Path) -> bool:
    """Whether a path is a pickle, or text whose first line names the columns."""
    if path.suffix in (".pickle", ".pkl") and path.is_file():
        return True
    if path.suffix != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return set(_NEEDED) <= set(next(csv.reader(file), []))


def _allowed(path: Path, allow_pickle: bool) -> bool:
    if not allow_pickle:
        raise Refused(
            f"{path}: expected a table as .csv, got a pickle, which runs code when it is opened: if you trust its "
            "source pass allow_pickle=True, once, and write a store"
        )
    return True


def _pickled(path: Path) -> Mapping[str, list[Any]]:
    try:
        pandas = importlib.import_module("pandas")
    except ImportError:
        raise Refused(f"{path}: a pickled table needs pandas, which is absent: pip install pandas") from None
    # The code that it holds may raise anything.
    with reading(path, "a pickled table of pandas", Exception):
        table = pandas.read_pickle(path)
    if not isinstance(table, pandas.DataFrame):
        raise Refused(f"{path}: expected a pickled table of pandas, got {type(table).__name__}")
    return {str(name): table[name].tolist() for name in table.columns}


def _text(path: Path) -> Mapping[str, list[Any]]:
    # A layout's text alone is longer than what a field may be by default.
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with reading(path, "a table of text"), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        return {name: [row[name] for row in rows] for name in reader.fieldnames or ()}


def _columns(table: Mapping[str, list[Any]], path: Path) -> tuple[str, ...]:
    """Return the names of the columns that tell trials apart."""
    trial = next((names for names in _TRIALS if set(names) <= set(table)), None)
    missing = [name for name in _NEEDED if name not in table]
    if missing or trial is None:
        absent = ", ".join(missing) or "trial_id"
        raise Refused(
            f"{path}: expected Overcooked's columns {', '.join(_NEEDED)} and trial_id or {', '.join(_TRIALS[1])}, got "
            f"{listed(table) or 'none'}: {absent} is missing"
        )
    return trial


def _layout(table: Mapping[str, list[Any]], layout: str | None, path: Path) -> list[int]:
    names = table["layout_name"]
    layouts = sorted(set(names))
    chosen = layouts[0] if layout is None and len(layouts) == 1 else layout
    rows = [row for row, name in enumerate(names) if name == chosen]
    if not rows:
        raise Refused(
            f"{path}: expected one layout, as the others' states are of another size, got {layout=} of "
            f"{listed(layouts) or 'no row'}: choose one of these"
        )
    return rows


def _parsed(value: Any) -> Any:
    """Parse a value in JSON or Python notation; tables of different years hold either, or values that are no text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return ast.literal_eval(value)


def _named(state: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a state by name; missing ones are 0."""
    numbers: dict[str, float] = {}
    for number, player in enumerate(state["players"]):
        for name in ("position", "orientation"):
            for axis, value in zip("xy", player[name], strict=True):
                numbers[f"player {number} {name} {axis}"] = float(value)
        carried = player.get("held_object")
        if carried:
            numbers |= _thing(carried, f"player {number} holds")
    objects = state.get("objects") or ()
    # Older tables have a dictionary by place.
    things: Iterable[Any] = objects.values() if isinstance(objects, Mapping) else objects
    for thing in things:
        numbers |= _thing(thing, "at " + ",".join(str(int(value)) for value in thing["position"]))
    return numbers


def _thing(thing: Mapping[str, Any], where: str) -> dict[str, float]:
    """Return the features of an object: its kind; for soups the count of each ingredient and the cooking time."""
    label = f"{where} {thing['name']}"
    features = {label: 1.0}
    if thing.get("state"):
        kind, count, time = thing["state"]
        return features | {f"{label} of {kind}": float(count), f"{label} time": float(time)}
    for part in thing.get("_ingredients", ()):
        name = f"{label} of {part['name']}"
        features[name] = features.get(name, 0.0) + 1.0
    if "cooking_tick" in thing:
        # It is −1 before cooking starts; 0 has to be what is not there.
        features[f"{label} time"] = float(thing["cooking_tick"]) + 1.0
    return features


def _vectors(states: list[dict[str, float]]) -> NDArray[np.float32]:
    place = {name: column for column, name in enumerate(sorted(set().union(*states)))}
    vectors = np.zeros((len(states), len(place)), dtype=np.float32)
    for row, state in enumerate(states):
        for name, value in state.items():
            vectors[row, place[name]] = value
    return vectors


def _joint(actions: Any, path: Path) -> int:
    numbers = [_single(action, path) for action in actions]
    if len(numbers) != 2:
        raise Refused(f"{path}: expected actions of two players, got {short(actions)}")
    return _ONE * numbers[0] + numbers[1]


def _single(action: Any, path: Path) -> int:
    if isinstance(action, str) and action.lower() == "interact":
        return len(MOVES)
    if not isinstance(action, str) and tuple(action) in MOVES:
        return MOVES.index(tuple(action))
    raise Refused(f"{path}: expected a move (dx, dy) of one step or 'interact', got {short(repr(action))}")


FORMATS = (
    Format(
        "overcooked",
        "a .csv or a pickled table with state, joint_action, layout_name and cur_gameloop",
        looks_like,
        read,
        order=20,
    ),
)
