"""Offline W&B runs, written by W&B itself, read back."""

import math
import shutil

import pytest

from jepa_scale.integrations.wandb.files import joined, offline_folders, read_offline, read_runs
from jepa_scale.runs.errors import UserError
from tests.integrations.wandb.runs import offline_run


def logged_by_hand(row):
    return {name: value for name, value in row.items() if not name.startswith("_")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with rows larger than a block of the file."""
    folder = tmp_path_factory.mktemp("whole")
    rows = [
        {"epoch": 0, "loss": 1.5, "text": "a" * 49_500},
        {"epoch": 1, "loss": 2.0, "lost": math.nan, "best": math.inf, "worst": -math.inf},
        {"epoch": 2, "loss": 0.5, "parts": {"left": {"up": 1}, "right": 2}},
        {"epoch": 3, "loss": 1},
    ]
    offline_run(
        folder, "abc", rows, config={"model": {"k": 8, "name": None}, "sizes": [1, 2]}, kept={"loss": "min,last"},
        summary={"run/status": "finished"}, group="torus", job_type="pretrain", tags=["a", "b"], name="first",
    )  # fmt: skip
    (path,) = folder.rglob("*.wandb")
    return path


def test_everything_that_was_logged_is_read(whole):
    run = read_offline(whole.parent)
    assert (run.run_id, run.project, run.group, run.job_type, run.name) == (
        "abc",
        "sweep",
        "torus",
        "pretrain",
        "first",
    )
    assert run.tags == ("a", "b")
    assert run.config == {"model": {"k": 8, "name": None}, "sizes": [1, 2]}
    first, second, third, last = map(logged_by_hand, run.history)
    assert first == {"epoch": 0, "loss": 1.5, "text": "a" * 49_500}
    assert math.isnan(second["lost"])
    assert (second["best"], second["worst"]) == (math.inf, -math.inf)
    assert third == {"epoch": 2, "loss": 0.5, "parts": {"left": {"up": 1}, "right": 2}}
    assert last == {"epoch": 3, "loss": 1}
    assert run.step_metrics["*"] == "epoch"
    assert run.summaries["loss"] == ("min", "last")
    assert run.summary["loss"] == {"min": 0.5, "last": 1}
    assert run.summary["run/status"] == "finished"
    assert run.state == "finished"
    assert "_wandb" not in {*run.config, *run.summary}
    assert run.started > 1.6e9


def test_a_run_that_failed_and_one_that_was_never_closed_say_so(whole, tmp_path):
    offline_run(tmp_path, "bad", [{"a": 1}], exit_code=3)
    assert read_runs(tmp_path)[0].state == "failed"
    torn = tmp_path / "torn" / "offline-run-1-abc"
    torn.mkdir(parents=True)
    (torn / "run-abc.wandb").write_bytes(whole.read_bytes()[:-40])
    assert read_offline(torn).state == "crashed"


def test_a_file_torn_anywhere_in_its_last_block_gives_the_rows_before(whole, tmp_path):
    content, everything = whole.read_bytes(), list(map(repr, read_offline(whole.parent).history))
    folder = tmp_path / "offline-run-1-abc"
    folder.mkdir()
    path, counts = folder / "run-abc.wandb", []
    for length in range(len(content) // 32768 * 32768, len(content)):
        path.write_bytes(content[:length])
        rows = list(map(repr, read_offline(folder).history))
        assert rows == everything[: len(rows)]
        counts.append(len(rows))
    assert counts == sorted(counts)
    assert set(counts) >= {len(everything) - 2, len(everything) - 1, len(everything)}


def test_a_file_torn_in_its_header_is_an_error_and_nothing_worse(whole, tmp_path):
    folder = tmp_path / "offline-run-1-abc"
    folder.mkdir()
    for length in range(600):
        (folder / "run-abc.wandb").write_bytes(whole.read_bytes()[:length])
        try:
            said = read_offline(folder).run_id
        except UserError as error:
            said = str(error)
        assert "abc" in said


def test_damage_ends_the_reading(whole, tmp_path):
    folder = tmp_path / "offline-run-1-abc"
    folder.mkdir()
    content = bytearray(whole.read_bytes())
    place = content.index(b"right")
    content[place] ^= 0xFF
    (folder / "run-abc.wandb").write_bytes(content)
    assert len(read_offline(folder).history) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is not a W&B file"), (b"PK\3\4 something else", "is not a W&B file"), (b":W&B\xe1\xbe\0", "names no run")],
    ids=["empty", "strange", "nothing yet"],
)
def test_what_is_no_run_is_an_error_or_told(content, message, tmp_path, whole):
    bad = tmp_path / "wandb" / "offline-run-1-bad"
    bad.mkdir(parents=True)
    (bad / "run-bad.wandb").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_runs(tmp_path)
    shutil.copytree(whole.parent, tmp_path / "wandb" / whole.parent.name)
    told = []
    assert [run.run_id for run in read_runs(tmp_path, told.append)] == ["abc"]
    assert len(told) == 1
    assert message in told[0]


def test_a_folder_whose_file_was_deleted_is_no_run(tmp_path):
    (tmp_path / "offline-run-1-gone").mkdir()
    assert offline_folders(tmp_path) == []
    with pytest.raises(UserError, match=r"holds no \.wandb file"):
        read_offline(tmp_path / "offline-run-1-gone")
    with pytest.raises(UserError, match="no offline W&B run in"):
        read_runs(tmp_path)


def test_parts_of_a_requeued_run_are_one_run_in_the_order_of_their_start(tmp_path):
    offline_run(tmp_path / "z", "abc", [{"epoch": 0, "a": 1}, {"epoch": 1, "a": 2}], summary={"old": 1}, exit_code=1)
    offline_run(tmp_path / "a", "abc", [{"epoch": 1, "a": 2}, {"epoch": 2, "a": 3}], config={"k": 4})
    offline_run(tmp_path / "a", "other", [{"a": 7}])
    runs = {run.run_id: run for run in read_runs(tmp_path)}
    assert set(runs) == {"abc", "other"}
    both = runs["abc"]
    assert [(row["epoch"], row["a"]) for row in both.history] == [(0, 1), (1, 2), (1, 2), (2, 3)]
    assert both.summary["a"] == 3
    assert both.summary["old"] == 1
    assert both.config == {"k": 4}
    assert both.state == "finished"
    parts = [read_offline(folder) for folder in offline_folders(tmp_path) if folder.name.endswith("abc")]
    assert joined(parts[::-1]) == both
    assert both.started == min(part.started for part in parts)
