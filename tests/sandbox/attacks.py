"""What a program could try that has taken the runner over; each attack is run in the runner's place.

    python attacks.py NAME '{"labels": ..., ...}'

The first line of its answer is "reached ..." with what it got, or "held ..." with the error. Only the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import glob
import json
import mmap
import os
import platform
import signal
import socket
import sys
import time
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = {"keyctl": 250, "add_key": 248, "bpf": 321, "perf": 298, "userfault": 323, "io_uring": 425, "vm_readv": 310}
ARM = {"keyctl": 219, "add_key": 217, "bpf": 280, "perf": 241, "userfault": 282, "io_uring": 425, "vm_readv": 270}
NUMBERS = ARM if platform.machine() == "aarch64" else X86
CLONE_NEWUSER, PTRACE_ATTACH, TIOCSTI, SIX_GB, SOME_MB = 0x10000000, 16, 0x5412, 6_000_000_000, 600_000_000


def call(result: int) -> int:
    """Raise what the C library says."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def read(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()


# --- The fifteen of the matrix


def labels_file(told: dict) -> str:
    """Read the hidden labels."""
    return read(told["labels"])


def own_environment(told: dict) -> str:
    """Read a secret from its own environment."""
    return json.dumps(dict(os.environ))


def loopback(told: dict) -> str:
    """Talk to a server of this machine over TCP."""
    with socket.create_connection(("127.0.0.1", told["port"]), 2) as link:
        return link.recv(100).decode()


def unix_socket(told: dict) -> str:
    """Talk to a server over a socket in the file system."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(told["socket"])
        return link.recv(100).decode()


def signal_parent(told: dict) -> None:
    """Kill a process of the judge's."""
    os.kill(told["victim"], signal.SIGKILL)


def inherited_descriptor(told: dict) -> str:
    """Read a file that the judge has open."""
    found = []
    for number in range(3, 64):
        try:
            found.append(os.pread(number, 1000, 0).decode(errors="replace"))
        except OSError:
            continue
    return " ".join(found)


def write_to_host(told: dict) -> None:
    """Leave a file where the judge works."""
    with open(told["write"], "w") as file:
        file.write("here")


def trace_parent(told: dict) -> None:
    """Take a process of the judge's over."""
    call(LIBC.ptrace(PTRACE_ATTACH, told["victim"], 0, 0))


def user_namespace(told: dict) -> None:
    """Become root in a user namespace of its own."""
    call(LIBC.unshare(CLONE_NEWUSER))


def cache_between_runs(told: dict) -> str:
    """Find what an earlier run has left."""
    places = [f"{folder}/{told['note']}" for folder in ("/tmp", "/dev/shm", "/var/tmp", os.path.expanduser("~"), ".")]
    kept = [place for place in places if os.path.exists(place)]
    for place in places:
        try:
            with open(place, "w") as file:
                file.write("here")
        except OSError:
            continue
    return "kept" if kept else ""


def six_gigabytes(told: dict) -> None:
    """Take 6 GB of memory (asked for, and touched a little)."""
    memory = mmap.mmap(-1, SIX_GB)
    memory[:: SIX_GB // 100] = bytes(len(range(0, SIX_GB, SIX_GB // 100)))


def many_forks(told: dict) -> None:
    """Start 600 processes."""
    children = []
    try:
        for _ in range(600):
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def large_file(told: dict) -> None:
    """Fill the disk with 600 MB."""
    place = f"/tmp/{told['note']}-large"
    try:
        with open(place, "wb", 0) as file:
            for _ in range(600):
                if file.write(bytes(SOME_MB // 600)) < SOME_MB // 600:
                    raise OSError("a short write")
    finally:
        with contextlib.suppress(OSError):  # what counts is whether it was written
            os.unlink(place)


def hog(told: dict) -> None:
    """Use more CPU time than allowed."""
    while time.process_time() < told["cpu_s"]:
        pass


def starters_environment(told: dict) -> str:
    """Read a secret from the environment of whoever started it."""
    return "".join(_readable("/proc/*/environ"))


# --- More of them


def environment_of_first(told: dict) -> str:
    """Read the first process's environment."""
    return read("/proc/1/environ") or read("/proc/self/environ")


def database(told: dict) -> str:
    """Read the board's database."""
    return read(told["database"])


def other_entries(told: dict) -> str:
    """Read another team's model, wherever it is."""
    return "".join(_readable(f"{told['folder']}/*")) + "".join(_readable("/packages/*.onnx"))


def system_files(told: dict) -> None:
    """Read who has an account on the machine."""
    read("/etc/passwd")


def more_processors(told: dict) -> None:
    """Run on another processor than its own."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    if len(os.sched_getaffinity(0)) < 2:
        raise OSError("still one")


def more_threads(told: dict) -> None:
    """Work with a second thread."""
    import threading

    thread = threading.Thread(target=time.sleep, args=(0.01,))
    thread.start()
    thread.join()


def more_of_a_limit(told: dict) -> None:
    """Raise or lower its own limits."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))


def another_program(told: dict) -> None:
    """Run another program."""
    os.execv(sys.executable, [sys.executable, "-c", "print('reached')"])


def program_from_memory(told: dict) -> None:
    """Run a program that is in no file."""
    number = os.memfd_create("x")
    os.write(number, b"#!/bin/sh\necho reached\n")
    os.set_inheritable(number, True)
    os.execve(number, ["x"], {})


def lock_for_others(told: dict) -> None:
    """Signal to another run by a lock on a file."""
    with open(sys.argv[0]) as file:
        fcntl.flock(file, fcntl.LOCK_SH)


def kernel_keys(told: dict) -> None:
    """Keep something in the kernel's keyring."""
    call(LIBC.syscall(NUMBERS["add_key"], b"user", b"note", b"here", 4, -4))


def terminal_input(told: dict) -> None:
    """Type into the terminal."""
    with open("/dev/tty") as file:
        fcntl.ioctl(file, TIOCSTI, b"x")


def rings(told: dict) -> None:
    """Go round the filter by a ring of requests."""
    call(LIBC.syscall(NUMBERS["io_uring"], 4, ctypes.create_string_buffer(120)))


def programs_in_kernel(told: dict) -> None:
    """Load something into the kernel."""
    call(LIBC.syscall(NUMBERS["bpf"], 0, ctypes.create_string_buffer(struct_map()), 72))


def struct_map() -> bytes:
    """Describe a BPF array of one value."""
    return bytes(ctypes.c_uint32(2)) + bytes(ctypes.c_uint32(4)) * 2 + bytes(ctypes.c_uint32(1)) + bytes(56)


def counters(told: dict) -> None:
    """Watch other processes by performance counters."""
    event = ctypes.create_string_buffer(bytes(ctypes.c_uint32(1)) + bytes(ctypes.c_uint32(112)) + bytes(104), 112)
    call(LIBC.syscall(NUMBERS["perf"], event, 0, -1, -1, 0))


def stalling_pages(told: dict) -> None:
    """Handle page faults itself, the way into many kernel exploits."""
    call(LIBC.syscall(NUMBERS["userfault"], 0))


def others_memory(told: dict) -> None:
    """Read the memory of a process of the judge's."""
    buffer = ctypes.create_string_buffer(8)
    start = int(read(f"/proc/{told['victim']}/maps").split("-", 1)[0], 16)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    call(LIBC.syscall(NUMBERS["vm_readv"], told["victim"], vector, 1, (ctypes.c_size_t * 2)(start, 8), 1, 0))


def mounts(told: dict) -> None:
    """Mount a file system."""
    call(LIBC.unshare(0x00020000))
    call(LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None))


def others_namespace(told: dict) -> None:
    """Step into the judge's namespace."""
    with open(f"/proc/{told['victim']}/ns/net") as file:
        call(LIBC.setns(file.fileno(), 0))


def root_again(told: dict) -> None:
    """Become root."""
    os.setresuid(0, 0, 0)


def shared_memory(told: dict) -> None:
    """Keep something in System V's shared memory."""
    identity = call(LIBC.shmget(0x5EC2E7, 4096, 0o1600))
    call(LIBC.shmctl(identity, 0, None))


def change_own_files(told: dict) -> None:
    """Change the program or the model that the next run will get."""
    with open(sys.argv[0], "r+") as file:
        file.write('"')  # as it is


def everyone(told: dict) -> None:
    """Send a signal to all processes that it may."""
    os.kill(-1, 0)


FIFTEEN: tuple[Callable, ...] = (
    labels_file,
    own_environment,
    loopback,
    unix_socket,
    signal_parent,
    inherited_descriptor,
    write_to_host,
    trace_parent,
    user_namespace,
    cache_between_runs,
    six_gigabytes,
    many_forks,
    large_file,
    hog,
    starters_environment,
)
MORE: tuple[Callable, ...] = (
    environment_of_first,
    database,
    other_entries,
    system_files,
    more_processors,
    more_threads,
    more_of_a_limit,
    another_program,
    program_from_memory,
    lock_for_others,
    kernel_keys,
    terminal_input,
    rings,
    programs_in_kernel,
    counters,
    stalling_pages,
    others_memory,
    mounts,
    others_namespace,
    root_again,
    shared_memory,
    change_own_files,
    everyone,
)
ATTACKS = {attack.__name__: attack for attack in FIFTEEN + MORE}


def _readable(pattern: str) -> list[str]:
    texts = []
    for path in glob.glob(pattern):
        try:
            if os.path.isfile(path):
                texts.append(read(path))
        except OSError:
            continue
    return texts


def main() -> None:
    """Try one attack, and say how it went."""
    name, told = sys.argv[1], json.loads(sys.argv[2])
    try:
        got = ATTACKS[name](told)
    except Exception as e:
        print("held", type(e).__name__, str(e).replace("\n", " ")[:200], flush=True)
    else:
        print("reached", json.dumps(got), flush=True)


if __name__ == "__main__":
    main()
