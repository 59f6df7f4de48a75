"""The first program in the box: give up for good what the box must not have, then become the program it was made for.

Run by path, isolated, without site-packages; imports nothing of the harness.
"""

import base64
import ctypes
import json
import os
import resource
import signal
import struct
import sys

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
_CAPABILITIES = struct.pack("Ii", 0x20080522, 0)  # version 3, of this process
LOCKED, GO = b"L", b"G"
"""What is written once all is given up, and what is awaited then: the parent looks at this process in between."""


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def main() -> None:
    """Take the orders from the command line, lock, wait for the word, and run the program."""
    orders = json.loads(sys.argv[1])
    _lock(orders)
    os.write(1, LOCKED)
    if os.read(0, 1) != GO:
        sys.exit("told to stop before the start")
    sys.argv = [orders["program"], *orders["arguments"]]
    sys.path[:0] = orders["packages"]
    sys.dont_write_bytecode = True
    with open(orders["program"], "rb") as file:
        code = compile(file.read(), orders["program"], "exec")
    exec(code, {"__name__": "__main__", "__file__": orders["program"]})


def _lock(orders: dict) -> None:
    if orders["cores"]:
        os.sched_setaffinity(0, orders["cores"])
    for name, most in orders["rlimits"].items():
        resource.setrlimit(getattr(resource, name), (most, most))
    if sys.platform == "linux":
        _give_up(orders)


def _give_up(orders: dict) -> None:
    """Give up what Linux alone lets a process give up; without it there is no strict box."""
    if orders["user"] is not None:  # root's box alone; the last privilege goes with it
        os.setgroups([])
        os.setresgid(*[orders["user"]] * 3)
        os.setresuid(*[orders["user"]] * 3)
    libc = ctypes.CDLL(None, use_errno=True)
    prctl = libc.prctl
    _done(libc.capset(_CAPABILITIES, bytes(24)), "capset")  # those that a later program would inherit, too
    _done(prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "PR_SET_PDEATHSIG")  # a change of user has cleared it
    _done(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
    if orders["filter"]:
        rules = base64.b64decode(orders["filter"])
        program = _Program(len(rules) // 8, rules)
        _done(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "PR_SET_SECCOMP")


def _done(failed: int, what: str) -> None:
    if failed:
        raise OSError(ctypes.get_errno(), what)


if __name__ == "__main__":
    main()
