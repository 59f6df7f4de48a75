"""An interrupt that falls into a transaction waits for its end."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import pytest
import sqlalchemy as sa
from test_outage import add, counts, do_step, opened

from harness import database


def half_read(engine: sa.Engine) -> None:
    """Begin to read, be interrupted there, and count a step."""
    with engine.begin() as connection:
        reading = connection.connection.dbapi_connection.execute("SELECT id FROM counter")
        assert reading.fetchone() is not None
        signal.raise_signal(signal.SIGTERM)
        add(connection)


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, bool]:
    """Interrupt a call in its transaction; return the count, and whether one can write where it is caught."""
    monkeypatch.setattr(database.engine, "wal_is_sound", lambda: False)  # WAL has no such locks
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with opened(f"sqlite:///{folder}/x.db?timeout=0.1") as engine:
        another = database.connect(engine.url)  # as a pool has several connections
        try:
            database.patiently(lambda: half_read(engine), 1, engine.url)
        except KeyboardInterrupt:
            try:
                do_step(another, 1)
                return counts(another)[0], True
            except sa.exc.OperationalError:
                return counts(engine)[0], False
        finally:
            signal.signal(signal.SIGTERM, before)
            another.dispose()
    raise AssertionError("the interrupt was lost")


def test_an_interrupt_waits_for_the_end_of_a_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it fell into is whole, and whoever puts things right after it finds the file unlocked."""
    assert interrupted(tmp_path, monkeypatch) == (2, True)


def test_within_a_transaction_it_would_leave_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a storm's judge once waited two minutes for its own lock, and all others with it."""
    monkeypatch.setattr(database.patience, "uninterrupted", contextlib.nullcontext)
    assert interrupted(tmp_path, monkeypatch) == (0, False)


def test_a_second_interrupt_comes_through() -> None:
    """Where a transaction waits for long, whoever presses the key again isn't kept."""
    pressed: list[int] = []

    def act() -> None:
        for key in range(3):
            pressed.append(key)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        database.patiently(act, 1, "sqlite:///x.db")
    assert pressed == [0, 1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_of_two_signals_a_time_limit_does_not_hide_the_other() -> None:
    """Ctrl-C ends a worker; a time limit only its trial."""

    def ring(_number: int, _frame: object) -> None:
        raise TimeoutError

    def act() -> None:
        signal.raise_signal(signal.SIGALRM)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with pytest.raises(KeyboardInterrupt):
            database.patiently(act, 1, "sqlite:///x.db")
    finally:
        signal.signal(signal.SIGALRM, before)
