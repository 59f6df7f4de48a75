"""The queue beside a model of it, over random lives: quota exact, verdicts counted once, a way out of every state.

Takes some seconds: each life is up to 25 steps, each of them several transactions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sqlalchemy as sa
from hosting import content, host, submit, verdict
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from harness.board import audit, queue, quota, store, teams
from harness.board.quota import Full
from harness.board.tables import Entry, Judgement

CAP, LEASE_S = 3, 60.0
ENGINE = store.open("sqlite://")


@dataclass
class Model:
    """What an entry should be. verdicts: counted ones."""

    state: str = "WAITING"
    tries: int = 0
    charged: bool = True
    verdicts: int = 0
    fences: list[int] = field(default_factory=list)


class Life(RuleBasedStateMachine):
    """Teams submit, judges claim, die, sleep, come back late; the model says what must be true."""

    entries, claims = Bundle("entries"), Bundle("claims")
    number = 0

    @initialize()
    def begin(self) -> None:
        """Host a competition of its own, with a team of its own."""
        Life.number += 1
        self.hosted = host(ENGINE, f"life-{Life.number}", submissions_a_day=CAP)
        self.team, _ = teams.add(ENGINE, f"team {Life.number}")
        self.models: dict[int, Model] = {}
        self.names: dict[str, int] = {}

    @rule(target=entries, name=st.sampled_from("abcdef"))
    def submits(self, name: str):
        """A team submits, or submits again."""
        full = sum(m.charged for m in self.models.values()) >= CAP
        try:
            entry = submit(ENGINE, self.team.id, self.hosted, name)
        except Full:
            assert full
            assert name not in self.names
            return multiple()
        assert name in self.names or not full
        assert self.names.setdefault(name, entry) == entry
        self.models.setdefault(entry, Model())
        return entry

    @rule(target=claims)
    def claims_one(self):
        """A judge takes the next entry: of those that wait, the least tried, then the oldest."""
        waiting = [(m.tries, n) for n, m in self.models.items() if m.state == "WAITING"]
        claim = queue.claim(ENGINE, f"judge {len(self.models)}", LEASE_S, self.hosted.id)
        if claim is None:
            assert not waiting
            return multiple()
        assert (claim.tries - 1, claim.entry) == min(waiting)
        assert claim.content == content(next(n for n, e in self.names.items() if e == claim.entry))
        model = self.models[claim.entry]
        model.state, model.tries = "RUNNING", model.tries + 1
        model.fences.append(claim.fence)
        return claim

    def ours(self, claim: queue.Claim) -> bool:
        """Say whether a claim still holds its entry."""
        model = self.models[claim.entry]
        return model.state == "RUNNING" and model.fences[-1] == claim.fence

    @rule(claim=claims)
    def beats(self, claim: queue.Claim) -> None:
        """A judge that holds its entry, or one that lost it, is still there."""
        assert queue.beat(ENGINE, claim, LEASE_S) == self.ours(claim)

    @rule(claim=claims, f1=st.sampled_from([0.2, 0.5, 0.9]))
    def finishes(self, claim: queue.Claim, f1: float) -> None:
        """A verdict counts for the holder alone; told again after it counted, it counts no more."""
        model, ours = self.models[claim.entry], self.ours(claim)
        again = model.state == "COMPLETE" and model.fences[-1] == claim.fence
        assert queue.finish(ENGINE, claim, verdict("x", f1)) == (ours or again)
        if ours:
            model.state, model.verdicts = "COMPLETE", model.verdicts + 1

    @rule(claim=claims)
    def refuses(self, claim: queue.Claim) -> None:
        """An entry's own fault ends it, and costs."""
        model, ours = self.models[claim.entry], self.ours(claim)
        again = model.state == "FAIL" and model.fences[-1] == claim.fence
        assert queue.fail(ENGINE, claim, "gate", "no") == (ours or again)
        if ours:
            model.state = "FAIL"

    @rule(claim=claims)
    def fails(self, claim: queue.Claim) -> None:
        """The judge's fault gives another try, and never costs."""
        model, ours = self.models[claim.entry], self.ours(claim)
        queue.fail(ENGINE, claim, "judge", "noise", fault="judge")
        if ours:
            model.state = "WAITING" if model.tries < queue.TRIES else "FAIL"
            model.charged = model.charged and model.state == "WAITING"

    @rule(claim=claims)
    def gives_back(self, claim: queue.Claim) -> None:
        """It was no try."""
        model, ours = self.models[claim.entry], self.ours(claim)
        assert queue.give_back(ENGINE, claim) == ours
        if ours:
            model.state, model.tries = "WAITING", model.tries - 1

    @rule()
    def judges_fall_silent(self) -> None:
        """All leases run out, and somebody looks."""
        mine = sa.update(Entry).where(Entry.competition_id == self.hosted.id)
        store.transact(ENGINE, lambda c: c.execute(mine.values(lease_until=0.0, warned=True)))
        queue._end_poisonous(ENGINE)
        store.transact(ENGINE, queue._reap)
        for model in self.models.values():
            if model.state == "RUNNING":
                model.state = "WAITING" if model.tries < queue.TRIES else "FAIL"
                model.charged = model.charged and model.state == "WAITING"

    @rule(entry=entries)
    def is_judged_again(self, entry: int) -> None:
        """The organiser puts an entry that has ended back."""
        model = self.models[entry]
        if model.state in ("COMPLETE", "FAIL"):
            queue.requeue(ENGINE, entry)
            model.state, model.tries = "WAITING", 0

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        """States, tries, quota and verdicts."""
        if not hasattr(self, "hosted"):
            return
        mine = Entry.competition_id == self.hosted.id
        columns = sa.select(Entry.id, Entry.state, Entry.tries, Entry.charged, Entry.placed).where(mine)
        counted = sa.select(Judgement.entry_id, sa.func.count()).join(Judgement.entry).where(mine)
        with ENGINE.begin() as connection:
            rows = connection.execute(columns).all()
            verdicts = dict(tuple(r) for r in connection.execute(counted.group_by(Judgement.entry_id)).all())
        found = {n: (state, tries, charged, verdicts.get(n, 0)) for n, state, tries, charged, _ in rows}
        assert found == {n: (m.state, m.tries, m.charged, m.verdicts) for n, m in self.models.items()}
        assert sum(placed for *_, placed in rows) <= 1
        left = quota.left(ENGINE, self.team.id, self.hosted.id)
        assert left == max(0, CAP - sum(m.charged for m in self.models.values()))

    def teardown(self) -> None:
        """From wherever it stands, every entry finds its end: no state is without a way out."""
        if not hasattr(self, "hosted"):
            return
        self.judges_fall_silent()
        while claim := queue.claim(ENGINE, "last", LEASE_S, self.hosted.id):
            assert queue.finish(ENGINE, claim, verdict("x", 0.5))
        ended = queue.counts(ENGINE, self.hosted.id)
        assert ended["WAITING"] + ended["RUNNING"] == 0
        assert audit.audit(ENGINE).wrong == []


Life.TestCase.settings = settings(max_examples=12, stateful_step_count=25)
TestLife = Life.TestCase
