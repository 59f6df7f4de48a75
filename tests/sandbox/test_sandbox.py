"""The box holds what it should, and isn't had where a part of it can't be."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import attacks
import matrix
import pytest

from harness.errors import HarnessError
from harness.sandbox import bubblewrap, sandbox, syscalls
from harness.sandbox.limits import Limits
from harness.sandbox.sandbox import Content, open_box

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
pytestmark = pytest.mark.skipif(not shutil.which("bwrap"), reason="no bwrap here (Debian: apt-get install bubblewrap)")


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, str]]:
    """The matrix: attack to column to how it went."""
    command = [sys.executable, str(HERE / "matrix.py"), "plain", "unsafe", "strict"]
    environment = os.environ | {"SECRET": "0123456789abcdef", "PYTHONPATH": str(ROOT)}
    return json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)


def test_no_attack_gets_through_in_strict_mode(found: dict[str, dict[str, str]]) -> None:
    """38 attacks in three columns: takes 9 s of CPU time."""
    assert [name for name in found if found[name]["strict"] == "reached"] == []
    assert len(found) == 38 and found["hog"]["strict"] == "cpu"


def test_the_same_attacks_get_through_in_a_plain_child(found: dict[str, dict[str, str]]) -> None:
    names = [attack.__name__ for attack in attacks.FIFTEEN]
    assert matrix.reached(found, "plain", names) >= 13
    assert matrix.reached(found, "plain", list(found)) >= 30


def test_rlimits_alone_hold_what_they_are_for_and_little_else(found: dict[str, dict[str, str]]) -> None:
    held = {name for name in ("six_gigabytes", "large_file", "hog") if found[name]["unsafe"] != "reached"}
    assert held == {"six_gigabytes", "large_file", "hog"}
    assert found["labels_file"]["unsafe"] == found["loopback"]["unsafe"] == "reached"


def test_check_passes_where_all_is_there() -> None:
    sandbox.check()


# --- Where a part is missing


def test_without_bubblewrap_there_is_no_box(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HarnessError, match="no bwrap on PATH") as e:
        sandbox.check()
    assert "apt-get install bubblewrap" in e.value.fix


def test_without_pyseccomp_there_is_no_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    syscalls.rules.cache_clear()
    with pytest.raises(HarnessError, match="no seccomp filter can be made") as e:
        sandbox.check()
    assert "apt-get install libseccomp2" in e.value.fix


def test_without_libseccomp_there_is_no_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pyseccomp", raising=False)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None if name == "seccomp" else "libc.so.6")
    syscalls.rules.cache_clear()
    with pytest.raises(HarnessError, match="Unable to find libseccomp"):
        sandbox.check()


def _bwrap(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put another bwrap before the real one; $REAL is that."""
    place = folder / "bwrap"
    place.write_text(f"#!/bin/bash\nREAL={shutil.which('bwrap')}\n{script}\n")
    place.chmod(place.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(bubblewrap, "program", lambda: str(place))


def test_a_kernel_that_refuses_namespaces_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _bwrap(tmp_path, monkeypatch, "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1")
    with pytest.raises(HarnessError, match="setting up uid map: Permission denied") as e:
        sandbox.check()
    assert "AppArmor" in e.value.fix


def test_a_bwrap_that_says_nothing_is_no_box(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox, "START_S", 0.5)
    _bwrap(tmp_path, monkeypatch, "exec sleep 60")
    with pytest.raises(HarnessError, match="the box can't be made here"):
        sandbox.check()


@pytest.mark.parametrize(
    ("flag", "lack"),
    [
        ("--unshare-net", "a net namespace"),
        ("--unshare-ipc", "a ipc namespace"),
        ("--clear", "an empty environment"),
        ("--root", "a file system of its own"),
        ("--fd", "freedom from descriptors"),
    ],
)
def test_a_bwrap_that_does_less_than_it_was_told_is_found_out(
    flag: str, lack: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change = {
        "--clear": 'exec $REAL --setenv PASSWORD x "$@"',
        "--root": 'exec $REAL --ro-bind /etc /etc "$@"',
        "--fd": 'exec 9</etc/passwd; exec $REAL "$@"',
    }
    leave_out = f'kept=(); for a in "$@"; do [ "$a" = {flag} ] || kept+=("$a"); done; exec $REAL "${{kept[@]}}"'
    _bwrap(tmp_path, monkeypatch, change.get(flag, leave_out))
    with pytest.raises(HarnessError, match=f"came up without {lack}"):
        sandbox.check()


@pytest.mark.parametrize(
    ("line", "lack"),
    [
        ("resource.setrlimit(", "RLIMIT_AS, RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_CORE, RLIMIT_NPROC"),
        ("os.sched_setaffinity(", "processors of its own"),
        ("_done(prctl(PR_SET_SECCOMP", "a seccomp filter"),
        ("_done(libc.capset(", "freedom from capabilities"),
        ("os.setresuid(", "a user without privileges"),
    ],
)
def test_a_first_program_that_forgets_to_give_something_up_is_found_out(
    line: str, lack: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if os.geteuid() and line in ("os.setresuid(", "_done(libc.capset("):
        pytest.skip("root's box alone gives these up in its first program")
    if line == "os.sched_setaffinity(" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor here")
    text = sandbox._BOOT.read_text()
    assert line in text
    mutant = tmp_path / "boot.py"
    mutant.write_text(text.replace(line, f"str if 1 else {line}" if line.endswith("(") else f"0 and {line}"))
    monkeypatch.setattr(sandbox, "_BOOT", mutant)
    with pytest.raises(HarnessError, match=f"came up without .*{lack}"):
        sandbox.check()


# --- What is left afterwards


def _alive(pid: int) -> bool:
    """Whether it runs; a zombie is for the system's first process to bury, when the parent was killed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _soon(true: object, within_s: float = 60) -> bool:
    end = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


SLEEPER = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"


@pytest.mark.parametrize("mode", ["strict", "unsafe"])
def test_nothing_is_left_of_a_box(mode: str, tmp_path: Path) -> None:
    program = tmp_path / "sleeper.py"
    program.write_text(SLEEPER)
    tmp_path.chmod(0o755)
    before = set(os.listdir("/proc/self/fd")), set(os.listdir("/tmp"))
    with open_box(Content(program), Limits(), mode) as box:
        box.receive(3, 20)
        pids = {box.pid, box.process.pid}
        assert all(_alive(pid) for pid in pids)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert set(os.listdir("/proc/self/fd")) == before[0]
    assert {name for name in set(os.listdir("/tmp")) - before[1] if "bindfile" in name or "bwrap" in name} == set()


@pytest.mark.parametrize("mode", ["strict", "unsafe"])
def test_a_box_dies_with_a_parent_that_is_killed(mode: str, tmp_path: Path) -> None:
    program = tmp_path / "sleeper.py"
    program.write_text(SLEEPER)
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import sys, time\nfrom pathlib import Path\n"
        "from harness.sandbox.limits import Limits\nfrom harness.sandbox.sandbox import Content, open_box\n"
        f"with open_box(Content(Path({str(program)!r})), Limits(), {mode!r}) as box:\n"
        "    box.receive(3, 20)\n    print(box.pid, box.process.pid, flush=True)\n    time.sleep(600)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(parent)], stdout=subprocess.PIPE, env=environment) as process:
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2
        process.kill()
    assert _soon(lambda: not any(_alive(pid) for pid in pids))


def test_a_plain_user_has_the_same_box(tmp_path: Path) -> None:
    """With another interpreter, as root's own may be hidden from others; namespaces of users stand in for a user."""
    python = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    packages = Path(sys.modules["pyseccomp"].__file__ if "pyseccomp" in sys.modules else "").parent
    readable = all(os.stat(folder).st_mode & 0o005 == 0o005 for folder in (ROOT, *ROOT.parents, packages))
    if os.geteuid() or not os.path.exists(python) or not readable:
        pytest.skip("not root, or no interpreter and packages here that another user may read")
    code = (
        "from pathlib import Path\nimport sys, resource\nfrom harness.sandbox import sandbox\nsandbox.check()\n"
        "from harness.sandbox.limits import Limits\n"
        f"with sandbox.open_box(sandbox.Content(Path({str(HERE / 'attacks.py')!r}), "
        "arguments=('labels_file', '{\"labels\": \"/etc/passwd\"}')), Limits()) as box:\n"
        "    sys.exit(0 if box.receive(4, 20) == b'held' else 1)\n"
    )
    run = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-B", "-c", code]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{packages}"}
    done = subprocess.run(run, env=environment, capture_output=True, text=True, cwd="/")
    if "namespace" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def test_a_plain_user_without_namespaces_is_refused_by_name() -> None:
    """In a bubblewrap that forbids further namespaces, as a hardened kernel does."""
    python = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    if os.geteuid() or not os.path.exists(python):
        pytest.skip("not root, or no interpreter here that another user may read")
    import pyseccomp

    packages = Path(pyseccomp.__file__).parent
    code = "from harness.sandbox import sandbox\nsandbox.check()\n"
    setting = "--tmpfs /var/tmp --dev-bind /dev /dev --setenv PATH /usr/bin:/bin --setenv PYTHONPATH"
    outer = ["bwrap", "--ro-bind", "/", "/", "--unshare-user", "--disable-userns", *setting.split()]
    run = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *outer, f"{ROOT}:{packages}"]
    done = subprocess.run([*run, python, "-B", "-c", code], capture_output=True, text=True, cwd="/")
    if "HarnessError" not in done.stderr:
        pytest.skip(f"can't be set up here: {done.stderr.splitlines()[-1:]}")
    assert "the box can't be made here" in done.stderr and "namespace" in done.stderr
