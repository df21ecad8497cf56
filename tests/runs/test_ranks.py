"""Several processes in one run: who they are, how they are started and ended, and that they compute what one does."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jepa_scale.runs.config import compose, conf_dir
from jepa_scale.runs.distributed.exits import FAILED, FINISHED, REFUSED, STOPPED, worst
from jepa_scale.runs.distributed.ranks import ALONE, Place, check_place, command_of, free_port, place, start
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.run import run
from tests.callbacks.test_requeue import POINT_MASS, TINY, check_same_end
from tests.runs.ranks import on_ranks

STEP = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "2"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ALONE),
        ({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, Place(1, 1, 2)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, ALONE),
        (STEP, Place(2, 2, 4)),
        # A batch script carries its job's variables and is no step.
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, ALONE),
        # What a step starts itself is known by its own variables.
        ({**STEP, "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, Place(1, 1, 2)),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "4"}, ALONE),
    ],
)
def test_a_process_knows_its_place(environment, expected):
    assert place(environment) == expected


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "x", "WORLD_SIZE": "2"}, r"expected whole numbers in RANK, LOCAL_RANK, WORLD_SIZE, got RANK='x'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, r"expected 0 ≤ RANK < WORLD_SIZE, got 2 and 2"),
        ({**STEP, "SLURM_LOCALID": "0"}, r"on one machine, got local rank 0 for rank 2: ask for one node"),
    ],
)
def test_places_that_make_no_sense_are_refused(environment, message):
    with pytest.raises(UserError, match=message):
        place(environment)


def test_more_or_fewer_processes_than_devices_are_refused(tmp_path, monkeypatch):
    check_place(1, ALONE)
    config = compose([*TINY, "trainer.devices=2"])
    with pytest.raises(UserError, match=r"trainer\.devices=2: expected 2 processes, got 1: .*srun --nodes=1 .*=2"):
        run(config, tmp_path / "run")
    with pytest.raises(UserError, match=r"trainer\.devices=1: expected 1 process, got 4"):
        check_place(1, place(STEP))
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"trainer\.devices=2: expected 2 processes, got 4"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_variables_of_a_batch_script_change_nothing(tmp_path, monkeypatch):
    """A study's worker inside an allocation runs its runs in one process, whatever the job's number of tasks."""
    run(compose(TINY), tmp_path / "outside")
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "x"}.items():
        monkeypatch.setenv(name, value)
    run(compose(TINY), tmp_path / "inside")
    check_same_end(tmp_path / "outside", tmp_path / "inside")


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([FINISHED, FINISHED], FINISHED),
        ([FINISHED, STOPPED], STOPPED),
        ([STOPPED, FAILED], FAILED),
        ([FAILED, REFUSED], REFUSED),
        ([FAILED, -9], FAILED),
        ([-15, STOPPED], -15),
        ([FINISHED, 3], 3),
    ],
)
def test_the_worst_end_stands_for_all(codes, expected):
    assert worst(codes) == worst(reversed(codes)) == expected


def python(text):
    return [sys.executable, "-c", "import os, signal, sys, time\nrank = int(os.environ['RANK'])\n" + text]


def test_ranks_are_told_who_they_are(tmp_path):
    ranks = start(python(f"open(f'{tmp_path}/{{rank}}', 'w').write(os.environ['MASTER_PORT'])"), os.environ, 3)
    assert ranks.wait(30) == FINISHED
    ports = {(tmp_path / str(rank)).read_text() for rank in range(3)}
    assert len(ports) == 1


def test_one_rank_that_fails_ends_the_others():
    ranks = start(python("time.sleep(0 if rank == 1 else 600); os.kill(os.getpid(), signal.SIGKILL)"), os.environ, 2)
    begun = time.monotonic()
    assert ranks.wait(60) == -9
    assert time.monotonic() - begun < 30
    assert ranks.failure == "rank 1 of 2 was killed by SIGKILL"


def test_waiting_for_ranks_can_be_given_up():
    ranks = start(python("time.sleep(600)"), os.environ, 1)
    with pytest.raises(subprocess.TimeoutExpired):
        ranks.wait(0.2)
    assert ranks.poll() is None
    ranks.kill()
    assert ranks.wait(30) == -9


def test_a_signal_before_there_is_a_handler_waits_for_it():
    """Held back from the very start of the process."""
    text = (
        "time.sleep(1)\nfrom jepa_scale import signals\nsignals.install()\n"
        "time.sleep(0.1)\nsys.exit(75 if signals.request() == 2 else 1)"
    )
    ranks = start(python(text), os.environ, 2)
    ranks.send_signal(signal.SIGUSR1)
    assert ranks.wait(60) == STOPPED


def test_a_folder_without_a_run_is_refused(tmp_path):
    done = subprocess.run(command_of(tmp_path), capture_output=True, text=True)
    assert done.returncode == REFUSED
    assert "found no config.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def fail_on_one_rank(folder):
    from jepa_scale.runs.distributed.process import main
    from jepa_scale.training.pretrain import Pretrain

    original = Pretrain.training_step

    def step(self, batch, index):
        if place().rank == 1 and self.trainer.global_step == 3:
            raise ArithmeticError("only here")
        return original(self, batch, index)

    Pretrain.training_step = step
    return main([folder])


def test_the_error_that_comes_first_is_told(tmp_path):
    """The other rank then fails too, for want of an answer, which explains nothing."""
    config = compose([*TINY, "trainer.devices=2"])
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        folder.claim(config)
    folder.error_path.write_text("of an earlier attempt")
    assert on_ranks(2, fail_on_one_rank, str(folder.path)) == [FAILED, FAILED]
    assert "ArithmeticError: only here" in folder.error_path.read_text()
    assert folder.read_record() is None


def test_a_process_ends_with_the_code_of_its_end(tmp_path, capsys, monkeypatch):
    from jepa_scale import signals
    from jepa_scale.runs.distributed.process import main

    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        folder.claim(compose(TINY))
        monkeypatch.setattr("jepa_scale.runs.distributed.process.PATIENCE", 0.1)
        assert main([str(folder.path)]) == REFUSED
    assert "is being run by another process" in capsys.readouterr().err
    asked = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: asked.append(command) or subprocess.CompletedProcess([], 0)
    )
    for name, value in {"SLURM_JOB_ID": "70", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(name, value)
    for number, expected in ((signal.SIGTERM, []), (signal.SIGUSR1, [["scontrol", "requeue", "7_3"]])):
        signals.clear()
        signals.ask(number)
        assert main([str(folder.path)]) == STOPPED
        assert asked == expected, "whoever cancels a job means it"
    monkeypatch.setenv("JEPA_SCALE_SUPERVISED", "1")
    assert main([str(folder.path)]) == STOPPED
    assert len(asked) == 1
    signals.clear()
    folder.error_path.write_text("of an earlier attempt")
    assert main([str(folder.path)]) == FINISHED
    assert not folder.error_path.exists()
    assert main([str(folder.path)]) == FINISHED


OBJECTIVES = sorted(leaf.stem for leaf in (conf_dir() / "objective").glob("*.yaml"))
VECTORS = [*POINT_MASS[:-2], "evaluation.same_cost_episodes=2"]
STAGE = POINT_MASS[-2:]
CASES = {
    "finite": [*TINY, "trainer.steps_per_epoch=20"],
    "pairs": [*TINY, "planner=categorical_cem", "evaluation.episodes=130", "planner.horizon=2"],
    "blocks": [*VECTORS, "objective=vicreg", "evaluation.pairs=1", "evaluation.episodes=3"],
    **{f"objective {name}": [*VECTORS, f"objective={name}"] for name in OBJECTIVES},
    "decoder frozen": [*VECTORS, "objective=input_level", "finetune=amortised", *STAGE],
    "rollout": [*VECTORS, "objective=vicreg_inverse", "finetune=rollout", *STAGE],
    "last layer": [*VECTORS, "objective=ema", "finetune=longer", "finetune.schedule.trained=[encoder_last]", *STAGE],
    "amortised": [*VECTORS, "objective=vicreg_inverse", "finetune=amortised", *STAGE],
    "amortised, all": [
        *VECTORS, "objective=sigreg", "finetune=amortised", "finetune.schedule.trained=[encoder,predictor]", *STAGE,
    ],
    "distill": [*VECTORS, "objective=vicreg", "finetune=distill", "finetune.pairs=40", *STAGE],
    "value": [*VECTORS, "objective=vicreg", "finetune=value", "finetune.schedule.trained=[encoder]", *STAGE],
}  # fmt: skip


WHITENED = ("total", "singular_values", "lidar_wm", "subspace_deficit", "calibration_deficit", "gap", "tail")
"""Estimates by the inverse of a covariance."""


def run_cases(cases, folder, ports, ranks):
    """Every case in one group of processes after the other, as starting them takes longer than a run."""
    for (name, overrides), port in zip(cases.items(), ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        run(compose([*overrides, f"trainer.devices={ranks}"]), Path(folder) / f"{name}-{ranks}")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    for name, overrides in CASES.items():
        run(compose(overrides), folder / f"{name}-1")
    for ranks, chosen in ((2, CASES), (4, {"finite": CASES["finite"], "value": CASES["value"]})):
        on_ranks(ranks, run_cases, chosen, str(folder), [free_port() for _ in chosen], ranks)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ranks"), [*((name, 2) for name in CASES), ("finite", 4), ("value", 4)], ids=lambda part: str(part)
)
def test_ranks_compute_what_one_process_computes(name, ranks, cases):
    ours, theirs = (
        {(row["name"], row["epoch"]): row for row in RunFolder(cases / f"{name}-{one}").read_metrics()}
        for one in (ranks, 1)
    )
    assert ours.keys() == theirs.keys()
    for key, expected in theirs.items():
        found = ours[key]
        assert (found["n"], found["step"], found["flag"]) == (expected["n"], expected["step"], expected["flag"]), key
        if expected["value"] is None:
            assert found["value"] is None
            continue
        # Sums of a batch in float32 in another order, over a few steps.
        tolerance = 1e-5
        if key[0].endswith(WHITENED):
            # Which magnifies the rounding of directions in which an untrained model hardly varies; far below the error.
            tolerance = 1e-3 + 0.05 * np.max(expected["standard_error"] or 0)
        apart = np.abs(np.array(found["value"]) - np.array(expected["value"])).max()
        assert apart <= tolerance * max(1, np.abs(expected["value"]).max()), (key, apart)
    lines = [json.loads(line) for line in (cases / f"{name}-{ranks}" / "metrics.jsonl").read_text().splitlines()[1:]]
    written = [(row["name"], row["epoch"]) for line in lines for row in line]
    assert len(written) == len(set(written)), "one rank alone writes"


LONG = [*TINY, "trainer.devices=2", "trainer.steps_per_epoch=150", "trainer.epochs=3"]


class Command:
    """``jepa-scale train`` in a process of its own."""

    def __init__(self, folder, *overrides):
        self.folder = folder
        command = [sys.executable, "-m", "jepa_scale", "train", *overrides, "--folder", str(folder)]
        # A group of its own, as a terminal gives a command; Ctrl-C goes to all of it.
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            # Whoever runs the tests in the background has Ctrl-C ignored, and so would we.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def epoch(self, number):
        """Wait until an epoch is over."""
        for line in self.process.stdout:
            if line.startswith(f"epoch {number}/"):
                return
        raise AssertionError(self.process.stderr.read())

    def ranks(self):
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def end(self):
        out, err = self.process.communicate(timeout=300)
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    code, out, err = Command(folder, *LONG).end()
    assert code == FINISHED, err
    assert [line.split(" ")[1] for line in out.splitlines() if line.startswith("epoch ")] == ["1/3", "2/3", "3/3"]
    assert "-v prints all" in out, "of several ranks one tells the end"
    return folder


@pytest.mark.slow
def test_a_command_stopped_at_a_random_moment_goes_on_to_the_same_end(undisturbed, tmp_path):
    command = Command(tmp_path / "run", *LONG)
    command.epoch(1)
    time.sleep(random.random())
    command.process.send_signal(signal.SIGUSR1)
    code, _, err = command.end()
    assert code == STOPPED, err
    assert err.count("the same command goes on from there") == 1
    assert Command(tmp_path / "run", *LONG).end()[0] == FINISHED
    check_same_end(undisturbed, tmp_path / "run")


@pytest.mark.slow
def test_one_rank_told_to_stop_stops_the_others_at_the_same_step(undisturbed, tmp_path):
    command = Command(tmp_path / "run", *LONG)
    command.epoch(1)
    os.kill(command.ranks()[1], signal.SIGTERM)
    code, _, err = command.end()
    assert code == STOPPED, err
    assert err.count("the same command goes on from there") == 1
    assert Command(tmp_path / "run", *LONG).end()[0] == FINISHED
    check_same_end(undisturbed, tmp_path / "run")


@pytest.mark.slow
def test_ctrl_c_ends_all_ranks_and_loses_nothing(undisturbed, tmp_path):
    command = Command(tmp_path / "run", *LONG)
    command.epoch(1)
    ranks = command.ranks()
    assert len(ranks) == 2
    os.killpg(command.process.pid, signal.SIGINT)
    code, _, err = command.end()
    assert (code, "interrupted; the same command goes on from here" in err) == (130, True)
    for pid in ranks:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert Command(tmp_path / "run", *LONG).end()[0] == FINISHED
    check_same_end(undisturbed, tmp_path / "run")


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_within_seconds(tmp_path, undisturbed):
    command = Command(tmp_path / "run", *LONG)
    command.epoch(1)
    ranks = command.ranks()
    begun = time.monotonic()
    os.kill(ranks[0], signal.SIGKILL)
    code, _, err = command.end()
    assert time.monotonic() - begun < 20
    assert code == FAILED
    assert "rank 0 of 2 was killed by SIGKILL" in err
    for pid in ranks:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert Command(tmp_path / "run", *LONG).end()[0] == FINISHED
    assert not (tmp_path / "run/error.txt").exists()
    check_same_end(undisturbed, tmp_path / "run")


@pytest.mark.slow
def test_ranks_stop_when_their_launcher_is_gone(tmp_path):
    command = Command(tmp_path / "run", *LONG)
    command.epoch(1)
    ranks = command.ranks()
    command.process.kill()
    command.process.wait()
    end = time.monotonic() + 30
    while time.monotonic() < end and any(map(alive, ranks)):
        time.sleep(0.1)
    assert not any(map(alive, ranks))
    command.process.stdout.close()
    command.process.stderr.close()


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False
