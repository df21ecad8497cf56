"""Each layout against plain loops over the arrays; what is refused; blocks, passes, trajectories, tokens."""

import numpy as np
import pytest

from jepa_scale.auditing.rows import EmbeddingRows, open_rows


class InMemory:
    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def read(self, start, stop):
        return self.values[start:stop].copy()


def rows_of(arrays, **options):
    return EmbeddingRows({name: InMemory(np.asarray(values)) for name, values in arrays.items()}, **options)


def collect(rows):
    blocks = list(rows.blocks())
    names = ["z", "z_next", "z_pred", "actions", "trajectories", "weights"]
    columns = {name: [getattr(block, name) for block in blocks] for name in names}
    return {name: None if parts[0] is None else np.concatenate(parts) for name, parts in columns.items()}


def normal(generator, *shape):
    return generator.normal(size=shape).astype(np.float32)


def assert_same_partition(found, expected):
    """Numbers 0 … count − 1 that are equal exactly where the ids are."""
    pairs = set(zip(found.tolist(), list(expected), strict=True))
    assert len(pairs) == len(set(found.tolist())) == len(set(expected))
    assert set(found.tolist()) == set(range(len(pairs)))


@pytest.fixture
def pairs(generator):
    n = 3000
    return {
        "z": normal(generator, n, 5),
        "z_next": normal(generator, n, 3),
        "z_pred": normal(generator, n, 3),
        "action": generator.integers(0, 4, n),
        "trajectory": np.sort(generator.integers(0, 40, n)) * 10**15 - 7,
        "weight": generator.random(n),
    }


@pytest.fixture
def episodes(generator):
    return {
        "z": normal(generator, 60, 31, 4),
        "z_pred": normal(generator, 60, 30, 4),
        "action": generator.normal(size=(60, 30, 2)),
        "weight": generator.random((60, 30)),
    }


@pytest.fixture
def series(generator):
    n = 2500
    return {
        "z": normal(generator, n, 4),
        "z_pred": normal(generator, n, 4),
        "action": generator.integers(0, 4, n),
        # Some have one row, and the ids come back.
        "trajectory": np.repeat([f"id {i % 50}" for i in range(160)], np.arange(160) % 43 + 1)[:n],
        "weight": generator.random(n),
    }


def series_places(ids):
    return [i for i in range(len(ids) - 1) if ids[i] == ids[i + 1]]


def test_pairs(pairs):
    rows = rows_of(pairs)
    found = collect(rows)
    for name in ("z", "z_next", "z_pred"):
        np.testing.assert_array_equal(found[name], pairs[name])
        assert found[name].dtype == np.float32
    np.testing.assert_array_equal(found["actions"], pairs["action"])
    np.testing.assert_array_equal(found["weights"], pairs["weight"])
    assert_same_partition(found["trajectories"], pairs["trajectory"].tolist())
    assert (rows.rows, rows.width, rows.next_width, rows.predicted_width) == (3000, 5, 3, 3)
    assert (rows.action_kind, rows.token_count, rows.dropped) == ("discrete", None, 0)
    assert (rows.trajectory_count, rows.trajectory_source) == (40, "given")
    assert rows.layout == (
        "pairs: 3000 rows of z, 5 wide, each with its z_next, 3 wide; discrete actions; 40 trajectories (by id)"
    )


def test_episodes(episodes):
    rows = rows_of(episodes)
    found = collect(rows)
    np.testing.assert_array_equal(found["z"], [z for episode in episodes["z"] for z in episode[:-1]])
    np.testing.assert_array_equal(found["z_next"], [z for episode in episodes["z"] for z in episode[1:]])
    np.testing.assert_array_equal(found["z_pred"], [z for episode in episodes["z_pred"] for z in episode])
    np.testing.assert_array_equal(found["actions"], [a for episode in episodes["action"] for a in episode])
    np.testing.assert_array_equal(found["weights"], [w for episode in episodes["weight"] for w in episode])
    assert_same_partition(found["trajectories"], np.repeat(np.arange(60), 30).tolist())
    assert (rows.rows, rows.action_kind, rows.trajectory_source) == (1800, "continuous", "episodes")
    assert rows.layout.startswith("episodes: 60 of 31 times, z 4 wide")


def test_episodes_may_have_an_unused_last_time(episodes):
    longer = {name: np.concatenate([values, values[:, -1:] * np.nan], axis=1) for name, values in episodes.items()}
    expected, found = collect(rows_of(episodes)), collect(rows_of({**longer, "z": episodes["z"]}))
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_series(series):
    rows = rows_of(series)
    found = collect(rows)
    here = series_places(series["trajectory"])
    np.testing.assert_array_equal(found["z"], series["z"][here])
    np.testing.assert_array_equal(found["z_next"], series["z"][[i + 1 for i in here]])
    for name, source in [("z_pred", "z_pred"), ("actions", "action"), ("weights", "weight")]:
        np.testing.assert_array_equal(found[name], series[source][here])
    assert_same_partition(found["trajectories"], series["trajectory"][here].tolist())
    assert rows.rows == len(here)
    assert rows.trajectory_count == len(set(series["trajectory"][here].tolist()))
    assert rows.layout.startswith("series: 2500 rows of z")


@pytest.mark.parametrize("layout", ["pairs", "episodes", "series"])
def test_the_cut_into_blocks_changes_no_row(request, layout):
    arrays = request.getfixturevalue(layout)
    expected = collect(rows_of(arrays, block_bytes=2**25))
    for block_bytes in (1, 1000, 70_000):
        rows = rows_of(arrays, block_bytes=block_bytes)
        for _ in range(2):
            for name, values in collect(rows).items():
                np.testing.assert_array_equal(values, expected[name])


def test_sizes_of_blocks(pairs, generator):
    assert [len(block.z) for block in rows_of(pairs, block_bytes=1).blocks()] == [1024, 1024, 952]
    many = {"z": np.zeros((140_000, 1), np.float32), "z_next": np.zeros((140_000, 1), np.float32)}
    assert [len(block.z) for block in rows_of(many).blocks()] == [65_536, 65_536, 8928]
    long = {"z": np.zeros((2, 70_001, 1), np.float32)}
    assert [len(block.z) for block in rows_of(long).blocks()] == [65_536, 65_536, 8928]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("layout", ["pairs", "episodes", "series"])
def test_files_give_the_rows_of_the_arrays(request, tmp_path, layout, save):
    arrays = request.getfixturevalue(layout)
    save(tmp_path / "a.npz", **{{"z": "emb"}.get(name, name): values for name, values in arrays.items()})
    rows = open_rows(tmp_path / "a.npz", {"z": "emb"}, block_bytes=20_000)
    expected = collect(rows_of(arrays))
    for _ in range(2):
        for name, values in collect(rows).items():
            np.testing.assert_array_equal(values, expected[name])


# Trajectories


def test_without_ids_contiguous_blocks_are_trajectories(generator):
    z = normal(generator, 1000, 2)
    rows = rows_of({"z": z, "z_next": z}, block_bytes=1)
    assert (rows.trajectory_source, rows.trajectory_count) == ("blocks", 256)
    ids = collect(rows)["trajectories"]
    assert np.count_nonzero(np.diff(ids)) == 255
    assert set(np.bincount(ids)) == {3, 4}
    few = rows_of({"z": z[:7], "z_next": z[:7]})
    assert few.trajectory_count == 7
    assert sorted(collect(few)["trajectories"]) == list(range(7))


def test_ids_with_a_period_do_not_line_up_with_groups(generator):
    z = normal(generator, 4096, 2)
    ids = np.repeat(np.arange(1024), 4)
    found = collect(rows_of({"z": z, "z_next": z, "trajectory": ids}))["trajectories"][::4]
    # Environment i mod 16 against group number mod 16: a table of independent draws, 4 expected in each of 256 cells.
    table = np.zeros((16, 16))
    np.add.at(table, (np.arange(1024) % 16, found % 16), 1)
    assert table.max() < 16


def test_the_numbers_of_trajectories_follow_appearance_and_seed(pairs):
    renamed = {**pairs, "trajectory": -(pairs["trajectory"])}
    numbers = [collect(rows_of(arrays, seed=3))["trajectories"] for arrays in (pairs, pairs, renamed)]
    np.testing.assert_array_equal(numbers[0], numbers[1])
    np.testing.assert_array_equal(numbers[0], numbers[2])
    assert (collect(rows_of(pairs, seed=4))["trajectories"] != numbers[0]).any()


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.int64, "U9", "S9"])
def test_types_of_ids(pairs, dtype):
    ids = np.random.default_rng(0).integers(0, 90, 3000).astype(dtype)
    assert_same_partition(collect(rows_of({**pairs, "trajectory": ids}))["trajectories"], ids.tolist())


# Tokens


@pytest.fixture
def token_pairs(generator):
    n = 300
    return {
        "z": normal(generator, n, 7, 3),
        "z_next": normal(generator, n, 7, 2),
        "z_pred": normal(generator, n, 7, 2),
        "action": generator.normal(size=n),
        "weight": generator.random(n),
    }


def test_the_mean_of_tokens(token_pairs):
    rows = rows_of(token_pairs, tokens="mean")
    found = collect(rows)
    for name in ("z", "z_next", "z_pred"):
        np.testing.assert_allclose(found[name], token_pairs[name].mean(1), atol=1e-6)
    assert found["z"].dtype == np.float32
    assert (rows.rows, rows.token_count) == (300, 7)
    assert "7 tokens, averaged" in rows.layout


def test_all_tokens(token_pairs):
    rows = rows_of(token_pairs, tokens="all", block_bytes=1)
    found = collect(rows)
    assert rows.rows == 2100
    for name in ("z", "z_next", "z_pred"):
        np.testing.assert_array_equal(found[name], [token for row in token_pairs[name] for token in row])
    np.testing.assert_array_equal(found["actions"][:, 0], np.repeat(token_pairs["action"], 7))
    np.testing.assert_array_equal(found["weights"], np.repeat(token_pairs["weight"], 7))
    assert len(np.unique(found["trajectories"].reshape(300, 7)[:, 0])) == 256
    assert (np.diff(found["trajectories"].reshape(300, 7)) == 0).all()


def drawn(found, tokens):
    return (found[:, None] == tokens).all(2).argmax(1)


def test_a_token_for_each_row(token_pairs):
    rows = rows_of(token_pairs, tokens="sample", seed=5)
    found = collect(rows)
    places = [drawn(found[name], token_pairs[name]) for name in ("z", "z_next", "z_pred")]
    np.testing.assert_array_equal(places[0], places[1])
    np.testing.assert_array_equal(places[0], places[2])
    for name, place in zip(("z", "z_next"), places, strict=False):
        np.testing.assert_array_equal(found[name], token_pairs[name][np.arange(300), place])
    # 43 of each expected, standard deviation 6.
    assert np.bincount(places[0], minlength=7).min() > 15
    np.testing.assert_array_equal(
        collect(rows_of(token_pairs, tokens="sample", seed=5, block_bytes=1))["z"], found["z"]
    )
    other = drawn(collect(rows_of(token_pairs, tokens="sample", seed=6))["z"], token_pairs["z"])
    assert 10 < np.count_nonzero(other == places[0]) < 90


@pytest.mark.parametrize("tokens", ["mean", "sample", "all"])
def test_tokens_of_episodes_and_of_a_series_are_the_same_pairs(generator, tokens):
    z = normal(generator, 8, 11, 5, 3)
    as_pairs = {"z": z[:, :-1].reshape(80, 5, 3), "z_next": z[:, 1:].reshape(80, 5, 3)}
    pairs, episodes = (collect(rows_of(arrays, tokens=tokens)) for arrays in (as_pairs, {"z": z}))
    for name in ("z", "z_next"):
        np.testing.assert_array_equal(pairs[name], episodes[name])
    flat = {"z": z.reshape(88, 5, 3), "trajectory": np.repeat(np.arange(8), 11)}
    rows = rows_of(flat, tokens=tokens)
    assert (rows.token_count, rows.rows) == (5, 400 if tokens == "all" else 80)
    if tokens != "sample":
        np.testing.assert_array_equal(collect(rows)["z_next"], pairs["z_next"])


# Types


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (np.arange(9), "discrete"),
        (np.arange(9)[:, None].astype(np.uint8), "discrete"),
        (np.arange(9) % 2 == 0, "discrete"),
        (np.arange(18).reshape(9, 2), "continuous"),
        (np.arange(9, dtype=np.float32), "continuous"),
        (np.arange(27, dtype=np.float16).reshape(9, 3), "continuous"),
    ],
)
def test_kinds_of_actions(generator, action, kind):
    z = normal(generator, 9, 2)
    rows = rows_of({"z": z, "z_next": z, "action": action})
    actions = collect(rows)["actions"]
    assert rows.action_kind == kind
    assert actions.dtype == (np.int64 if kind == "discrete" else np.float64)
    np.testing.assert_array_equal(actions, action.reshape(9) if kind == "discrete" else action.reshape(9, -1))


def test_no_actions_no_predictions(generator):
    z = normal(generator, 9, 2)
    rows = rows_of({"z": z, "z_next": z})
    (block,) = rows.blocks()
    assert (rows.action_kind, rows.predicted_width) == ("none", None)
    assert block.actions is block.z_pred is block.weights is None


def test_types_of_embeddings(generator):
    z = generator.normal(size=(50, 4))
    found = collect(rows_of({"z": z.astype(np.float16), "z_next": z}))
    np.testing.assert_array_equal(found["z"], z.astype(np.float16).astype(np.float32))
    assert (found["z"].dtype, found["z_next"].dtype) == (np.float32, np.float64)


def test_bfloat16_as_numpy_saves_it(tmp_path, generator):
    z = normal(generator, 50, 4)
    halves = (z.view(np.uint32) >> 16).astype(np.uint16)
    np.save(tmp_path / "z.npy", halves.view("V2"))
    np.save(tmp_path / "z_next.npy", z)
    rows = open_rows(tmp_path)
    found = collect(rows)["z"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, z, rtol=2**-7)
    assert "bfloat16" in rows.layout


# Numbers that are not finite


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["z", "z_next", "z_pred", "weight"])
def test_rows_that_are_not_finite(pairs, name, bad):
    for row in (2500, 1700):
        pairs[name][row] = bad
    with pytest.raises(ValueError, match=rf"in \d rows?.*first in row 1700 of {name}: .*--drop-nonfinite"):
        collect(rows_of(pairs, block_bytes=1))
    rows = rows_of(pairs, drop_nonfinite=True)
    found = collect(rows)
    assert (rows.dropped, rows.rows, len(found["z"])) == (2, 3000, 2998)
    np.testing.assert_array_equal(found["actions"], np.delete(pairs["action"], [1700, 2500]))
    collect(rows)
    assert rows.dropped == 2


def test_where_episodes_and_series_are_not_finite(episodes, series):
    episodes["z"][7, 30, 1] = np.nan
    with pytest.raises(ValueError, match="episode 7 at time 30 of z:"):
        collect(rows_of(episodes))
    episodes["action"][3, 4, 1] = np.inf
    with pytest.raises(ValueError, match="episode 3 at time 4 of action"):
        collect(rows_of({**episodes, "z": np.nan_to_num(episodes["z"])}))
    rows = rows_of(episodes, drop_nonfinite=True)
    collect(rows)
    assert rows.dropped == 2
    last = next(i for i in range(100, 2500) if series["trajectory"][i] != series["trajectory"][i + 1])
    series["z_pred"][last] = np.nan
    collect(rows_of(series))
    series["z"][last] = np.nan
    with pytest.raises(ValueError, match=f"row {last} of z:"):
        collect(rows_of(series))


def test_one_bad_token_spoils_its_own_row_only(token_pairs):
    token_pairs["z"][3, 2, 0] = np.nan
    for tokens, rows_left in [("mean", 299), ("all", 2099)]:
        assert len(collect(rows_of(token_pairs, tokens=tokens, drop_nonfinite=True))["z"]) == rows_left


# Refusals


def change(**columns):
    return lambda arrays: {name: values for name, values in {**arrays, **columns}.items() if values is not None}


@pytest.mark.parametrize(
    ("fixture", "changed", "message"),
    [
        ("pairs", change(z_next=np.zeros((2999, 3), "f4")), r"z_next with shape \(3000, any\) beside z with shape"),
        ("pairs", change(z_pred=np.zeros((3000, 5), "f4")), r"z_pred with shape \(3000, 3\) beside z_next .*3000, 5"),
        ("pairs", change(action=np.zeros(2999)), r"action with shape \(3000,\) or \(3000, any\) .*\(2999,\)"),
        ("pairs", change(weight=np.zeros((3000, 2))), r"weight with shape \(3000,\)"),
        ("pairs", change(trajectory=np.zeros((3000, 1), int)), r"trajectory with shape \(3000,\)"),
        ("pairs", change(z=np.zeros(3000)), r"z with shape \(n, width\) .*\(3000,\)"),
        ("pairs", change(z_next=None, trajectory=None), "neither z_next .*--columns z_next=NAME.* nor trajectory"),
        ("pairs", change(z_next=None, z_pred=None, trajectory=np.arange(3000)), "consecutive rows .* got none"),
        ("pairs", change(z=np.zeros((3000, 5), int)), "floating numbers in z, got int64: cast them to float32"),
        ("pairs", change(z=np.zeros((3000, 5), bool)), "floating numbers in z, got bool: cast"),
        ("pairs", change(z_pred=np.zeros((3000, 3), complex)), "floating numbers in z_pred, got complex128: save real"),
        ("pairs", change(z=np.zeros((3000, 5), "U3")), "floating numbers in z"),
        ("pairs", change(action=np.zeros(3000, "U3")), "real numbers in action"),
        ("pairs", change(weight=np.zeros(3000, complex)), "real numbers in weight"),
        ("pairs", change(trajectory=np.zeros(3000)), "integers or strings in trajectory, got float64"),
        ("pairs", change(trajectory=np.zeros(3000, bool)), "integers or strings in trajectory, got bool"),
        ("pairs", change(z=np.zeros((0, 5), "f4")), r"rows of numbers in z, got shape \(0, 5\)"),
        ("pairs", change(z=np.zeros((3000, 0), "f4")), r"rows of numbers in z, got shape \(3000, 0\)"),
        ("episodes", change(z=np.zeros((60, 1, 4), "f4")), "two times at least"),
        ("episodes", change(z_pred=np.zeros((60, 29, 4), "f4")), r"z_pred with shape \(60, 30, 4\) or \(60, 31, 4\)"),
        ("episodes", change(action=np.zeros((60, 29))), r"action with shape \(60, 30\) or \(60, 31\)"),
        ("episodes", change(weight=np.zeros(60)), r"weight with shape \(60, 30\) or \(60, 31\)"),
        ("episodes", change(z=np.zeros((60, 31, 2, 2, 4), "f4")), r"\(episodes, times, width\)"),
        ("series", change(z_pred=np.zeros((2499, 4), "f4")), r"z_pred with shape \(2500, 4\) beside z"),
        ("series", change(z=np.zeros((5, 500, 1, 4), "f4")), r"episodes without trajectory \(--columns trajectory=\)"),
        ("token_pairs", change(z_next=np.zeros((300, 6, 2), "f4")), r"z_next with shape \(300, 7, any\)"),
        ("token_pairs", change(z_pred=np.zeros((300, 2), "f4")), r"z_pred with shape \(300, 7, 2\) beside z_next"),
    ],
)
def test_arrays_that_are_no_transitions(request, fixture, changed, message):
    with pytest.raises(ValueError, match=message):
        rows_of(changed(request.getfixturevalue(fixture)))


def test_weights_that_weigh_nothing(pairs):
    with pytest.raises(ValueError, match="some positive weight, got zeros only"):
        collect(rows_of({**pairs, "weight": np.zeros(3000, int)}))
    pairs["weight"][1234] = -0.5
    with pytest.raises(ValueError, match=r"at least 0, got -0\.5 in row 1234 of weight"):
        collect(rows_of(pairs, drop_nonfinite=True))


def test_nothing_left(pairs):
    pairs["z"][:] = np.nan
    with pytest.raises(ValueError, match="got none in 3000 rows"):
        list(rows_of(pairs, drop_nonfinite=True).blocks())


def test_options(pairs):
    with pytest.raises(ValueError, match="one of mean, sample, all, got 'first'"):
        rows_of(pairs, tokens="first")
    with pytest.raises(ValueError, match="positive number of bytes"):
        rows_of(pairs, block_bytes=0)
