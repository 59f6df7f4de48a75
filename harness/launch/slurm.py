"""Workers as Slurm jobs, submitted with submitit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from harness.errors import HarnessError
from harness.extras import install
from harness.launch.launcher import Launch, Workers
from harness.study.worker_process import Job, worker

ASK_S = 5.0
"""How often Slurm is asked for its jobs."""
STOP_S = 60.0
"""How long a cancelled job may take to let go of its slot; Slurm itself gives it 30 s, unless set otherwise."""
AGAIN = 10_000  # times that a job may be queued again when its time is over: the study has an end of its own
# Source: https://slurm.schedmd.com/squeue.html#SECTION_JOB-STATE-CODES
OVER = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT", "FORGOTTEN"),
}
"""The states of a job that won't run again; ours for one that Slurm no longer knows is FORGOTTEN."""


def start(job: Job, how: Launch) -> Workers:
    """Submit the workers as a job array.

    Raises:
        HarnessError: submitit or Slurm isn't here, or Slurm refuses the jobs.
    """
    try:
        import submitit
    except ImportError as e:
        raise HarnessError("launch=slurm: submitit isn't installed", install("scale")) from e
    if not shutil.which("sbatch") or not shutil.which("srun"):
        raise HarnessError("launch=slurm: no sbatch and srun here", "run this on a machine that submits to Slurm")
    folder, slurm = job.folder / "slurm", how.slurm
    # submitit pickles what a worker needs into it, the url with its password among that
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    os.environ.pop("HARNESS_STORAGE_URL", None)  # sbatch hands the environment on, and Slurm may store it
    executor = submitit.SlurmExecutor(folder, max_num_timeout=AGAIN)
    executor.update_parameters(
        job_name=f"harness-{job.study.name}", time=slurm.minutes, cpus_per_task=slurm.cpus,
        mem=f"{int(slurm.memory_gb * 1024)}MB", partition=slurm.partition or None,
        srun_args=[f"--cpus-per-task={slurm.cpus}"],  # since 22.05 srun doesn't take it from sbatch
        additional_parameters={"requeue": True} | slurm.extra, array_parallelism=how.workers,
    )  # fmt: skip
    try:
        return Jobs(executor.map_array(Member(), [job] * how.workers, range(how.workers)))
    except submitit.core.utils.FailedJobError as e:
        for pickle in folder.glob("*.pkl"):
            if "_" not in pickle.name:  # of no job
                pickle.unlink()
        reason = (str(e).strip().splitlines() or ["no reason given"])[-1]
        raise HarnessError(f"launch=slurm: {reason}", "mend slurm.partition, slurm.extra or the others") from e


class Member:
    """A worker in a job, which is queued again when it has to make room or its time is over."""

    def __call__(self, job: Job, number: int) -> None:
        """Work; when interrupted, the slot is given back before anything else happens."""
        queue_again = signal.getsignal(signal.SIGUSR2)  # submitit's own: pickles this, calls scontrol, and exits
        if worker(job, number):
            return
        if _states(os.environ["SLURM_JOB_ID"]) == ["RUNNING"]:  # nobody has cancelled it, nor queued it again
            queue_again(signal.SIGUSR2, None)
        sys.exit(f"job {os.environ['SLURM_JOB_ID']} was ended by Slurm")

    def checkpoint(self, job: Job, number: int) -> Any:
        """Return what is to run when the job runs again: the same, for trials have checkpoints of their own."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job, number)


class Jobs:
    """The jobs of an array."""

    def __init__(self, jobs: Sequence[Any]) -> None:
        self._jobs = {f"Slurm job {job.job_id}": job for job in jobs}
        self._ended: dict[str, str] = {}
        self._asked = -ASK_S

    def ended(self) -> dict[str, str]:
        """Tell which have ended and why, as of a few seconds ago."""
        if time.monotonic() - self._asked >= ASK_S:
            self._asked = time.monotonic()
            self._look()
        return self._ended

    def running(self) -> int:
        """Count those that have not ended, as of the last look."""
        return len(self._jobs) - len(self._ended)

    def _look(self) -> None:
        """Read submitit's results, and ask Slurm for those that left none.

        submitit would ask sacct, which not every cluster has.
        """
        running = {name: job for name, job in self._jobs.items() if name not in self._ended}
        states = dict(zip(running, _states(*(job.job_id for job in running.values())), strict=True))
        for name, job in running.items():
            see = f"(see {job.paths.stderr})"
            if job.paths.result_pickle.exists():
                self._ended[name] = f"its worker failed {see}" if job.exception() else ""
            elif states[name] in OVER:
                # a result may come late over a network's file system
                self._ended[name] = "" if states[name] == "COMPLETED" else f"its worker's job is {states[name]} {see}"

    def stop(self) -> None:
        """Cancel those that still wait or run, and remove the pickles, which hold the url."""
        self._look()
        for name, job in self._jobs.items():
            if name not in self._ended:
                job.cancel(check=False)
        end = time.monotonic() + STOP_S
        while len(self._ended) < len(self._jobs) and time.monotonic() < end:
            time.sleep(1)
            self._look()
        for job in self._jobs.values():
            for pickle in (job.paths.submitted_pickle, job.paths.result_pickle):
                pickle.unlink(missing_ok=True)


def _states(*jobs: str) -> list[str]:
    """Ask Slurm for the states of jobs of ours; UNKNOWN while it doesn't answer, which ends no job."""
    command = ["squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i %A %T"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        print(f"{command[0]}: {answer.stderr.strip()}; asking again", file=sys.stderr, flush=True)
        return ["UNKNOWN"] * len(jobs)
    # an array's job has two names: 7_0 for people, and the number that its own environment holds
    states = {name: row.split()[2] for row in answer.stdout.splitlines() for name in row.split()[:2]}
    return [states.get(job, "FORGOTTEN") for job in jobs]
