"""What a program in the box may ask of the kernel: to read, to write what is open, memory, time and its own end."""

from __future__ import annotations

import errno
import tempfile
from functools import cache

from harness.errors import HarnessError
from harness.extras import install

ALLOWED = {
    "read",
    "readv",
    "pread64",
    "write",
    "writev",
    "pwrite64",
    "lseek",
    "close",
    "dup",
    "dup2",
    "dup3",
    "open",
    "openat",
    "access",
    "faccessat",
    "faccessat2",
    "stat",
    "lstat",
    "fstat",
    "newfstatat",
    "statx",
    "readlink",
    "readlinkat",
    "getdents64",
    "getcwd",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "brk",
    "membarrier",
    "futex",
    "set_robust_list",
    "get_robust_list",
    "rseq",
    "set_tid_address",
    "arch_prctl",
    "sched_yield",
    "sched_getaffinity",
    "getcpu",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "restart_syscall",
    "clock_gettime",
    "clock_getres",
    "gettimeofday",
    "time",
    "nanosleep",
    "clock_nanosleep",
    "getrandom",
    "poll",
    "ppoll",
    "getpid",
    "gettid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getrusage",
    "sysinfo",
    "uname",
    "times",
    "exit",
    "exit_group",
}
"""All else is answered as by a kernel that doesn't have it: libraries know how to go on then."""

_PR_SET_NAME = 15
_CLONE_THREAD = 0x00010000
_CLONE_NEW = 0x7E020080  # the namespaces, all of them
_TCGETS, _TIOCGWINSZ, _FIONCLEX, _FIOCLEX = 0x5401, 0x5413, 0x5450, 0x5451
_F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC = 1, 2, 3, 1030


@cache
def rules(threads: bool) -> bytes:
    """Return the filter as the kernel's BPF; `threads`: may start threads, of this process alone.

    No other process, namespace, program, socket, lock, key, ring, mount or file descriptor but of a file; no signal;
    no change of limits, of user, of priority or of processors.

    Raises:
        HarnessError: pyseccomp or libseccomp isn't installed.
    """
    try:
        import pyseccomp as seccomp
    except (ImportError, RuntimeError) as e:  # the latter: it is installed, but not the library that it needs
        raise HarnessError(
            f"the sandbox: no seccomp filter can be made: {e}",
            f"{install('board')}; apt-get install libseccomp2 (docs/sandbox.md); "
            "sandbox=unsafe is for your own models alone",
        ) from e
    table = seccomp.SyscallFilter(seccomp.ERRNO(errno.ENOSYS))

    def allow(name: str, *arguments: seccomp.Arg) -> None:
        if seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) >= 0:  # else this processor's kernel doesn't have it
            table.add_rule(seccomp.ALLOW, name, *arguments)

    for name in ALLOWED:
        allow(name)
    allow("prctl", seccomp.Arg(0, seccomp.EQ, _PR_SET_NAME))
    allow("prlimit64", seccomp.Arg(0, seccomp.EQ, 0), seccomp.Arg(2, seccomp.EQ, 0))  # its own, to read
    for command in (_TCGETS, _TIOCGWINSZ, _FIONCLEX, _FIOCLEX):
        allow("ioctl", seccomp.Arg(1, seccomp.EQ, command))
    for command in (_F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC):
        allow("fcntl", seccomp.Arg(1, seccomp.EQ, command))
    if threads:
        allow("clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD | _CLONE_NEW, _CLONE_THREAD))
    with tempfile.TemporaryFile() as file:
        table.export_bpf(file)
        file.seek(0)
        return file.read()
