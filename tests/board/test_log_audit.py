"""The log is a chain: whatever is changed in it, or behind its back, is found."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from hosting import host, judged
from sqlalchemy import Engine

from harness.board import audit, log, store, teams
from harness.board.tables import Entry, Judgement, Log


def history(engine: Engine) -> int:
    """Let something happen; return how many rows the log has."""
    hosted, (team, _) = host(engine), teams.add(engine, "anna")
    for name in "ab":
        judged(engine, team.id, hosted, name, 0.7)
    return len(log.rows(engine))


def change(engine: Engine, statement: sa.Executable) -> None:
    """Do what somebody with the database's password could do."""
    store.transact(engine, lambda c: c.execute(statement))


def test_what_nobody_touched_is_whole(engine: Engine) -> None:
    """On each kind of database; figures come back to the last digit."""
    count = history(engine)
    found = audit.audit(engine)
    assert (found.wrong, found.rows) == ([], count)
    assert audit.audit(engine, found.head).wrong == []


@pytest.mark.parametrize("column", [*log.CHAINED[1:], "hash"])
def test_a_changed_byte_in_any_row_is_found(lite: Engine, column: str) -> None:
    """In every column of every row; the first bad row is named."""
    count = history(lite)
    for number in range(count):
        old = next(line for line in log.rows(lite) if line.id == number)
        value = getattr(old, column)
        other = (
            ("x" if not value or value[-1] != "x" else "y") if len(value) < 2 else value[:-1] + chr(ord(value[-1]) ^ 1)
        )
        this = sa.update(Log).where(Log.id == number)
        change(lite, this.values({column: other}))
        (wrong,) = audit.audit(lite).wrong
        assert wrong.startswith(f"row {number} of the log "), (number, column, wrong)
        change(lite, this.values({column: value}))
    assert audit.audit(lite).wrong == []


def test_a_row_that_is_gone_or_moved_is_found(lite: Engine) -> None:
    """At every place in the middle."""
    count = history(lite)
    for number in range(count - 1):
        row = store.look(
            lite, lambda c, n=number: c.execute(sa.select(Log.__table__).where(Log.id == n)).mappings().one()
        )
        change(lite, sa.delete(Log).where(Log.id == number))
        assert audit.audit(lite).wrong == [f"row {number} of the log is missing; the next one is {number + 1}"]
        change(lite, sa.insert(Log).values(dict(row)))
    assert audit.audit(lite).wrong == []


def test_a_log_whose_end_was_cut_off_is_found(lite: Engine) -> None:
    """By the entries and verdicts that it says nothing of, and by a hash that was noted."""
    count, head = history(lite), audit.audit(lite).head
    change(lite, sa.delete(Log).where(Log.id >= count - 2))
    assert audit.audit(lite).wrong == ["entry 2: isn't in the log", "verdict 2: isn't in the log"]
    change(lite, sa.delete(Judgement).where(Judgement.id == 2))
    change(lite, sa.delete(Entry).where(Entry.id == 2))
    assert audit.audit(lite).wrong == []  # who changes all tables alike is found by the noted hash alone
    assert audit.audit(lite, head).wrong == [
        f"row {count - 2} of the log no row has the hash {head[:16]}, which was noted: a backup of before was "
        "restored, the end was cut off, or all rewritten"
    ]


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        (sa.update(Judgement).where(Judgement.id == 2).values(f1_private=0.99), "verdict 2 on entry 2: was changed"),
        *(
            (
                sa.update(Judgement).where(Judgement.id == 1).values(**{name: "AAAA"}),
                "verdict 1 on entry 1: was changed",
            )
            for name in audit.KEPT
        ),
        (sa.update(Judgement).where(Judgement.id == 1).values(entry_id=2), "verdict 1 on entry 2: was changed"),
        (
            sa.update(Entry).where(Entry.id == 1).values(content="0" * 64),
            "entry 1: has other files than those submitted",
        ),
        (sa.delete(Judgement).where(Judgement.id == 1), "verdict 1: was given and is missing"),
    ],
)
def test_a_score_that_was_changed_is_found(lite: Engine, statement: sa.Executable, wrong: str) -> None:
    """The log says what was counted."""
    history(lite)
    change(lite, statement)
    assert audit.audit(lite).wrong == [wrong]


def test_a_log_of_before_there_were_draws_is_whole(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows have no hash of what verdicts keep of each image, for those kept nothing."""
    append = log.append

    def before(connection: sa.Connection, actor: str, action: str, detail: dict[str, object]) -> None:
        append(connection, actor, action, {k: v for k, v in detail.items() if k != "kept_sha256"})

    monkeypatch.setattr(log, "append", before)
    history(lite)
    assert "kept_sha256" not in str(log.rows(lite))
    assert audit.audit(lite).wrong == []


def test_many_writers_make_one_chain(engine: Engine) -> None:
    """Each kind of database puts them one after the other. Takes some seconds."""
    from concurrent.futures import ThreadPoolExecutor

    def write(number: int) -> None:
        store.transact(engine, lambda c: log.append(c, "tester", "note", {"number": number, "text": "ü\u202e"}))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert audit.audit(engine).wrong == []
    assert {line.to_dict()["detail"].get("number") for line in log.rows(engine, 40)} == set(range(40))


def test_no_token_is_in_the_database(lite: Engine) -> None:
    """Nor in the log: what is stored lets nobody in."""
    tokens = [teams.add(lite, f"team {n}")[1] for n in range(3)]
    teams.revoke(lite, "team 1")
    stored = "\n".join(lite.raw_connection().driver_connection.iterdump())
    for token in tokens:
        assert token not in stored
        assert token[3:20] not in stored
