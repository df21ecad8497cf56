"""What is asked of SLURM, with commands that answer as told in place of its own."""

import os
import stat

import pytest

from jepa_scale.integrations.slurm import commands as slurm
from jepa_scale.integrations.slurm.commands import SlurmError, own_name, seconds_of, submit, tasks
from jepa_scale.studies.launching.jobs import Task


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Put a command of SLURM's on the path: a shell script."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def put(name, script):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return tmp_path

    return put


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:07", 7), ("12:34", 754), ("1:00:00", 3600), ("2-03:04:05", 183845), ("59", 59),
        ("UNLIMITED", None), ("NOT_SET", None), ("INVALID", None), ("", None),
    ],
)  # fmt: skip
def test_times_are_read_as_slurm_writes_them(text, seconds):
    assert seconds_of(text) == seconds


def test_a_task_is_named_as_squeue_names_it():
    assert own_name({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}) == "7_0"
    assert own_name({"SLURM_JOB_ID": "9"}) == "9"
    assert own_name({}) is None


def test_tasks_are_read_in_one_call_and_without_the_users_own_format(commands, tmp_path, monkeypatch):
    commands(
        "squeue",
        f"""echo "$@ [$SQUEUE_FORMAT]" >> {tmp_path}/called
printf '7_0|RUNNING|59:58|n1|mine\\n7_1|PENDING|1:00:00|(Priority, or |)|\\n'""",
    )
    monkeypatch.setenv("SQUEUE_FORMAT", "%j")
    assert tasks(["8", "7", "8"]) == {
        "7_0": Task("7_0", "RUNNING", 3598.0, "n1", "mine"),
        "7_1": Task("7_1", "PENDING", 3600.0, "(Priority, or |)"),
    }
    called = (tmp_path / "called").read_text()
    assert called.count("\n") == 1
    assert "--array" in called
    assert "--jobs=7,8" in called
    assert "[]" in called


def test_of_no_job_nothing_is_asked(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert tasks([]) == {}


def test_a_job_that_slurm_has_forgotten_is_none_and_a_dead_controller_is_an_error(commands):
    commands("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert tasks(["7"]) == {}
    commands("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SlurmError, match=r"squeue failed with status 1: .*Unable to contact"):
        tasks(["7"])


def test_a_missing_command_says_where_to_go(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SlurmError, match=r"no squeue here: .*login node"):
        tasks(["7"])


def test_a_controller_that_does_not_answer_is_not_waited_for_for_ever(commands, monkeypatch):
    commands("squeue", "exec sleep 30")
    monkeypatch.setattr(slurm, "_SECONDS", 0.2)
    with pytest.raises(SlurmError, match="did not answer within"):
        tasks(["7"])


def test_scripts_are_submitted_as_they_are(commands, tmp_path, monkeypatch):
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    commands("sbatch", f'cat > {tmp_path}/script; echo "$@ $SBATCH_ACCOUNT" > {tmp_path}/options; echo "12;far"')
    assert submit("#!/bin/sh\nexit 3\n", "--dependency=afterany:7") == "12"
    assert (tmp_path / "script").read_text() == "#!/bin/sh\nexit 3\n"
    assert (tmp_path / "options").read_text() == "--parsable --dependency=afterany:7 mine\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'sbatch: error: invalid partition specified: gone' >&2; exit 1", "invalid partition specified: gone"),
        ("echo 'Submitted batch job 12'", "expected"),
        ("true", "expected"),
    ],
)
def test_a_refusal_of_sbatch_is_an_error_in_its_own_words(commands, script, said):
    commands("sbatch", script)
    with pytest.raises(SlurmError, match=said):
        submit("#!/bin/sh\n")


def test_the_largest_array_is_read_from_the_configuration(commands):
    commands("scontrol", "printf 'Foo = 1\\nMaxArraySize            = 1001\\n'")
    assert slurm.max_array_size() == 1001
    commands("scontrol", "echo nothing")
    with pytest.raises(SlurmError, match="MaxArraySize"):
        slurm.max_array_size()
