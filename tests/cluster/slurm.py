"""A real SLURM of several pretended nodes on this machine, private to one test session.

Daemons, key and configuration live in a folder of their own; nothing of a SLURM that may be installed for other
purposes is read or changed.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def why_not() -> str:
    """Why no SLURM can be started here; empty if one can."""
    missing = [name for name in _DAEMONS if shutil.which(name, path=_PATH) is None]
    if missing:
        packages = "slurmctld slurmd slurm-client munge"
        return f"no SLURM on this machine ({', '.join(missing)} not found): apt-get install {packages}"
    return "" if os.geteuid() == 0 else f"SLURM's daemons are started by root, this is {getpass.getuser()}"


def _free_ports(count: int) -> list[int]:
    """Neighbouring free ports, as slurmd's are given as a range."""
    for first in range(26817, 36000, count + 3):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return list(range(first, first + count))
    raise RuntimeError("no free ports")


@dataclass
class Cluster:
    """A running SLURM."""

    root: Path
    nodes: int = 2
    cpus: int = 8
    max_array_size: int = 12
    gpus: int = 4
    """Pretended, of each node."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Of commands that are to talk to this SLURM."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        return {**inherited, "PATH": _PATH, "SLURM_CONF": str(self.root / "slurm.conf")}

    def run(self, *command: str, check: bool = True, **more: object) -> str:
        """Output of a command."""
        done = subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            **more,  # type: ignore[call-overload]
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return str(done.stdout)

    def start(self) -> None:
        """Bring the daemons up, or say what kept them from it."""
        self._configure()
        self._munge()
        self._daemon("slurmctld", "-D", "-c", "-i")
        self.wait(lambda: "UP" in self.run("scontrol", "ping", check=False), 30, "slurmctld answers")
        for number in range(1, self.nodes + 1):
            self._daemon("slurmd", "-D", "-N", f"n{number}")
        ready = ("sinfo", "--noheader", "--Node", "--partition=main", "--states=idle", "--format=%N")
        self.wait(lambda: len(self.run(*ready, check=False).split()) == self.nodes, 60, "all nodes are idle")

    def stop(self) -> None:
        """Cancel every job and end the daemons."""
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            self.run("scancel", f"--user={getpass.getuser()}", check=False)
            self.wait(lambda: not self.jobs(), 20, "jobs end")
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def jobs(self, states: str = "all") -> dict[str, str]:
        """State of each task of each job that has not ended."""
        shown = self.run("squeue", "--array", "--noheader", f"--states={states}", "--format=%i %T")
        ended = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY")
        rows = dict(line.split(maxsplit=1) for line in shown.splitlines())
        return {name: state for name, state in rows.items() if state not in ended}

    def restarts(self, job: str) -> int:
        """How often a job was requeued."""
        shown = self.run("scontrol", "show", "job", "--oneliner", job)
        return max(int(part.split("=")[1]) for part in shown.split() if part.startswith("Restarts="))

    def state(self, job: str) -> str:
        """State of a job, ended or not."""
        shown = self.run("scontrol", "show", "job", "--oneliner", job)
        return next(part.split("=")[1] for part in shown.split() if part.startswith("JobState="))

    @staticmethod
    def wait(condition: Callable[[], object], seconds: float, what: str) -> None:
        """Wait until something holds.

        Raises
        ------
        RuntimeError
            If it does not in time.
        """
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"waited {seconds:g} s in vain until {what}")
            time.sleep(0.2)

    def _daemon(self, name: str, *options: str) -> None:
        log = (self.root / f"{name}{len(self.processes)}.log").open("wb")
        program = shutil.which(name, path=_PATH) or name
        command = [program, *options]
        self.processes.append(
            subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        )

    def _munge(self) -> None:
        (self.root / "munge.key").write_bytes(os.urandom(128))
        (self.root / "munge.key").chmod(0o400)
        files = {name: self.root / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={self.root / 'munge.key'}", f"--socket={files['socket']}",
            f"--pid-file={files['pid']}", f"--log-file={files['log']}", f"--seed-file={files['seed']}",
        )  # fmt: skip
        self.wait(lambda: files["socket"].exists(), 10, "munged answers")

    def _configure(self) -> None:
        control, *ports = _free_ports(self.nodes + 1)
        host, user = socket.gethostname().split(".")[0], getpass.getuser()
        for name in ("state", *(f"spool/n{number}" for number in range(1, self.nodes + 1))):
            (self.root / name).mkdir(parents=True)
        named = f"n[1-{self.nodes}]"
        # SLURM wants devices; without cgroups it only counts and numbers them.
        for number in range(self.gpus):
            os.mknod(self.root / f"gpu{number}", 0o20666, os.makedev(1, 3))
        (self.root / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName={named} Name=gpu File={self.root}/gpu[0-{self.gpus - 1}]\n"
        )
        node = f"NodeName={named} NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[0]}-{ports[-1]}]"
        node += f" CPUs={self.cpus} RealMemory=64000 Gres=gpu:{self.gpus}"
        shared = f"Nodes={named} DefaultTime=10 MaxTime=INFINITE DefMemPerCPU=100"
        # A requeued job may start once its old credential has expired: 120 s by default.
        text = f"""\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={self.root / "munge.socket"},cred_expire=5
StateSaveLocation={self.root}/state
SlurmdSpoolDir={self.root}/spool/%n
SlurmctldPidFile={self.root}/slurmctld.pid
SlurmdPidFile={self.root}/slurmd.%n.pid
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
ReturnToService=2
MaxArraySize={self.max_array_size}
MinJobAge=3600
KillWait=5
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,bf_continue
AccountingStorageType=accounting_storage/none
GresTypes=gpu
{node}
PartitionName=main {shared} Default=YES PriorityTier=10 PreemptMode=off
PartitionName=low {shared} PriorityTier=1 PreemptMode=requeue GraceTime=0
PartitionName=grace {shared} PriorityTier=1 PreemptMode=requeue GraceTime=30
"""
        (self.root / "slurm.conf").write_text(text)
