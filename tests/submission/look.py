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


def main(side: int, files: list[str]) -> None:
    """Print how each file was refused, what that took, and the most memory so far, in MB."""
    for file in files:
        content, begin = Path(file).read_bytes(), cpu_s()
        try:
            found = {"reason": "", "what": str(gate.check(Path("m.onnx"), content, side)), "fix": ""}
        except Refused as e:
            found = {"reason": e.reason, "what": e.what, "fix": e.fix}
        peak_mb = max(resource.getrusage(who).ru_maxrss for who in WHOSE) / 1024
        print(json.dumps({"file": file, **found, "cpu_s": cpu_s() - begin, "peak_mb": peak_mb}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
