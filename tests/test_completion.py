"""Completion in real shells; one that is not installed is skipped."""

import argparse
import re
import shutil
import subprocess

import pytest

from jepa_scale.cli.app import main, parser
from jepa_scale.cli.completion import SHELLS, commands_of
from jepa_scale.runs.config import conf_dir

WORDS = {
    "study overrides": ["launcher=local", "launcher=slurm", "launcher.partition="],
    "forecaster": ["stack", "trend"],
    "sweep": ["quickstart", "torus_odd"],
    "overrides": ["world=torus", "world=two_rooms", "model.k=", "model.hidden="],
}


@pytest.fixture(params=SHELLS)
def shell(request):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    return request.param


def script(shell, top=None):
    return SHELLS[shell](commands_of(top or parser(), WORDS))


def completed(shell, line, tmp_path, top=None):
    """What a shell offers for the last word of a line."""
    path = tmp_path / "completion"
    path.write_text(script(shell, top))
    if shell == "fish":
        command = ["fish", "--no-config", "-c", f"source {path}; complete -C '{line}'"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        return {text.split("\t")[0] for text in done.stdout.splitlines()}
    if shell == "zsh":
        # Of zsh's own functions only those that hand out words are replaced.
        stubs = (
            "compdef() { }; _files() { }; _describe() { while [[ $1 == -* ]]; do [[ $1 == -t ]] && shift; shift; done; "
        )
        stubs += 'shift; print -rl -- "${(@P)1%%:*}" }; compadd() { local -a w; local a=0; '
        stubs += "while [[ $1 == -* ]]; do case $1 in -S) shift;; -a) a=1;; esac; shift; done; "
        stubs += 'if (( a )); then print -rl -- "${(@P)1}"; else print -rl -- "$@"; fi }; '
        words = " ".join(f"'{word}'" for word in line.split(" "))
        run = f"words=({words}); CURRENT=$#words; PREFIX=$words[-1]; source {path}; _jepa_scale"
        done = subprocess.run(
            ["zsh", "-f", "-c", stubs + run], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        return {text for text in done.stdout.splitlines() if text.startswith(line.split(" ")[-1])}
    words = line.replace("=", " = ").split(" ") if not line.endswith("=") else [*line[:-1].split(" "), "="]
    quoted = " ".join(f"'{word}'" for word in words)
    run = f"source {path}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _jepa_scale; "
    run += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "--norc", "-c", run], capture_output=True, text=True, check=True, cwd=tmp_path)
    before = line.rpartition(" ")[2].rpartition("=")[0]
    return {f"{before}={text}" if before else text for text in done.stdout.splitlines() if text}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("jepa-scale repo", {"report"}),
        ("jepa-scale study qui", {"quickstart"}),
        ("jepa-scale study quickstart model.h", {"model.hidden="}),
        ("jepa-scale train world=to", {"world=torus"}),
        ("jepa-scale train world=t", {"world=torus", "world=two_rooms"}),
        ("jepa-scale advise --target-", {"--target-regret"}),
        ("jepa-scale fit --per-run b", {"best"}),
        ("jepa-scale completion f", {"fish"}),
        ("jepa-scale study quickstart launcher=s", {"launcher=slurm"}),
        ("jepa-scale study quickstart launcher.p", {"launcher.partition="}),
        ("jepa-scale advise --forecaster t", {"trend"}),
    ],
)
def test_a_shell_completes(shell, line, expected, tmp_path):
    assert expected <= completed(shell, line, tmp_path)
    assert all(word.startswith(line.rpartition(" ")[2]) for word in completed(shell, line, tmp_path))


def test_help_texts_with_quotes_and_dollars_stay_text(shell, tmp_path):
    top = argparse.ArgumentParser(prog="jepa-scale")
    added = top.add_subparsers()
    one = added.add_parser("odd", help='it\'s a $(touch bad) `touch bad` "quoted" one: 50 %% of it\\')
    one.add_argument("--name", choices=["a b", "c"], help="it's $HOME `x`")
    assert completed(shell, "jepa-scale od", tmp_path, top) == {"odd"}
    assert completed(shell, "jepa-scale odd --na", tmp_path, top) == {"--name"}
    assert not (tmp_path / "bad").exists()


def test_what_one_command_takes_is_offered_by_no_other(shell, tmp_path):
    assert "launcher=slurm" not in completed(shell, "jepa-scale train launcher=s", tmp_path)


# Those of `world_defaults` are other defaults of a world, which come with it and are named by nobody.
GROUPS = [path for path in sorted(conf_dir().iterdir()) if path.is_dir() and path.name != "world_defaults"]


@pytest.mark.parametrize("folder", GROUPS, ids=lambda path: path.name)
def test_every_leaf_of_every_group_is_offered(folder, capsys):
    with pytest.raises(SystemExit):
        main(["completion", "fish"])
    words = set(re.split(r"[\s']+", capsys.readouterr().out))
    plain, part = folder.name in ("law", "forecaster"), {"behaviour": "world.behaviour"}.get(folder.name, folder.name)
    leaves = [leaf.stem for leaf in folder.glob("*.yaml")]
    assert leaves
    assert {leaf if plain else f"{part}={leaf}" for leaf in leaves} <= words


def test_the_command_knows_every_shipped_study_and_group(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["completion", "bash"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for word in ("quickstart", "pointmaze", "world=torus", "objective=vicreg", "model.k=", "--target-regret"):
        assert word in text
