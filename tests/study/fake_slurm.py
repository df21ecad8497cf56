"""SLURM's commands as scripts: they run what they are given at once, and note what they were asked."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

# What stands in for a run's process: it does what the file BEHAVIOUR says, a line for each time that it is started.
_PROCESS = f"""#!{sys.executable}
import json, os, signal, sys, time
from pathlib import Path
root = Path({{root!r}})
def save(folder):
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "last.ckpt").write_text(str(time.time()))
def do(folder, together):
    plan = root / "behaviour" / folder.name
    lines = plan.read_text().splitlines() if plan.exists() else []
    what = lines[0] if lines else "finish"
    if lines:
        plan.write_text("\\n".join(lines[1:]))
    with (root / "started").open("a") as file:
        supervised = os.environ.get('JEPA_SCALE_SUPERVISED')
        file.write(f"{{{{folder.name}}}} {{{{what}}}} {{{{supervised}}}}{{{{' together' * together}}}}\\n")
    if what == "pause":
        (root / "waiting").touch()
        while not (root / "go").exists():
            time.sleep(0.05)
    if what in ("finish", "pause"):
        (folder / "record.json").write_text((root / f"{{{{folder.name}}}}.json").read_text())
    elif what == "fail":
        (folder / "error.txt").write_text("Traceback\\nValueError: the world is flat\\n")
        return 1
    elif what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "stop":
        save(folder)
        return 75
    elif what == "stop without saving":
        return 75
    elif what == "wait":
        signal.signal(signal.SIGUSR1, lambda *_: (save(folder), sys.exit(75)))
        (root / "waiting").touch()
        time.sleep(60)
    elif what == "alone":
        return "it is another shape"
    return 0
if sys.argv[3].endswith("together"):
    members, stopped = [json.loads(text) for text in sys.argv[5:]], False
    for member in members:
        folder = Path(member["folder"])
        code = do(folder, True)
        stopped |= code == 75
        if code != 75:
            end = {{{{"run": folder.name, "alone": code if isinstance(code, str) else ""}}}}
            with open(sys.argv[4], "a") as file:
                file.write(json.dumps(end) + "\\n")
    sys.exit(75 if stopped else 0)
sys.exit(do(Path(sys.argv[4]), False))
"""


class FakeSlurm:
    """Commands in ``root/bin``; what squeue answers is ``root/squeue``, what was asked is in ``root/asked``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bin").mkdir()
        (root / "behaviour").mkdir()
        self._put("squeue", f"cat {root}/squeue 2>/dev/null || true")
        self._put("srun", 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"')
        self._put("scontrol", 'if [ "$1" = show ]; then echo "MaxArraySize = ${MOST:-1001}"; fi')
        self._put("sbatch", f'cat > {root}/script.$(ls {root} | grep -c "^script") && ls {root} | grep -c "^script"')
        self._put("scancel", f": > {root}/squeue")
        self._executable(root / "python", _PROCESS.format(root=str(root)))

    def _put(self, name: str, script: str) -> None:
        said = f'echo "{name} $*" >> {self.root}/asked'
        self._executable(self.root / "bin" / name, f"#!/bin/sh\n{said}\n{script}\n")

    @staticmethod
    def _executable(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def refuses(self, name: str, sentence: str) -> None:
        """Let a command fail with a sentence."""
        self._put(name, f"echo '{sentence}' >&2; exit 1")

    def lives(self, *lines: str) -> None:
        """What squeue answers: NAME|STATE|LEFT|NODE, of jobs that were submitted for the folder ``study`` beside us."""
        comment = f"jepa-scale {self.root.parent.resolve()}/study"
        (self.root / "squeue").write_text("".join(f"{line}|{comment}\n" for line in lines))

    def behaves(self, run: str, *what: str) -> None:
        """What a run's process does, each time that it is started; then it finishes."""
        (self.root / "behaviour" / run).write_text("\n".join(what))

    @property
    def asked(self) -> list[str]:
        """Commands that were called."""
        path = self.root / "asked"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def started(self) -> list[str]:
        """Run and behaviour of each process that was started."""
        path = self.root / "started"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def environment(self) -> dict[str, str]:
        """Of a worker: task 0 of job 7."""
        return {
            **os.environ,
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "SLURM_ARRAY_JOB_ID": "7",
            "SLURM_ARRAY_TASK_ID": "0",
            "SLURM_JOB_ID": "7",
        }
