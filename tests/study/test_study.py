"""A study is joined by those who mean the same one, and tells nobody the password."""

from __future__ import annotations

import copy
import json
import traceback
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from harness.data.digits import DigitsOptions
from harness.errors import HarnessError
from harness.launch.start import Job
from harness.rules.competition import Competition
from harness.search.gate import Gate
from harness.search.proxy import Proxy
from harness.study.best import chosen
from harness.study.study import Definition, Shared, Study, finished, join, load

DEFINITION = Definition(
    data={"name": "digits", "options": {"root": "/here", "seed": 0}, "fingerprint": "f" * 64},
    space={"resolution_px": {"choice": [8, 16]}},
    proxy={"epochs": 3, "fix": {}},
    competition={"formula": "boostcamp2021b", "reference": {"classes": 10}},
    objective="points",
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database that isn't there yet, in a folder that isn't either."""
    return f"sqlite:///{tmp_path}/new/x.db"


def changed(part: str, value: Any) -> Definition:
    """The definition with another part."""
    return Definition(**(copy.deepcopy(DEFINITION.__dict__) | {part: value}))


def joined(url: str, definition: Definition = DEFINITION, **settings: Any) -> Shared:
    """Create or join the study `ours`."""
    return join(Study(name="ours", **settings), definition, url, seed=1)


def told(study: optuna.Study, *values: float | tuple[float, float]) -> optuna.Study:
    """Add a finished trial for each value."""
    for value in values:
        study.tell(study.ask(), value)
    return study


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("data", DEFINITION.data | {"fingerprint": "0" * 64}),
        ("data", DEFINITION.data | {"name": "cifar10"}),
        ("space", {"resolution_px": {"choice": [8, 12]}}),
        ("proxy", {"epochs": 4, "fix": {}}),
        ("competition", {"formula": "boostcamp2021a", "reference": {"classes": 10}}),
    ],
)
def test_another_definition_is_refused_by_the_name_of_what_differs(url: str, part: str, value: Any) -> None:
    """The trials of two definitions can't be compared; the study itself stays what it was."""
    joined(url)
    with pytest.raises(HarnessError, match=f"study.name=ours: this study has another {part}\n.*another study.name"):
        joined(url, changed(part, value))
    assert load("ours", url).definition == DEFINITION


def test_another_objective_is_refused(url: str) -> None:
    """One objective and two don't fit into one study; all that differs is named."""
    joined(url)
    pareto = Definition(**(changed("proxy", {"epochs": 9}).__dict__ | {"objective": "pareto"}))
    with pytest.raises(HarnessError, match="this study has another proxy and another objective"):
        joined(url, pareto, objective="pareto")


def test_the_same_data_at_another_path_are_the_same(url: str) -> None:
    """A team mate's data lie elsewhere; what they are is in the fingerprint."""
    first = joined(url)
    elsewhere = DEFINITION.data | {"options": {"root": "C:\\data", "seed": 0}}
    second = joined(url, changed("data", elsewhere))
    assert first.optuna._study_id == second.optuna._study_id


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_workers_of_other_seeds_suggest_other_things(url: str, sampler: str) -> None:
    """And equal seeds the same: what a worker suggests is up to its seed alone."""

    def suggested(name: str, seed: int) -> list[float]:
        shared = join(Study(name=name, sampler=sampler), DEFINITION, url, seed)
        return [shared.optuna.ask().suggest_float("x", 0, 1) for _ in range(3)]

    assert suggested("one", 1) == suggested("two", 1)
    assert not set(suggested("one", 1)) & set(suggested("two", 2))


def test_an_unknown_study_lists_those_there_are(url: str) -> None:
    """Or says that there is none."""
    with pytest.raises(HarnessError, match="study=ours: no such study in sqlite:///.*there are: none\n.*tune.py"):
        load("ours", url)
    joined(url)
    with pytest.raises(HarnessError, match="study=hours: no such study in sqlite:///.*there are: ours\n"):
        load("hours", url)


def test_a_study_of_another_program_is_no_crash(url: str) -> None:
    """It has no definition of ours."""
    joined(url)
    optuna.create_study(study_name="theirs", storage=load("ours", url).optuna._storage)
    with pytest.raises(HarnessError, match="study=theirs: .*not made by `python tune.py`"):
        load("theirs", url)


def test_a_loaded_study_is_the_one_that_was_joined(url: str) -> None:
    """Definition, objective and trials."""
    shared = joined(url, changed("objective", "pareto"), objective="pareto")
    told(shared.optuna, (0.5, 0.9))
    found = load("ours", url)
    assert found.settings.objective == "pareto"
    assert [t.values for t in finished(found.optuna)] == [[0.5, 0.9]]


def test_the_direction_is_the_formulas(url: str) -> None:
    """The best stands first, whichever way the points go."""
    higher = changed("competition", {"formula": "f1_squared_fps"})
    for name, definition, best in (("low", DEFINITION, 1), ("high", higher, 3)):
        shared = join(Study(name=name), definition, url, 1)
        told(shared.optuna, 2, 1, 3)
        assert finished(shared.optuna)[0].value == best
        assert chosen(shared.optuna, "best").value == best


def test_a_trial_is_chosen_by_number(url: str) -> None:
    """Only among the finished ones, which the error lists in order."""
    study = told(joined(url).optuna, *range(12))
    study.tell(study.ask(), state=TrialState.PRUNED)
    study.ask()
    assert chosen(study, "11").number == 11
    listed = ", ".join(map(str, range(12)))
    for which in ("12", "13", "999", "last", "-1"):
        with pytest.raises(HarnessError, match=f"trial={which}: not a finished trial of ours; finished: {listed}\n"):
            chosen(study, which)


def test_nothing_is_chosen_where_nothing_has_finished(url: str) -> None:
    """The error says what to run."""
    for which in ("best", "0"):
        with pytest.raises(HarnessError, match="study=ours: no finished trial yet\n.*python tune.py"):
            chosen(joined(url).optuna, which)


def test_two_objectives_have_no_best(url: str) -> None:
    """A number is asked for instead."""
    study = told(joined(url, changed("objective", "pareto"), objective="pareto").optuna, (0.5, 1.0), (0.6, 2.0))
    with pytest.raises(HarnessError, match="trial=best: study ours has two objectives .*\n.*harness front"):
        chosen(study, "best")
    assert chosen(study, "1").values == [0.6, 2.0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trials": 0}, "study.trials=0: allowed: 1 or more"),
        ({"lease_s": 1}, "study.lease_s=1: allowed: 5 or more"),
        ({"name": "a/b"}, "study.name='a/b': allowed: .*without blanks"),
        ({"name": ""}, "study.name=''"),
        ({"sampler": "tbe"}, "study.sampler: .*tpe"),
        ({"pruner": "medium"}, "study.pruner: .*median"),
        ({"pruner": "halving"}, "study.pruner: .*halving.*allowed: median, none"),
        ({"objective": "f2"}, "study.objective: .*allowed: f1, pareto, points"),
    ],
)
def test_a_wrong_setting_names_itself(wrong: dict[str, Any], message: str) -> None:
    """Before anything is opened."""
    with pytest.raises(HarnessError, match=message):
        Study(**wrong)


def stored(engine: sa.Engine) -> str:
    """All that the database holds."""
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        return repr([[tuple(row) for row in connection.execute(sa.select(t))] for t in tables.tables.values()])


def test_the_password_is_shown_and_stored_nowhere(postgres_url: str) -> None:
    """In no table, no message, no repr of what workers are given. The server takes any password."""
    secret = "hush-7231"
    url = sa.make_url(postgres_url).set(password=secret).render_as_string(hide_password=False)
    assert secret in url
    shared = joined(url)
    shared.optuna.tell(shared.optuna.ask(), 1.0)
    seen = [stored(shared.engine), repr(shared), repr(load("ours", url)), repr(shared.engine)]
    options = (
        DigitsOptions(),
        {},
        Proxy(),
        Competition(),
        Gate(),
        Study(),
        url,
        1.0,
        "cpu",
        None,
        "disabled",
        Path("runs"),
        1,
    )
    seen += [repr(Job("digits", *options)), json.dumps(shared.definition.__dict__)]
    for fails in (lambda: load("hours", url), lambda: joined(url, changed("space", {})), lambda: load("x", url + "xx")):
        with pytest.raises(HarnessError) as e:
            fails()
        seen.append("".join(traceback.format_exception(e.value, chain=True)))
    assert "ours" in seen[0]
    assert not [text for text in seen if secret in text]
