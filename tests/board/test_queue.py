"""The queue: each entry is accepted once, has a way out of every state, and is counted exactly once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Barrier

import pytest
import sqlalchemy as sa
from hosting import SIZES, content, host, judged, manifest, submit, verdict
from sqlalchemy import Engine

from harness.board import competitions, picks, queue, quota, store, teams
from harness.board.quota import Full, Shut
from harness.board.tables import Entry, Judgement
from harness.database import lease
from harness.errors import HarnessError

LEASE_S = 60.0


def row(engine: Engine, entry: int) -> sa.RowMapping:
    """Read an entry as it is stored."""
    query = sa.select(Entry.__table__).where(Entry.id == entry)
    return store.look(engine, lambda c: c.execute(query).mappings().one())


def verdicts(engine: Engine) -> list[int]:
    """List the entries of all verdicts."""
    return list(store.look(engine, lambda c: c.scalars(sa.select(Judgement.entry_id)).all()))


def silence(engine: Engine) -> None:
    """Let every lease run out, with its grace."""
    store.transact(engine, lambda c: c.execute(sa.update(Entry).values(lease_until=0.0, warned=True)))


def test_an_entry_goes_through_the_queue(engine: Engine) -> None:
    """Submitted, claimed, shown at its stage, counted; the first that came is the first."""
    hosted, (team, _) = host(engine), teams.add(engine, "anna")
    first, second = (submit(engine, team.id, hosted, name) for name in ("a", "b"))
    claim = queue.claim(engine, "w1", LEASE_S, hosted.id)
    assert (claim.entry, claim.tries, claim.content) == (first, 1, content("a"))
    assert queue.claim(engine, "w2", LEASE_S).entry == second
    assert queue.claim(engine, "w3", LEASE_S) is None
    assert queue.stage(engine, claim, "time")
    assert row(engine, first)["stage"] == "time"
    assert queue.beat(engine, claim, LEASE_S)
    assert queue.finish(engine, claim, verdict("a", 0.8))
    assert queue.counts(engine, hosted.id) == {"WAITING": 0, "RUNNING": 1, "COMPLETE": 1, "FAIL": 0}
    assert verdicts(engine) == [first]


def test_a_repeated_submission_is_the_same_one(engine: Engine) -> None:
    """It costs nothing, even when the quota is used up or the competition closed; another team's is its own."""
    hosted, (anna, _), (ben, _) = host(engine, submissions_a_day=1), teams.add(engine, "anna"), teams.add(engine, "ben")
    call = (hosted.id, content("a"), SIZES, manifest("a"))
    entry, new = queue.submit(engine, anna.id, *call)
    assert new
    competitions.close(engine, "squares")
    assert queue.submit(engine, anna.id, *call) == (entry, False)
    with pytest.raises(Shut, match="competition squares: closed"):
        queue.submit(engine, ben.id, *call)
    competitions.reopen(engine, "squares")
    other, new = queue.submit(engine, ben.id, *call)
    assert new
    assert other != entry


def test_the_quota_is_the_teams_of_the_day_and_of_the_kind(engine: Engine) -> None:
    """Full says when the next day begins; debug has a quota of its own; a refused entry costs, a crash doesn't."""
    hosted, (team, _) = host(engine, submissions_a_day=2, debug_a_day=1), teams.add(engine, "anna")
    submit(engine, team.id, hosted, "a")
    submit(engine, team.id, hosted, "b")
    with pytest.raises(Full, match="all 2 scored entries of this day") as e:
        submit(engine, team.id, hosted, "c")
    assert 0 < e.value.retry_s <= 86_400
    submit(engine, team.id, hosted, "a", "debug")
    assert [quota.left(engine, team.id, hosted.id, kind) for kind in ("scored", "debug")] == [0, 0]
    claim = queue.claim(engine, "w", LEASE_S)
    assert queue.fail(engine, claim, "gate", "no")
    assert quota.left(engine, team.id, hosted.id) == 0
    for _ in range(queue.TRIES):
        claim = queue.claim(engine, "w", LEASE_S)
        while claim.kind == "debug":
            claim = queue.claim(engine, "w", LEASE_S)
        assert queue.fail(engine, claim, "judge", "the machine is too noisy", fault="judge")
    assert row(engine, claim.entry)["state"] == "FAIL"
    assert quota.left(engine, team.id, hosted.id) == 1


@pytest.mark.parametrize("rounds", [3])
def test_of_64_at_once_at_the_last_place_exactly_one_is_accepted(engine: Engine, rounds: int) -> None:
    """Whatever the database; the others are told that the quota is used up. Takes some seconds: 64 threads."""
    cap = 3
    hosted = host(engine, submissions_a_day=cap)
    for n in range(rounds):
        team, _ = teams.add(engine, f"team {n}")
        for i in range(cap - 1):
            submit(engine, team.id, hosted, f"before {n} {i}")
        assert outcomes(engine, team.id, hosted, queue.submit) == (1, 63)
        assert quota.left(engine, team.id, hosted.id) == 0


def test_counting_before_inserting_admits_too_many(engine: Engine) -> None:
    """The control: without the lock, the same 64 are not held back."""
    hosted, (team, _) = host(engine, submissions_a_day=3), teams.add(engine, "anna")
    gate = Barrier(64)

    def careless(engine: Engine, team: int, competition: int, *entry: object) -> None:
        if not quota.left(engine, team, competition):
            raise Full("full", "wait", 1)
        gate.wait(60)  # everybody has counted
        store.transact(engine, lambda c: c.execute(sa.insert(Entry).values(loose(team, competition, str(entry[0])))))

    accepted, _ = outcomes(engine, team.id, hosted, careless)
    assert accepted == 64


def loose(team: int, competition: int, name: str) -> dict[str, object]:
    """Return an entry's columns."""
    return {
        "competition_id": competition, "team_id": team, "kind": "scored", "content": name, "name": name[:64],
        "model_sha256": name, "manifest": {}, "sizes": {}, "created": 0.0, "day": "2026-01-01", "charged": True,
        "state": "WAITING", "tries": 0, "fence": 0, "warned": False, "picked": False, "placed": False,
    }  # fmt: skip


def outcomes(engine: Engine, team: int, hosted: competitions.Hosted, submit: object) -> tuple[int, int]:
    """Submit 64 different entries at once; return how many were accepted, and how many told that it's full."""

    def one(i: int) -> bool:
        try:
            submit(engine, team, hosted.id, content(f"{team} {i}"), SIZES, manifest(f"e{i}"))
        except Full:
            return False
        return True

    with ThreadPoolExecutor(64) as pool:
        told = list(pool.map(one, range(64)))
    return sum(told), 64 - sum(told)


def test_a_silent_judges_entry_goes_to_another_and_its_late_verdict_is_refused(engine: Engine) -> None:
    """The fence: it isn't counted twice, though the first judge comes back."""
    hosted, (team, _) = host(engine), teams.add(engine, "anna")
    entry = submit(engine, team.id, hosted, "a")
    slow = queue.claim(engine, "slow", LEASE_S)
    assert queue.claim(engine, "quick", LEASE_S) is None
    silence(engine)
    quick = queue.claim(engine, "quick", LEASE_S)
    assert (quick.entry, quick.tries) == (entry, 2)
    assert not queue.beat(engine, slow, LEASE_S)
    assert not queue.stage(engine, slow, "time")
    assert not queue.finish(engine, slow, verdict("a", 0.7))
    assert not queue.fail(engine, slow, "gate", "no")
    assert not queue.give_back(engine, slow)
    assert queue.finish(engine, quick, verdict("a", 0.8))
    assert not queue.finish(engine, slow, verdict("a", 0.7))
    assert verdicts(engine) == [entry]


def test_without_the_fence_it_would_be_counted_twice(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    hosted, (team, _) = host(engine), teams.add(engine, "anna")
    entry = submit(engine, team.id, hosted, "a")
    slow = queue.claim(engine, "slow", LEASE_S)
    silence(engine)
    quick = queue.claim(engine, "quick", LEASE_S)
    monkeypatch.setattr(lease, "fence", lambda leases, token: sa.true())
    assert queue.finish(engine, slow, verdict("a", 0.7))
    assert queue.finish(engine, quick, verdict("a", 0.8))
    assert verdicts(engine) == [entry, entry]


def test_a_lease_that_ran_out_has_a_grace_from_when_it_is_seen(lite: Engine) -> None:
    """A database that was away for longer than the lease takes no healthy judge's entry."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    submit(lite, team.id, hosted, "a")
    claim = queue.claim(lite, "slow", LEASE_S)
    store.transact(lite, lambda c: c.execute(sa.update(Entry).values(lease_until=0.0)))
    assert queue.claim(lite, "quick", LEASE_S) is None
    assert queue.beat(lite, claim, LEASE_S)
    assert queue.finish(lite, claim, verdict("a", 0.7))


def test_an_entry_that_kills_its_judges_fails_after_three_and_the_queue_moves_on(engine: Engine) -> None:
    """The others go first; it costs no quota."""
    hosted, (team, _) = host(engine, submissions_a_day=3), teams.add(engine, "anna")
    poison = submit(engine, team.id, hosted, "poison")
    assert queue.claim(engine, "w0", LEASE_S).entry == poison
    silence(engine)
    other = submit(engine, team.id, hosted, "other")
    claim = queue.claim(engine, "w1", LEASE_S)
    assert claim.entry == other
    assert queue.finish(engine, claim, verdict("other", 0.8))
    for number in (2, 3):
        assert queue.claim(engine, f"w{number}", LEASE_S).entry == poison
        silence(engine)
    assert queue.claim(engine, "w4", LEASE_S) is None
    found = row(engine, poison)
    assert (found["state"], found["reason"], found["charged"]) == ("FAIL", "poison", False)
    assert quota.left(engine, team.id, hosted.id) == 2


def test_what_is_given_back_was_no_try(lite: Engine) -> None:
    """A judge that is asked to stop costs its entry nothing."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    submit(lite, team.id, hosted, "a")
    for number in range(5):
        claim = queue.claim(lite, f"w{number}", LEASE_S)
        assert claim.tries == 1
        assert queue.give_back(lite, claim)
        assert not queue.give_back(lite, claim)


def test_a_call_that_took_effect_unnoticed_may_be_made_again(engine: Engine) -> None:
    """A connection that breaks in the commit changes nothing: no verdict and no entry twice."""
    hosted, (team, _) = host(engine), teams.add(engine, "anna")
    entry = submit(engine, team.id, hosted, "a")
    claim = queue.claim(engine, "w", LEASE_S)
    assert [queue.finish(engine, claim, verdict("a", 0.7)) for _ in range(2)] == [True, True]
    assert verdicts(engine) == [entry]
    submit(engine, team.id, hosted, "b")
    failed = queue.claim(engine, "w", LEASE_S)
    assert [queue.fail(engine, failed, "gate", "no") for _ in range(2)] == [True, True]


def test_an_entry_can_be_judged_again(lite: Engine) -> None:
    """Its earlier verdict counts until then; one that hasn't ended can't."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    entry = judged(lite, team.id, hosted, "a", 0.7)
    queue.requeue(lite, entry)
    assert row(lite, entry)["placed"]
    with pytest.raises(HarnessError, match=f"entry {entry}: none that has ended"):
        queue.requeue(lite, entry)
    claim = queue.claim(lite, "w", LEASE_S)
    assert queue.finish(lite, claim, verdict("a", 0.8))
    assert verdicts(lite) == [entry, entry]
    queue.requeue(lite, entry)
    assert queue.fail(lite, queue.claim(lite, "w", LEASE_S), "repeat", "a cheat after all")
    assert not row(lite, entry)["placed"]


def test_an_entry_of_another_competition_isnt_picked_here(lite: Engine) -> None:
    """Nor there: two competitions in a database, and a team that is in both."""
    here, there, (team, _) = host(lite), host(lite, "other"), teams.add(lite, "anna")
    entry = submit(lite, team.id, there, "a")
    with pytest.raises(HarnessError, match=f"entry {entry}: no scored entry of your team in this competition"):
        picks.choose(lite, team.id, here.id, [entry])
    assert picks.chosen(lite, team.id, there.id) == []


def test_a_team_picks_its_own_up_to_the_close(lite: Engine) -> None:
    """Not more than allowed, none of another team, none that failed, none afterwards."""
    hosted, (anna, _), (ben, _) = host(lite, picks=2), teams.add(lite, "anna"), teams.add(lite, "ben")
    first, second, third = (judged(lite, anna.id, hosted, name, 0.7) for name in "abc")
    failed = submit(lite, anna.id, hosted, "d")
    queue.fail(lite, queue.claim(lite, "w", LEASE_S), "gate", "no")
    for entries in ([first], [first, second], [second, first, second]):
        picks.choose(lite, anna.id, hosted.id, entries)
    with pytest.raises(HarnessError, match=rf"2 are chosen already \({first}, {second}\); allowed: 2"):
        picks.choose(lite, anna.id, hosted.id, [first, second, third])
    with pytest.raises(HarnessError, match="no scored entry of your team"):
        picks.choose(lite, ben.id, hosted.id, [first])
    with pytest.raises(HarnessError, match="failed"):
        picks.choose(lite, anna.id, hosted.id, [failed])
    assert picks.chosen(lite, anna.id, hosted.id) == [first, second]
    competitions.close(lite, "squares")
    with pytest.raises(Shut, match="closed"):
        picks.choose(lite, anna.id, hosted.id, [third])


def test_a_revoked_team_submits_no_more_but_what_it_has_is_judged(lite: Engine) -> None:
    """Its entries stay."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    submit(lite, team.id, hosted, "a")
    teams.revoke(lite, "anna")
    with pytest.raises(HarnessError, match="its token was revoked"):
        submit(lite, team.id, hosted, "b")
    assert queue.finish(lite, queue.claim(lite, "w", LEASE_S), verdict("a", 0.7))


def test_before_it_opens_nothing_comes_in(lite: Engine) -> None:
    """The database's clock decides."""
    hosted, (team, _) = host(lite, opens="2999-01-01T00:00:00Z"), teams.add(lite, "anna")
    with pytest.raises(Shut, match="opens 2999-01-01 00:00 UTC"):
        submit(lite, team.id, hosted, "a")
    assert quota.left(lite, team.id, hosted.id) == 0


def poisoned(engine: Engine) -> tuple[int, queue.Claim]:
    """Let three judges die on an entry that was counted before; return its team, and what the last one claimed."""
    hosted, (team, _) = host(engine), teams.add(engine, "anna")
    queue.requeue(engine, judged(engine, team.id, hosted, "a", 0.7))
    for number in range(queue.TRIES):
        claim = queue.claim(engine, f"w{number}", LEASE_S)
        silence(engine)
    return team.id, claim


def entry_then_team(engine: Engine, *_: object) -> None:
    """End an entry as one would at first: its row is locked, then the team's, as the board changes, too."""

    def act(connection: sa.Connection) -> None:
        entry = connection.execute(sa.select(Entry.team_id).where(Entry.id == 1).with_for_update()).one()
        queue.lock_team(connection, entry.team_id)

    store.transact(engine, act, patience_s=0)


@pytest.mark.parametrize(("reaper", "deadlocks"), [(queue.claim, False), (entry_then_team, True)])
@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_who_ends_a_poisonous_entry_and_who_counts_for_its_team_never_wait_in_a_circle(
    kind: str, reaper: Callable[..., object], deadlocks: bool, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Its last judge, late, has locked the team and comes to the entry; the other way round is the control."""
    monkeypatch.setattr(store, "PATIENCE_S", 0)  # who is patient doesn't notice
    engine, words = store.open(request.getfixturevalue(f"{kind}_url")), []
    team, claim = poisoned(engine)
    with ThreadPoolExecutor(1) as pool:
        try:
            with engine.begin() as late:
                queue.lock_team(late, team)
                reaped = pool.submit(reaper, engine, "reaper", LEASE_S)
                wait([reaped], timeout=0.5)
                queue._change(late, claim, stage="late")
        except sa.exc.DBAPIError as e:
            words.append(str(e))
        words += [str(e)] if (e := reaped.exception(60)) else []
    assert ["deadlock" in w.lower() for w in words] == [True] * deadlocks, words
    assert queue.claim(engine, "next", LEASE_S) is None
    assert row(engine, claim.entry)["state"] == "FAIL"
    engine.dispose()
