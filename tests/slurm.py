"""A real Slurm of one node: its own key, ports and folders, and no accounting."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
# cred_expire: a job that is queued again waits for so long before it is started, else for two minutes
CONF = """
ClusterName=harness
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def lacking() -> list[str]:
    """Name the programs that aren't installed."""
    return [name for name in PROGRAMS if not _found(name)]


def _found(name: str) -> str | None:
    """Find a program, also where only root looks."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """Run munged, slurmctld and slurmd, up in two seconds; SLURM_CONF tells all commands meanwhile."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key, conf = folder / "munge.key", folder / "slurm.conf"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    control, node = _free_ports(2)
    conf.write_text(CONF.format(folder=folder, host=host, control=control, node=node, user=getpass.getuser()))
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
    munge = ["munged", "--foreground", "--force", *(f"--{name}={folder}/munge.{end}" for name, end in files.items())]
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(conf)
    with ExitStack() as running:
        running.callback(_restore, before)
        running.enter_context(_daemon(munge, folder))
        _wait_until((folder / "munge.socket").exists)
        running.enter_context(_daemon(["slurmctld", "-D"], folder))
        running.enter_context(_daemon(["slurmd", "-D"], folder))
        _wait_until(lambda: "idle" in out("sinfo", "--noheader", "--format=%T"))
        yield


def _restore(before: str | None) -> None:
    os.environ.pop("SLURM_CONF")
    if before is not None:
        os.environ["SLURM_CONF"] = before


@contextmanager
def _daemon(command: list[str], folder: Path) -> Iterator[None]:
    with (folder / f"{command[0]}.log").open("w") as log:
        process = subprocess.Popen([str(_found(command[0])), *command[1:]], stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def out(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, capture_output=True, text=True).stdout


def jobs(**wanted: str) -> list[str]:
    """List the jobs that have a state (state=RUNNING), or all."""
    states = wanted.get("state", "all")
    return out("squeue", "--array", f"--states={states}", "--noheader", "--format=%i").split()


def _wait_until(so: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not so():
        if time.monotonic() > end:
            raise RuntimeError("Slurm didn't come up")
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
