"""Hold model files against the gate in a process that has done nothing else: one line of JSON a file."""

import json
import resource
import sys
from pathlib import Path

from harness.sandbox.refused import Refused
from harness.submission import gate

WHOSE = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def cpu_s() -> float:
    """Return the CPU seconds of this process and its children that have ended: a busy machine doesn't count."""
    used = [resource.getrusage(who) for who in WHOSE]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mb() -> float:
    """Return the most memory that this process or a child of it has had so far.

    Its own not by `getrusage`, which begins with what the process had that started this one.
    """
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return max(int(lines["VmHWM"].split()[0]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def main(side: int, files: list[str]) -> None:
    """Print how each file was refused, what that took, and the most memory so far, in MB."""
    for file in files:
        content, begin = Path(file).read_bytes(), cpu_s()
        try:
            found = {"reason": "", "what": str(gate.check(Path("m.onnx"), content, side)), "fix": ""}
        except Refused as e:
            found = {"reason": e.reason, "what": e.what, "fix": e.fix}
        print(json.dumps({"file": file, **found, "cpu_s": cpu_s() - begin, "peak_mb": peak_mb()}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
