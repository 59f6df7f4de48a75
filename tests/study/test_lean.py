"""What our storage writes reads, through Optuna, as what Optuna's own storage writes."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness import database
from harness.study import storage
from harness.study.lean import Lean

RANGES = {
    "lr": FloatDistribution(1e-5, 1.0, log=True),
    "width": IntDistribution(8, 64, step=8),
    "block": CategoricalDistribution(("conv", None, 3, True)),
}
VALUES = {"lr": (1e-5, 0.3), "width": (8, 64), "block": ("conv", None, 3, True)}
NUMBERS = (0.0, -1.5, 1e300, 5e-324, math.inf, -math.inf)
Storage = Lean | RDBStorage


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Lean, RDBStorage]]:
    """Our storage and Optuna's, each with a study of its own in one new database."""
    lite = f"sqlite:///{tmp_path}/x.db"
    url = lite if request.param == "sqlite" else request.getfixturevalue(f"{request.param}_url")
    ours = storage.opened(url)
    theirs = RDBStorage(database.address(url).render_as_string(hide_password=False))
    database.careful(theirs.engine)
    for name, one in (("ours", ours), ("theirs", theirs)):
        one.create_new_study([StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE], name)
    yield ours, theirs
    ours.engine.dispose()
    theirs.engine.dispose()


def studies(both: tuple[Lean, RDBStorage]) -> tuple[int, int]:
    """The ids of the two studies."""
    return tuple(one.get_study_id_from_name(name) for one, name in zip(both, ("ours", "theirs"), strict=True))


def plain(trial: FrozenTrial) -> dict[str, Any]:
    """All of a trial but its id and the moments; that it has a moment is part of it."""
    fields = ("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs")
    begun, ended = trial.datetime_start is not None, trial.datetime_complete is not None
    reports = {step: repr(value) for step, value in trial.intermediate_values.items()}  # NaN is not equal to itself
    return {name: getattr(trial, name) for name in fields} | {"reports": reports, "begun": begun, "ended": ended}


def outcome(one: Storage, ids: list[int], act: Callable[[Storage, list[int]], Any], joined: bool) -> str:
    """The kind of error that a call raises."""
    try:
        with one.transaction() if joined and isinstance(one, Lean) else contextlib.nullcontext():
            act(one, ids)
    except (optuna.exceptions.UpdateFinishedTrialError, ValueError, KeyError) as e:
        return type(e).__name__
    return "done"


def calls(draw: random.Random, trials: int) -> Iterator[Callable[[Storage, list[int]], Any]]:
    """Yield random calls on trials that may be running or ended; the same for each storage."""
    for _ in range(120):
        at, kind = draw.randrange(trials), draw.choice(["param", "attr", "report", "end"])
        if kind == "param":
            name = draw.choice([*RANGES])
            inner = RANGES[name].to_internal_repr(draw.choice(VALUES[name]))
            wrong = draw.random() < 0.3  # another range under the same name
            given = CategoricalDistribution((1, 2)) if wrong else RANGES[name]
            yield lambda s, ids, at=at, n=name, v=inner, d=given: s.set_trial_param(ids[at], n, v, d)
        elif kind == "attr":
            value = draw.choice([None, 1, "tränen 'x' %", {"a": [1, {"b": None}]}, [0.1]])
            key = draw.choice(["a", "b"])
            yield lambda s, ids, at=at, k=key, v=value: s.set_trial_user_attr(ids[at], k, v)
        elif kind == "report":
            value, step = draw.choice([*NUMBERS, math.nan]), draw.randrange(3)
            yield lambda s, ids, at=at, v=value, n=step: s.set_trial_intermediate_value(ids[at], n, v)
        elif draw.random() < 0.2:
            state = draw.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
            values = [draw.choice(NUMBERS), 1.0] if state == TrialState.COMPLETE else None
            yield lambda s, ids, at=at, t=state, v=values: s.set_trial_state_values(ids[at], t, v)


TEMPLATES = [
    None,
    create_trial(state=TrialState.RUNNING, user_attrs={"worker": "w"}),
    create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": {"lr": 0.1}}),
    create_trial(
        state=TrialState.RUNNING,
        params={"lr": 0.3},
        distributions={"lr": RANGES["lr"]},
        intermediate_values={0: 0.5},
        user_attrs={"retry_of": 1},
    ),
    create_trial(values=[1.0, math.inf], params={"width": 16}, distributions={"width": RANGES["width"]}),
    create_trial(state=TrialState.PRUNED, intermediate_values={1: math.nan}),
]


@pytest.mark.parametrize("joined", [False, True])
def test_random_writes_read_alike(both: tuple[Lean, RDBStorage], joined: bool) -> None:
    """One by one, and joined in transactions; errors are of the same kind, too."""
    for seed in range(4):
        acts, seen = list(calls(random.Random(seed), len(TEMPLATES))), []
        for one, study in zip(both, studies(both), strict=True):
            ids = [one.create_new_trial(study, template) for template in TEMPLATES]
            said = [outcome(one, ids, act, joined) for act in acts]
            seen.append((said, [plain(t) for t in one.get_all_trials(study)[-len(ids) :]]))
        ours, theirs = seen
        # pytest's picture of how two deep lists differ takes minutes
        differ = [f"{a}\n{b}" for a, b in zip(ours[1], theirs[1], strict=True) if a != b]
        assert not differ, "\n".join(differ)
        assert ours[0] == theirs[0]
        assert {"done", "UpdateFinishedTrialError", "ValueError"} <= {*ours[0]}


def test_the_comparison_notices_a_write_that_is_lost(
    both: tuple[Lean, RDBStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: a storage that forgets reports."""
    monkeypatch.setattr(both[0], "set_trial_intermediate_value", lambda *_: None)
    with pytest.raises(AssertionError):
        test_random_writes_read_alike(both, False)


def test_a_running_trial_can_be_read_by_both(both: tuple[Lean, RDBStorage]) -> None:
    """Times are in UTC in the table, local in the trial: what one writes the other reads within a second."""
    ours, theirs = both
    study = studies(both)[0]
    mine, other = ours.create_new_trial(study), theirs.create_new_trial(study)
    ours.set_trial_state_values(mine, TrialState.COMPLETE, [1.0, 2.0])
    theirs.set_trial_state_values(other, TrialState.COMPLETE, [1.0, 2.0])
    first, second = theirs.get_trial(mine), ours.get_trial(other)
    assert (first.number, second.number) == (0, 1)
    for moment in ("datetime_start", "datetime_complete"):
        assert abs((getattr(first, moment) - getattr(second, moment)).total_seconds()) < 5


def test_an_error_undoes_a_transaction_and_what_was_made_in_it(both: tuple[Lean, RDBStorage]) -> None:
    """The next trial may get the same id; nothing of the first is remembered."""
    ours, study = both[0], studies(both)[0]
    with pytest.raises(RuntimeError), ours.transaction():
        ours.create_new_trial(study, create_trial(state=TrialState.RUNNING, user_attrs={"ghost": 1}))
        raise RuntimeError
    assert ours.get_all_trials(study) == []
    real = ours.create_new_trial(study)
    assert ours.get_trial(real).user_attrs == {} and ours.get_trial(real).number == 0


def test_few_statements_are_made(both: tuple[Lean, RDBStorage]) -> None:
    """A trial of 4 parameters, 3 attributes and a report: two thirds of Optuna's statements, and one transaction."""
    counted, begun = [], []
    for one, name in zip(both, ("ours", "theirs"), strict=True):
        study = optuna.load_study(study_name=name, storage=one)
        statements: list[str] = []
        starts: list[int] = []
        sa.event.listen(one.engine, "before_cursor_execute", lambda *a, s=statements: s.append(a[2]))
        sa.event.listen(one.engine, "begin", lambda _, s=starts: s.append(1))

        def trial(study: optuna.Study = study) -> None:
            t = study.ask()
            for i in range(4):
                t.suggest_float(f"x{i}", 0, 1)
            for i in range(3):
                t.set_user_attr(f"a{i}", i)
            t.storage.set_trial_intermediate_value(t._trial_id, 0, 1.0)
            t.storage.set_trial_state_values(t._trial_id, TrialState.COMPLETE, [1.0, 2.0])

        for _ in range(2):  # the second knows the parameters' ranges
            statements.clear(), starts.clear()
            with one.transaction() if isinstance(one, Lean) else contextlib.nullcontext():
                trial()
        counted.append(len([s for s in statements if not s.startswith(("BEGIN", "SELECT 1"))]))
        begun.append(len(starts))
    assert counted[0] <= 2 / 3 * counted[1], counted
    assert begun[0] == 1 and begun[1] > 10, begun


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_two_trials_never_get_one_number(kind: str, request: pytest.FixtureRequest) -> None:
    """Though a transaction had looked at the database before another created a trial: it had waited for its lock."""
    url = request.getfixturevalue(f"{kind}_url")
    one, other = storage.opened(url), storage.opened(url)
    study = one.create_new_study([StudyDirection.MINIMIZE], "s")
    with one.transaction() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM trials")) == 0
        other.create_new_trial(study)
        mine = one.create_new_trial(study)
    assert sorted(t.number for t in other.get_all_trials(study)) == [0, 1]
    assert other.get_trial(mine).number == 1
    for opened in (one, other):
        opened.engine.dispose()
