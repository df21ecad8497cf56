"""A cohort's members are runs in full: files, numbers, resumption, divergence and errors are those of runs alone."""

import functools
import json
import math
import os
import signal
import subprocess
import sys

import lightning as L
import pytest
import torch

from jepa_scale.objectives.base import Objective
from jepa_scale.objectives.sigreg import SIGReg
from jepa_scale.runs.checkpoint import read_checkpoint
from jepa_scale.runs.cohort import Job, most_in_memory, run_cohort, step_flops
from jepa_scale.runs.config import compose
from jepa_scale.runs.distributed.exits import FINISHED, STOPPED
from jepa_scale.runs.distributed.together import Member, main, read_ends
from jepa_scale.runs.errors import CohortEnded, CohortTooLarge, Interrupted
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.identity import run_id
from jepa_scale.runs.run import run
from jepa_scale.training.cohort.stack import Stack

TINY = [
    "logger=none", "trainer.epochs=2", "trainer.steps_per_epoch=30", "data.n=600", "data.heldout=640", "data.test=640",
    "data.batch_size=32", "model.k=4", "model.hidden=16",
]  # fmt: skip
MEMBERS = [["seed=0"], ["seed=1", "data.n=100", "optimizer.lr=0.01"], ["seed=2", "optimizer.weight_decay=0.1"]]
LOST = ["seed=3", "optimizer.lr=1e6"]


def configs(*members):
    return [compose([*TINY, *own]) for own in members]


def jobs_in(folder, made):
    return [Job(config, folder / f"run-{number}") for number, config in enumerate(made)]


def rows_of(folder):
    return {(row["name"], row["epoch"]): row for row in RunFolder(folder).read_metrics()}


def near(one, other, errors):
    """Whether values agree to 10⁻³, or in what their own standard errors say is not known."""
    if isinstance(one, list):
        return len(one) == len(other) and all(map(near, one, other, errors or [0.0] * len(one)))
    return one == other or math.isclose(one, other, rel_tol=1e-3, abs_tol=max(1e-3, 2 * (errors or 0.0)))


def assert_alike(one, other):
    """Same estimates with the same sizes and flags, of weights that agree up to the order of sums in float32.

    Estimates of operators of deficient rank divide by what is nearly nothing: 10⁻⁷ of a weight moves them by as much as
    their standard errors.
    """
    ours, theirs = rows_of(one), rows_of(other)
    assert ours.keys() == theirs.keys()
    for key, row in theirs.items():
        assert (ours[key]["n"], ours[key]["step"], ours[key]["flag"]) == (row["n"], row["step"], row["flag"]), key
        errors = row["standard_error"] if "rank_deficient" in row["flag"] else None
        assert near(ours[key]["value"], row["value"], errors), key
    states = [read_checkpoint(folder).state for folder in (one, other)]
    for name, weights in states[1].items():
        assert float((states[0][name] - weights).abs().max()) < 1e-5, name


def structure(value):
    """What a checkpoint holds, with its counters, without its weights."""
    if isinstance(value, dict):
        return {name: structure(item) for name, item in value.items() if name != "generators"}
    if isinstance(value, list | tuple):
        return [structure(item) for item in value]
    if torch.is_tensor(value):
        return (value.dtype, tuple(value.shape), int(value) if value.ndim == 0 and value == value.round() else None)
    return None if isinstance(value, float) else value


@pytest.fixture(scope="module")
def solo(tmp_path_factory):
    """Runs alone, and a fourth one that diverges."""
    folder = tmp_path_factory.mktemp("solo")
    return folder, [run(config, folder / f"run-{i}") for i, config in enumerate(configs(*MEMBERS, LOST))]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder, told = tmp_path_factory.mktemp("cohort"), []
    outcomes = run_cohort(jobs_in(folder, configs(*MEMBERS, LOST)), lambda number, outcome: told.append(number))
    assert [outcome.error for outcome in outcomes] == [None] * 4
    return folder, [outcome.record for outcome in outcomes], told


def test_members_log_and_record_what_runs_alone_do(solo, cohort):
    for number, record in enumerate(solo[1][:3]):
        member = cohort[1][number]
        assert_alike(cohort[0] / f"run-{number}", solo[0] / f"run-{number}")
        assert (member.run_id, member.dials, member.config) == (record.run_id, record.dials, record.config)
        assert member.final.keys() == record.final.keys()
        assert member.data_checksum == record.data_checksum
        assert member == RunFolder(cohort[0] / f"run-{number}").read_record()


def test_a_record_says_how_many_trained_together(solo, cohort):
    assert [record.times["cohort"] for record in cohort[1]] == [4] * 4
    assert all("cohort" not in record.times for record in solo[1])


def test_checkpoints_are_those_of_runs_alone(solo, cohort):
    for number in range(3):
        place = f"run-{number}/checkpoints/last.ckpt"
        ours, theirs = (torch.load(folder / place, weights_only=True) for folder in (cohort[0], solo[0]))
        assert structure(ours) == structure(theirs)


def test_a_diverged_member_is_recorded_first_and_touches_no_other(solo, cohort):
    lost = cohort[1][3]
    assert (lost.status, lost.reason) == ("diverged", solo[1][3].reason)
    assert cohort[2][0] == 3, "at once, not at the end of the cohort"
    assert [record.status for record in cohort[1][:3]] == ["finished"] * 3


def test_seconds_of_members_are_shares(cohort):
    assert all(0 < record.times["fit_seconds"] <= record.times["wall_seconds"] for record in cohort[1])


BROKEN = """
import os, sys, json
from pathlib import Path
import torch
torch.set_num_threads(1)
from jepa_scale import signals
from jepa_scale.runs.cohort import Job, run_cohort
from jepa_scale.training.cohort.stack import Stack
signals.install()
advance, number = Stack.advance, int(sys.argv[2])
def broken(self, step, steps):
    if step + steps > 40:
        os.kill(os.getpid(), number)
    advance(self, step, steps)
Stack.advance = broken
folder = Path(sys.argv[1])
jobs = [Job(config, folder / f"run-{n}") for n, config in enumerate(json.loads(sys.argv[3]))]
print(*[type(outcome.error).__name__ for outcome in run_cohort(jobs)])
"""


@pytest.mark.parametrize(("number", "saved"), [(signal.SIGTERM, 50), (signal.SIGKILL, 30)])
def test_an_interrupted_cohort_is_gone_on_with_alone_and_together(tmp_path, cohort, number, saved):
    """A signal is answered between steps, with everything saved; after a kill the last epoch remains."""
    made = configs(*MEMBERS)
    command = [sys.executable, "-c", BROKEN, str(tmp_path), str(int(number)), json.dumps(made)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if number == signal.SIGTERM:
        assert done.stdout.split() == ["Interrupted"] * 3, done.stderr
    else:
        assert done.returncode == -signal.SIGKILL
    for job in jobs_in(tmp_path, made):
        assert torch.load(job.path / "checkpoints/last.ckpt", weights_only=True)["global_step"] == saved
    run(made[0], tmp_path / "run-0")
    outcomes = run_cohort(jobs_in(tmp_path, made)[1:])
    assert [outcome.error for outcome in outcomes] == [None] * 2
    for number in range(3):
        assert_alike(tmp_path / f"run-{number}", cohort[0] / f"run-{number}")


def test_members_that_stand_at_different_steps_meet_again(tmp_path, cohort, monkeypatch):
    """One has an epoch more than the others, as when a cohort is killed while it saves."""
    made = configs(*MEMBERS)
    advance, steps = Stack.advance, []

    def noted(self, step, count):
        steps.append((step, len(self.alive)))
        if len(steps) > 1 and step >= 30 and not tmp_path.joinpath("once").exists():
            tmp_path.joinpath("once").touch()
            raise RuntimeError("the machine breaks")
        advance(self, step, count)

    monkeypatch.setattr(Stack, "advance", noted)
    with pytest.raises(RuntimeError, match="breaks"):
        run_cohort(jobs_in(tmp_path, made)[:1])
    outcomes = run_cohort(jobs_in(tmp_path, made))
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert steps[-1][1] == 3, str(steps)
    for number in range(3):
        assert_alike(tmp_path / f"run-{number}", cohort[0] / f"run-{number}")


def test_a_finished_member_is_not_trained_again(tmp_path, cohort, monkeypatch):
    monkeypatch.setattr(Stack, "advance", lambda *arguments: pytest.fail("trained"))
    outcomes = run_cohort(jobs_in(cohort[0], configs(*MEMBERS)))
    assert [outcome.record for outcome in outcomes] == cohort[1][:3]


class Counting(L.Callback):
    """Looks at every step."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        pass


def test_a_callback_that_looks_at_every_step_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("jepa_scale.runs.run.build_callbacks", lambda config, context: [Counting()])
    (outcome,) = run_cohort(jobs_in(tmp_path, configs(MEMBERS[0])))
    assert isinstance(outcome.error, CohortEnded)
    assert "Counting looks at every step" in str(outcome.error)


def test_members_of_other_shapes_are_named_and_resumable(tmp_path):
    made = configs(MEMBERS[0], ["seed=1", "model.k=5"])
    outcomes = run_cohort(jobs_in(tmp_path, made))
    assert all("differ in shape" in str(outcome.error) for outcome in outcomes)
    assert run(made[1], tmp_path / "run-1").status == "finished"


def test_an_error_of_one_member_ends_it_alone(tmp_path):
    made = configs(*MEMBERS)
    (tmp_path / "run-1").mkdir()
    (tmp_path / "run-1" / "stranger.txt").touch()
    outcomes = run_cohort(jobs_in(tmp_path, made))
    assert "is not a run folder" in str(outcomes[1].error)
    assert [outcome.record.status for outcome in outcomes[::2]] == ["finished"] * 2


def test_run_ids_do_not_depend_on_the_cohort(cohort):
    assert [record.run_id for record in cohort[1]] == [run_id(config) for config in configs(*MEMBERS, LOST)]


class Full(torch.nn.Linear):
    """An encoder of which ``most`` fit into memory, once it has been called ``calls`` times."""

    most, calls = 2, 0

    def __init__(self, observation_shape, k, hidden):
        super().__init__(observation_shape[0], k)

    def forward(self, observations):
        if torch._C._functorch.is_batchedtensor(self.weight):
            type(self).calls -= 1
            if self.calls <= 0 and len(torch._C._functorch.get_unwrapped(self.weight)) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(observations)


FULL = [f"encoder._target_={__name__}.Full"]


@pytest.mark.parametrize(("calls", "most", "kept"), [(0, 2, 2), (45, 1, 1)], ids=["before the first step", "later"])
def test_memory_that_does_not_suffice_halves_the_cohort(tmp_path, monkeypatch, calls, most, kept):
    """Those who go on end as runs alone do, whenever it happens; the others can be done later."""
    monkeypatch.setenv("JEPA_SCALE_ALLOW", __name__)
    monkeypatch.setattr("jepa_scale.runs.cohort.Stack", functools.partial(Stack, static=True))
    monkeypatch.setattr(Full, "calls", calls)
    monkeypatch.setattr(Full, "most", most)
    made = configs(*[[*own, *FULL] for own in [*MEMBERS, ["seed=5"]]])
    outcomes = run_cohort(jobs_in(tmp_path, made))
    assert [type(outcome.error) for outcome in outcomes] == [type(None)] * kept + [CohortTooLarge] * (4 - kept)
    assert [outcome.fitting(4) for outcome in outcomes] == [None] * kept + [1] * (2 - kept) + [2, 2]
    assert all(outcome.error is None or outcome.error.__traceback__ is None for outcome in outcomes), "it holds memory"
    run(made[0], tmp_path / "alone")
    assert_alike(tmp_path / "run-0", tmp_path / "alone")
    assert run(made[3], tmp_path / "run-3").status == "finished"


def test_a_run_that_does_not_fit_by_itself_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("JEPA_SCALE_ALLOW", __name__)
    monkeypatch.setattr(Full, "most", 0)
    outcomes = run_cohort(jobs_in(tmp_path, configs(*[[*own, *FULL] for own in MEMBERS[:1]])))
    assert "Tried to allocate" in str(outcomes[0].error)
    assert outcomes[0].fitting(1) is None


def test_why_steps_are_not_recorded_is_told_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(SIGReg, "draw_ahead", Objective.draw_ahead)
    monkeypatch.setattr("jepa_scale.runs.cohort.Stack", functools.partial(Stack, static=True))
    outcomes = run_cohort(jobs_in(tmp_path, configs(*[[*own, "objective=sigreg"] for own in MEMBERS[:2]])))
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert capsys.readouterr().err.count("objective.drawn changes on the host") == 1


def test_static_members_log_what_runs_alone_do(tmp_path, monkeypatch, solo):
    monkeypatch.setattr("jepa_scale.runs.cohort.Stack", functools.partial(Stack, static=True))
    outcomes = run_cohort(jobs_in(tmp_path, configs(*MEMBERS, LOST)))
    assert [outcome.record.status for outcome in outcomes] == ["finished"] * 3 + ["diverged"]
    for number in range(3):
        assert_alike(tmp_path / f"run-{number}", solo[0] / f"run-{number}")
        place = f"run-{number}/checkpoints/last.ckpt"
        ours, theirs = (torch.load(folder / place, weights_only=True) for folder in (tmp_path, solo[0]))
        assert structure(ours) == structure(theirs)


def test_sizes_of_steps_and_memory():
    small, large = configs(MEMBERS[0], ["model.hidden=512"])
    assert step_flops(small) < step_flops(large)
    assert most_in_memory(small) > most_in_memory(large) > 0
    assert not issubclass(CohortEnded, Interrupted)


def planned(folder, made):
    """Arguments of a cohort's process for runs that are planned into their folders."""
    members = []
    for job in jobs_in(folder, made):
        RunFolder(job.path).claim(job.config)
        members.append(Member(str(job.path), "study").argument)
    return [str(folder / "ends"), *members]


def test_a_process_of_a_cohort_tells_the_end_of_each_run(tmp_path, cohort):
    arguments = planned(tmp_path, configs(*MEMBERS))
    (tmp_path / "run-1" / "config.yaml").write_text("model: {k: [")
    assert main(arguments) == FINISHED
    ends = read_ends((tmp_path / "ends").read_text() + '{"run": "half')
    assert [end.run for end in ends] == ["run-1", "run-0", "run-2"]
    assert not any(end.alone for end in ends)
    assert "cannot be read" in (tmp_path / "run-1" / "error.txt").read_text()
    for number in (0, 2):
        assert RunFolder(tmp_path / f"run-{number}").read_record().times["cohort"] == 2
        assert_alike(tmp_path / f"run-{number}", cohort[0] / f"run-{number}")


def test_a_process_of_a_cohort_names_runs_that_go_alone(tmp_path):
    assert main(planned(tmp_path, configs(MEMBERS[0], ["seed=1", "model.k=5"]))) == FINISHED
    ends = read_ends((tmp_path / "ends").read_text())
    assert len(ends) == 2
    assert all("differ in shape" in end.alone for end in ends)
    assert not list(tmp_path.glob("*/error.txt"))


def test_a_process_of_a_cohort_stops_at_a_signal_without_an_end(tmp_path, monkeypatch):
    arguments = planned(tmp_path, configs(*MEMBERS))
    monkeypatch.setattr("jepa_scale.signals.request", lambda: 1)
    assert main(arguments) == STOPPED
    assert not (tmp_path / "ends").exists()
