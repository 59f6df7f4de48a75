"""Take away from Python what Linux alone has; Python runs this before anything else where it is on its path."""

import builtins
import ctypes
import io
import os
import resource
import signal
import subprocess
from pathlib import Path

GONE = {
    os: ("sched_getaffinity", "sched_setaffinity", "pidfd_open", "memfd_create", "eventfd", "setresuid", "setresgid"),
    signal: ("pidfd_send_signal",),
    resource: ("prlimit",),
}
FUNCTIONS = ("prctl", "mallopt", "malloc_trim", "capset")  # of the C library
for _module, _names in GONE.items():
    for _name in _names:
        if hasattr(_module, _name):
            delattr(_module, _name)


def _without_files(call):
    def checked(path, *words, **named):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(("/proc/", "/sys/")):
            raise FileNotFoundError(2, "no such file here", os.fspath(path))
        return call(path, *words, **named)

    return checked


builtins.open = io.open = _without_files(io.open)
os.open, os.stat, os.listdir = _without_files(os.open), _without_files(os.stat), _without_files(os.listdir)
_find = ctypes.CDLL.__getattr__


def _found(library, name):
    if name in FUNCTIONS:
        raise AttributeError(name)
    return _find(library, name)


ctypes.CDLL.__getattr__ = _found
_limit = resource.setrlimit


def _limited(what, most):
    if what == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")  # as macOS says
    _limit(what, most)


resource.setrlimit = _limited
_begin = subprocess.Popen.__init__


def _begun(self, *words, env=None, **named):
    if env is not None:  # a child of one's own environment is on the same system
        env = env | {"PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parent), env.get("PYTHONPATH"))))}
    _begin(self, *words, env=env, **named)


subprocess.Popen.__init__ = _begun
