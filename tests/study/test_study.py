"""A study is joined by those who mean the same one, and tells nobody the password."""

from __future__ import annotations

import json
import math
import sqlite3
import traceback
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from harness.data.digits import DigitsOptions
from harness.data.digits import load as load_digits
from harness.data.folder import FolderOptions
from harness.errors import HarnessError
from harness.launch import start
from harness.launch.launcher import Launch
from harness.record.candidate import Candidate
from harness.record.run_folder import write_candidate
from harness.rules.competition import Competition
from harness.search.front import front
from harness.search.gate import Gate
from harness.search.proxy import Proxy, subset
from harness.study import worker_process
from harness.study.best import chosen
from harness.study.definition import SHARED_SETTINGS, Definition
from harness.study.pending_results import Outcome
from harness.study.pending_results import write as write_outcome
from harness.study.status import look
from harness.study.study import Shared, Study, differences, finished, join, load
from harness.study.worker_process import Job
from harness.train.precision import Precision

DEFINITION = Definition(
    data={"name": "digits", "options": {"seed": 0}, "fingerprint": "f" * 64},
    space={"name": "mine", "resolution_px": {"choice": [8, 16]}, "model": {"stages": [{"block": "conv"}]}},
    proxy={"name": "tiny", "epochs": 3, "fix": {}},
    competition={"formula": "boostcamp2021b", "reference": {"classes": 10}},
    gate={"max_macs": 0, "max_parameters": 0, "max_latency_ms": 0.0},
)
SPACE = {
    "resolution_px": 8,
    "model": {"stages": [{"block": "conv", "channels": {"int": [8, 16]}, "stride": 2}]},
    "augment": {"n": 0, "m": 0, "flip": False, "crop": 0.0},
    "recipe": {"batch": 32, "optimizer": {"name": "adamw", "lr": 0.01}},
}
COMPETITION = Competition(
    reference={"model": {"stages": [{"block": "conv", "channels": 8}]}, "resolution_px": 8, "classes": 10}
)

CANDIDATE = Candidate.from_dict({"model": {"stages": [{"block": "conv", "channels": 8}]}, "resolution_px": 8})


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database that isn't there yet, in a folder that isn't either."""
    return f"sqlite:///{tmp_path}/new/x.db"


def joined(url: str, definition: Definition | None = DEFINITION, **settings: Any) -> Shared:
    """Create or join the study `ours`."""
    return join(Study(name="ours", **settings), definition, url, seed=1)


def job(url: str) -> Job:
    """What a worker on this machine is given."""
    return Job(study=Study(), url=url, here={}, device="cpu", track="disabled", runs=Path("runs"), threads=1)


def told(study: optuna.Study, *values: float | tuple[float, float]) -> optuna.Study:
    """Add a finished trial for each value."""
    for value in values:
        study.tell(study.ask(), value)
    return study


CHANGES = [
    (
        {"data": DEFINITION.data | {"fingerprint": "0" * 64}},
        f"data.fingerprint: {'f' * 57}... in the study, {'0' * 57}",
    ),
    ({"data": DEFINITION.data | {"options": {"seed": 3}}}, "data.seed: 0 in the study, 3 here"),
    (
        {"space": DEFINITION.space | {"resolution_px": {"choice": [8]}}},
        r"space.resolution_px.choice: \[8, 16\] in the ",
    ),
    (
        {"space": DEFINITION.space | {"model": {"stages": [{"block": "fire"}]}}},
        "space.model.stages.0.block: conv in the",
    ),
    ({"proxy": DEFINITION.proxy | {"epochs": 4}}, "proxy.epochs: 3 in the study, 4 here"),
    ({"proxy": DEFINITION.proxy | {"fix": {"augment.n": 2}}}, "proxy.fix.augment.n: nothing in the study, 2 here"),
    (
        {"competition": {"formula": "boostcamp2021a"}},
        "competition.formula: boostcamp2021b in the study, boostcamp2021a",
    ),
    ({"gate": DEFINITION.gate | {"max_macs": 9}}, "gate.max_macs: 0 in the study, 9 here"),
    ({"latency_s": 4.0}, "latency_s: 1.5 in the study, 4.0 here"),
    ({"layout": "contiguous"}, "layout: auto in the study, contiguous here"),
    ({"dtype": "float32"}, "dtype: auto in the study, float32 here"),
]
SETTINGS = [
    ({"seed": 1}, "study.seed: 0 in the study, 1 here"),
    ({"sampler": "random"}, "study.sampler: tpe in the study, random here"),
    ({"pruner": "none"}, "study.pruner: median in the study, none here"),
    ({"duplicates": "reuse"}, "study.duplicates: replace in the study, reuse here"),
    ({"objective": "pareto"}, "study.objective: points in the study, pareto here"),
]


@pytest.mark.parametrize(("changes", "message"), CHANGES)
def test_another_definition_is_refused_with_both_values(url: str, changes: dict[str, Any], message: str) -> None:
    """The trials of two definitions can't be compared; the study itself stays what it was."""
    made = joined(url).definition
    with pytest.raises(HarnessError, match=f"study.name=ours: .*{message}.*\n.*another study.name"):
        joined(url, replace(DEFINITION, **changes))
    assert load("ours", url).definition == made


@pytest.mark.parametrize(("settings", "message"), SETTINGS)
def test_other_settings_of_the_study_are_refused_with_both_values(
    url: str, settings: dict[str, Any], message: str
) -> None:
    """A worker of another seed once saw other images and began with other weights than all the others."""
    joined(url)
    with pytest.raises(HarnessError, match=f"study.name=ours: {message}\n"):
        joined(url, **settings)


def test_the_tests_above_leave_no_part_of_a_definition_out() -> None:
    """Their own control: a part that is added must be refused, too."""
    assert {*DEFINITION.__dict__} == {part for changes, _ in CHANGES for part in changes} | {"study"}
    assert {*SHARED_SETTINGS} == {name for settings, _ in SETTINGS for name in settings}


def test_of_many_differences_some_are_listed(url: str) -> None:
    """The rest is counted."""
    joined(url)
    other = replace(DEFINITION, proxy={"name": "tiny"} | {f"p{i}": i for i in range(9)})
    with pytest.raises(HarnessError, match=r"study.name=ours: (proxy[^;]*; ){5}and 6 more\n"):
        joined(url, other)


def test_another_group_is_told_by_its_name_first(url: str) -> None:
    """Its parts come after that."""
    joined(url)
    other = replace(DEFINITION, proxy={"name": "full", "epochs": 60, "fix": {}})
    with pytest.raises(HarnessError, match="ours: proxy.name: tiny in the study, full here; proxy.epochs: 3 in the "):
        joined(url, other)


def test_names_of_a_space_and_a_proxy_are_no_difference(url: str) -> None:
    """They change no trial; nor does how much is to be run, by when, and with which leases."""
    first = joined(url)
    renamed = replace(DEFINITION, space=DEFINITION.space | {"name": "x"}, proxy=DEFINITION.proxy | {"name": "x"})
    second = joined(url, renamed, trials=99, lease_s=20.0, hours=1.0, trial_s=60.0)
    assert first.optuna._study_id == second.optuna._study_id


def test_a_worker_needs_no_more_than_the_name(url: str) -> None:
    """What its trials share it takes from the database; its own settings don't count."""
    made = replace(DEFINITION, gate={"max_macs": 5}, layout="contiguous", dtype="float32", latency_s=2.0)
    joined(url, made, seed=3, sampler="random", pruner="none", duplicates="reuse")
    found = joined(url, None, trials=7)
    assert found.definition == made.settled(Study(seed=3, sampler="random", pruner="none", duplicates="reuse"))
    settings = found.settings
    assert (settings.seed, settings.sampler, settings.duplicates, settings.trials) == (3, "random", "reuse", 7)
    assert isinstance(found.optuna.sampler, optuna.samplers.RandomSampler)
    assert found.settings.pruner == "none"


def test_a_worker_s_trials_are_those_of_the_study(url: str) -> None:
    """The same images to learn from and to be scored on, the same seed, gate and precision."""
    dataset = load_digits(DigitsOptions())
    proxy = Proxy(images=100, score_images=50, epochs=3)
    made = Definition.of(
        data_name="digits", data_options=DigitsOptions(), space={}, proxy=proxy, competition=Competition(),
        gate=Gate(max_macs=9), study=Study(seed=5), latency_s=2.0, layout="contiguous", dtype="float32",
    ).with_data(dataset)  # fmt: skip
    first = joined(url, made, seed=5, pruner="none")
    tasks = [job(url).task(s.definition, dataset) for s in (first, joined(url, None))]
    wanted = subset(dataset, proxy, 5)
    for task in tasks:
        assert (task.train.names, task.score.names) == (wanted[0].names, wanted[1].names)
        assert (task.seed, task.gate, task.latency_s, task.objective) == (5, Gate(max_macs=9), 2.0, "points")
        assert (task.precision, task.pruner) == (Precision("contiguous", "float32"), "none")
    other = load_digits(DigitsOptions(seed=1))
    with pytest.raises(HarnessError, match="data.fingerprint: [0-9a-f]{16} in the study, [0-9a-f]{16} here"):
        first.definition.with_data(other)


def test_where_the_data_lie_is_no_part_of_a_definition(tmp_path: Path) -> None:
    """A team mate's lie elsewhere; what reads them is given this machine's place."""
    options = FolderOptions(root="/anna/photos", seed=2)
    made = Definition.of(
        data_name="folder", data_options=options, space={}, proxy=Proxy(), competition=Competition(), gate=Gate(),
        study=Study(), latency_s=1.5, layout="auto", dtype="auto",
    )  # fmt: skip
    assert "anna" not in json.dumps(made.to_dict())
    assert made.reader({"root": "/bert", "annotations": "of another data set"}) == (
        "folder", FolderOptions(root="/bert", seed=2)
    )  # fmt: skip


def test_what_is_named_on_a_command_line_must_be_the_study_s(url: str) -> None:
    """A group names all that it holds; what nobody has named is the study's."""
    there = joined(url)
    mine = replace(DEFINITION, proxy=DEFINITION.proxy | {"epochs": 20}, latency_s=9.0, study=there.definition.study)

    def named(*settings: str) -> list[str]:
        return [str(d) for d in differences(there, mine) if d.is_named(settings)]

    assert named() == named("study.name", "proxy.images", "prox", "workers", "latency") == []
    assert named("proxy.epochs") == named("proxy") == ["proxy.epochs: 3 in the study, 20 here"]
    assert named("latency_s") == ["latency_s: 1.5 in the study, 9.0 here"]
    assert named("space") == []


def started(url: str, runs: Path, named: list[str], **settings: Any) -> Shared:
    """Run the digits' study as `tune.py` does, of which nothing is left to run."""
    definition = Definition.of(
        data_name="digits", data_options=DigitsOptions(), space=SPACE, proxy=Proxy(epochs=settings.pop("epochs", 3)),
        competition=COMPETITION, gate=Gate(), study=Study(**settings), latency_s=1.5, layout="auto", dtype="auto",
    )  # fmt: skip
    mine = Job(study=Study(name="ours", trials=1, **settings), url=url, here={}, device="cpu", track="disabled",
               runs=runs, threads=1)  # fmt: skip
    return start.run(mine, definition, Launch(), named)


def test_a_command_that_joins_by_name_takes_the_whole_budget_unless_it_says_another(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`started` would have one trial by itself, as `tune.py` has twenty. All slots are taken as finished."""
    made = Definition.of(
        data_name="digits", data_options=DigitsOptions(), space=SPACE, proxy=Proxy(epochs=3), competition=COMPETITION,
        gate=Gate(), study=Study(), latency_s=1.5, layout="auto", dtype="auto",
    ).with_data(load_digits(DigitsOptions()))  # fmt: skip
    first = join(Study(name="ours", trials=60), made, url, 0)
    with first.engine.begin() as connection:
        connection.execute(sa.text("UPDATE harness_slots SET state = 'done', ended = 0"))
    assert started(url, tmp_path, ["study.name"]).settings.trials == 60
    assert "all 60 trials are finished" in capsys.readouterr().out
    assert started(url, tmp_path, ["study.name", "study.trials"]).settings.trials == 1


def test_a_command_that_names_other_settings_is_refused_and_one_that_names_none_takes_the_study_s(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says so. The only slot is taken as finished, so that no worker is started."""
    made = Definition.of(
        data_name="digits", data_options=DigitsOptions(), space=SPACE, proxy=Proxy(epochs=10), competition=COMPETITION,
        gate=Gate(), study=Study(seed=4), latency_s=1.5, layout="auto", dtype="auto",
    ).with_data(load_digits(DigitsOptions()))  # fmt: skip
    first = join(Study(name="ours", trials=1, seed=4), made, url, 0)
    with first.engine.begin() as connection:
        connection.execute(sa.text("UPDATE harness_slots SET state = 'done', ended = 0"))
    with pytest.raises(HarnessError, match="study.name=ours: proxy.epochs: 10 in the study, 20 here\n"):
        started(url, tmp_path, ["study.name", "proxy.epochs"], epochs=20)
    with pytest.raises(HarnessError, match="study.name=ours: study.seed: 4 in the study, 0 here\n"):
        started(url, tmp_path, ["study.name", "study.seed"])
    shared = started(url, tmp_path, ["study.name", "workers"], epochs=20)
    assert (shared.settings.seed, shared.definition.proxy["epochs"]) == (4, 10)
    said = capsys.readouterr().out
    assert (
        "study ours keeps the settings it was made with: proxy.epochs: 10 in the study, 20 here; study.seed: 4" in said
    )


def test_a_folder_with_the_runs_of_another_study_of_the_name_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose database was removed, as a rule: trial 0 would go on from its trial 0's checkpoint, rungs and result."""
    gone = SimpleNamespace(ended=lambda: {"host-1": ""}, running=lambda: 0, stop=lambda: None)
    monkeypatch.setitem(start.LAUNCHERS, "local", lambda *_: gone)
    runs = tmp_path / "runs"
    started(url, runs, [])
    write_candidate(runs / "ours" / "00000", CANDIDATE)
    started(url, runs, [])  # the same study goes on
    started(f"{url}2", tmp_path / "elsewhere", [])
    with pytest.raises(HarnessError, match="study.name=ours: .*/ours holds the runs of another study of this name"):
        started(f"{url}2", runs, [])
    (runs / "ours" / "study.json").unlink()  # as an earlier version left it
    with pytest.raises(HarnessError, match="holds the runs of another study"):
        started(f"{url}2", runs, [])


def test_a_worker_on_another_machine_looks_at_its_own_folder(url: str, tmp_path: Path) -> None:
    """Nobody has looked at it before."""
    shared = joined(url)
    write_outcome(tmp_path / "ours" / "00000", Outcome("ours", 0, 1, 1, "COMPLETE", (0.1,), {}))
    mine = replace(job(url), study=Study(name="ours"), runs=tmp_path)
    with pytest.raises(HarnessError, match="holds the runs of another study"):
        worker_process._work(mine, 0)
    assert len(shared.optuna.trials) == 0


def test_a_study_whose_time_is_over_has_not_failed(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though not one of its trials went to its end: the same command goes on with them. No worker need come so far."""
    gone = SimpleNamespace(ended=lambda: {"host-1": ""}, running=lambda: 0, stop=lambda: None)
    monkeypatch.setitem(start.LAUNCHERS, "local", lambda *_: gone)
    monkeypatch.setattr(start, "_deadline", lambda _: 0.0)  # it passes while the workers start
    shared = started(url, tmp_path, [])
    assert "1 of 1 trials are left: the same command goes on with them" in capsys.readouterr().out
    with shared.engine.begin() as connection:
        connection.execute(sa.text("UPDATE harness_slots SET state = 'given_up'"))
    with pytest.raises(HarnessError, match="study digits: every trial failed"):
        start._refuse_all_failed(shared, job(url))


def test_a_study_and_its_definition_come_into_being_together(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who dies in between leaves nothing that others would stumble over; who comes second joins what is there."""
    real = optuna.Study.set_user_attr

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(optuna.Study, "set_user_attr", dies)
    with pytest.raises(KeyboardInterrupt):
        joined(url)
    monkeypatch.setattr(optuna.Study, "set_user_attr", real)
    with pytest.raises(HarnessError, match="there are: none"):
        load("ours", url)
    assert joined(url).definition == joined(url).definition


def test_a_study_of_an_earlier_version_is_read_and_not_joined(tmp_path: Path) -> None:
    """It kept neither seed nor gate. The file is one that the version before had made, with two finished trials."""
    url = f"sqlite:///{tmp_path}/x.db"
    with closing(sqlite3.connect(tmp_path / "x.db")) as old:
        old.executescript((Path(__file__).parent / "released" / "before_settings_were_shared.sql").read_text())
    shared = load("ours", url)
    assert (shared.definition.objective, shared.definition.data["name"]) == ("points", "digits")
    assert chosen(shared.optuna, "best").number == 0
    assert look(shared).trials == {"complete": 1, "pruned": 1} and look(shared).best is None
    with pytest.raises(HarnessError, match="trial 0: an earlier version .* recorded its result.*\n.*status"):
        front(finished(shared.optuna))
    for definition in (DEFINITION, None):
        with pytest.raises(HarnessError, match="study.name=ours: an earlier version .* made this study.*\n.*another"):
            joined(url, definition)
    with pytest.raises(HarnessError, match="study.name=ours: an earlier version"):
        started(url, tmp_path, [])


def test_a_definition_of_a_later_version_is_named(url: str) -> None:
    """One that has what this one knows nothing of."""
    shared = joined(url)
    shared.optuna.set_user_attr("definition", shared.definition.to_dict() | {"teacher": {}})
    for act in (lambda: load("ours", url), lambda: joined(url)):
        with pytest.raises(HarnessError, match="unknown settings: teacher\n.*later version"):
            act()


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
    optuna.create_study(study_name="theirs", storage=joined(url).optuna._storage)
    with pytest.raises(HarnessError, match="study=theirs: .*not made by `python tune.py`"):
        load("theirs", url)


def test_a_loaded_study_is_the_one_that_was_joined(url: str) -> None:
    """Definition, objective and trials."""
    shared = joined(url, objective="pareto")
    told(shared.optuna, (0.5, 0.9))
    found = load("ours", url)
    assert found.settings.objective == "pareto"
    assert [t.values for t in finished(found.optuna)] == [[0.5, 0.9]]


def test_the_direction_is_the_formulas(url: str) -> None:
    """The best stands first, whichever way the points go."""
    higher = replace(DEFINITION, competition={"formula": "f1_squared_fps"})
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
    study = told(joined(url, objective="pareto").optuna, (0.5, 1.0), (0.6, 2.0))
    with pytest.raises(HarnessError, match="trial=best: study ours has two objectives .*\n.*harness front"):
        chosen(study, "best")
    assert chosen(study, "1").values == [0.6, 2.0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trials": 0}, "study.trials=0: allowed: a whole number, 1 to 1,000,000"),
        ({"lease_s": 1}, "study.lease_s=1: allowed: a number, 5 to"),
        ({"name": "a/b"}, "study.name='a/b': allowed: .*without blanks"),
        ({"name": ""}, "study.name=''"),
        ({"name": ".."}, "study.name='..'"),
        ({"name": "a\nb"}, "study.name='a.nb'"),
        ({"name": "\u65e5" * 99}, "study.name=.*a folder's name"),
        ({"hours": math.nan}, "study.hours=nan: allowed: a number, 0 to 1,000,000"),
        ({"trial_s": math.inf}, "study.trial_s=inf"),
        ({"lease_s": math.nan}, "study.lease_s=nan"),
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
    seen += [repr(job(url)), json.dumps(shared.definition.to_dict())]
    for fails in (
        lambda: load("hours", url),
        lambda: joined(url, replace(DEFINITION, space={})),
        lambda: load("x", url + "xx"),
    ):
        with pytest.raises(HarnessError) as e:
            fails()
        seen.append("".join(traceback.format_exception(e.value, chain=True)))
    assert "ours" in seen[0]
    assert not [text for text in seen if secret in text]
