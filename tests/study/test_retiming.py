"""The best few are timed again, in other minutes: their order separates, whoever times them and whoever dies of it.

Networks, files and databases are real; what the clock shows is made up, and minutes pass by SQL.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cheap
import numpy as np
import optuna
import pytest
import sqlalchemy as sa
from squares import save_network

from harness.data.digits import DigitsOptions
from harness.data.digits import load as load_digits
from harness.data.prepare import Preprocessing
from harness.errors import HarnessError
from harness.measure import cache, process
from harness.measure.cost import cost as cost_of
from harness.measure.latency import Latency
from harness.record import run_folder
from harness.record.result import Result
from harness.rules.competition import Competition
from harness.rules.formulas import scored
from harness.rules.reference import reference_model
from harness.search.attributes import result_of
from harness.search.gate import Gate
from harness.search.proxy import Proxy
from harness.study import ledger, pooled, retiming, slots, status, timings, worker_process
from harness.study.best import chosen
from harness.study.definition import Definition
from harness.study.slots import SLOTS
from harness.study.study import Shared, Study, finished, join, load
from harness.study.timings import TIMINGS
from harness.study.worker import work
from harness.study.worker_process import Job

COMPETITION = Competition(
    reference={"model": {"stages": [{"block": "conv", "channels": 8}]}, "resolution_px": 8, "classes": 3}
)
DEFINITION = replace(cheap.DEFINITION, competition=COMPETITION.rules(), latency_s=1.5)
TRUE_MS = {8: 1.0, 9: 1.03, 10: 1.06, 11: 1.5}
"""What networks take in truth, by the side of their images; the reference takes 1 ms."""
FIRST = {8: 1.012, 9: 0.975, 10: 0.99, 11: 1.0}
"""How their first measurements are off: the second network looks the fastest."""
SPREAD = 0.01  # standard deviation of whole measurements
HOUR_S = 3600.0


class Clock:
    """What stands in for `process.measure`: each measurement is off by a neighbour of its minute, and says so.

    took_s: what one lasts. at_work: is called while one goes on.
    """

    def __init__(self, seed: int = 0) -> None:
        self.draw = np.random.default_rng(seed)
        self.timed: list[int] = []
        self.at_work: Callable[[Path], object] = lambda model: None
        self.took_s, self.now_s = 1.5, 0.0

    def __call__(
        self,
        model: Path,
        reference: Path,
        threads: int,
        seconds: float,
        runtime: str,
        patience_s: float,
        size: None = None,
    ) -> Latency:
        side = side_of(model)
        off = self.draw.normal(1, SPREAD) if side in self.timed else FIRST[side]
        self.timed.append(side)
        self.now_s += self.took_s
        self.at_work(model)
        return measured(TRUE_MS[side] * off, self.draw)

    def monotonic(self) -> float:
        """In place of the real one."""
        return self.now_s


def side_of(model: Path) -> int:
    """The side of a network's images."""
    return int(json.loads((model.parent / "side.json").read_text()))


def measured(ms: float, draw: np.random.Generator) -> Latency:
    """A measurement of six processes that hardly differ, which knows how far minutes are apart."""
    processes = [[[[v] * 6, [v] * 6, [1.0] * 6, [1.0] * 6]] for v in ms * np.exp(draw.normal(0, 0.001, 6))]
    return Latency.of(processes, machine={"cpu": "x"}, seen={"wall_s": 1.5}, apart=SPREAD)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of this process."""
    made = Clock()
    monkeypatch.setattr(process, "measure", made)
    return made


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the reference network."""
    folder = tmp_path_factory.mktemp("reference")
    reference_model(COMPETITION.reference, folder)
    return folder


@pytest.fixture
def kept(references: Path, tmp_path: Path) -> Path:
    """A folder of its own for what a machine keeps."""
    folder = tmp_path / "reference"
    folder.mkdir()
    for file in references.iterdir():
        os.link(file, folder / file.name)
    return folder


def opened(url: str, definition: Definition = DEFINITION, trials: int = 4, **more: str) -> Shared:
    """Join the study."""
    return join(Study(name="cheap", trials=trials, sampler="random", pruner="none", **more), definition, url, seed=0)


def at(folder: Path) -> Callable[[int], Path]:
    """Where the run folders are."""
    return lambda number: folder / "cheap" / f"{number:05d}"


def networks(shared: Shared, folder: Path, sides: list[int], f1: float = 0.8) -> None:
    """Run a trial for each network, which takes a quarter of an hour; it is timed as any trial's is."""
    kept, place = folder / "reference", at(folder)
    rules = shared.definition.rules()

    def run(trial: optuna.Trial, earlier: int | None) -> Result:
        trial.suggest_float("x", 0, 1)
        place(trial.number).mkdir(parents=True)
        side, model = sides[trial.number % len(sides)], place(trial.number) / "model.onnx"
        (model.parent / "side.json").write_text(str(side))
        save_network(model, side)
        timing = cache.timed(kept, model, reference_model(rules.reference, kept), rules, shared.definition.latency_s)
        cost = cost_of(1, 1, timing.runtime, timing.latency, timing.name)
        result = Result(cost, f1, None, scored(rules, cost, f1))
        run_folder.write_latency(model.parent, timing.runtime, timing.latency.to_dict())
        run_folder.write_result(model.parent, result, Preprocessing(8, (0.5,) * 3, (0.2,) * 3), {"torch": "2"})
        return result

    work(shared, run, place)
    worked(shared, 900.0)


def worked(shared: Shared, seconds: float) -> None:
    """Let each finished trial have taken so long."""
    with shared.engine.begin() as connection:
        done = SLOTS.c.state == "done"
        connection.execute(sa.update(SLOTS).where(done).values(begun=SLOTS.c.ended - seconds))


def later(shared: Shared, seconds: float = HOUR_S) -> None:
    """Let time pass: since the last measurements, and of the leases."""
    with shared.engine.begin() as connection:
        connection.execute(sa.update(TIMINGS).values(timed=TIMINGS.c.timed - seconds, until=TIMINGS.c.until - seconds))


def again(shared: Shared, folder: Path, owner: str = "me/1") -> bool:
    """A worker's moment between two trials."""
    return retiming.again(shared, owner, at(folder), folder / "reference")


def rounds(shared: Shared, folder: Path, count: int) -> list[int]:
    """Let a worker have so many moments, an hour apart; return who was the best after each."""
    best = []
    for _ in range(count):
        again(shared, folder)
        later(shared)
        best.append(finished(shared.optuna)[0].number)
    return best


def sessions(shared: Shared) -> list[int]:
    """How often each trial was timed, by number."""
    return [result_of(t).cost.sessions for t in sorted(finished(shared.optuna), key=lambda t: t.number)]


def test_the_order_at_the_top_separates_as_time_goes_by(url: str, tmp_path: Path, kept: Path, clock: Clock) -> None:
    """The second network looked the best by a fast minute; pooled, the three are in their order, and apart.

    The one at the bottom is timed once. What all see is the same: values, files, tables.
    """
    shared = opened(url)
    networks(shared, tmp_path, [8, 9, 10, 11])
    assert [t.number for t in finished(shared.optuna)] == [1, 0, 2, 3]
    assert not again(shared, tmp_path)  # it has just been timed: other minutes are to come
    later(shared)
    best = rounds(shared, tmp_path, 21)
    assert best[-10:] == [0] * 10 and sessions(shared)[3] == 1
    order = finished(shared.optuna)
    assert [t.number for t in order] == [0, 1, 2, 3]
    first, second = (result_of(t).cost for t in order[:2])
    assert first.ratio_high < second.ratio_low and first.sessions > 3
    assert chosen(shared.optuna, "best").number == shared.known()[0].number == 0
    assert shared.known()[0].result == result_of(order[0])
    told = status.look(shared)
    assert told.best["trial"] == 0 and told.best["sessions"] == first.sessions and told.timed_again == 3
    for trial in order:
        assert trial.value == result_of(trial).points == scored(COMPETITION, result_of(trial).cost, 0.8)
        assert run_folder.read_result(at(tmp_path)(trial.number)) == result_of(trial)
        latency = Latency.from_dict(json.loads((at(tmp_path)(trial.number) / "latency.json").read_text()))
        assert len(latency.sessions) == result_of(trial).cost.sessions
        assert latency.ratio == pytest.approx(result_of(trial).cost.ratio)


def changes(best: list[int]) -> int:
    """How often the best has changed."""
    return sum(a != b for a, b in zip(best, best[1:], strict=False))


@pytest.mark.parametrize("pools", [True, False])
def test_the_order_does_not_flip_on_noise(
    lite: str, tmp_path: Path, kept: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, pools: bool
) -> None:
    """Two networks 1 % apart, less than a minute's noise. The control: a study that goes by the last measurement."""
    monkeypatch.setitem(TRUE_MS, 9, 1.01)
    monkeypatch.setattr("harness.study.contenders.SESSIONS", 1000)
    if not pools:
        monkeypatch.setattr(retiming, "_pooled", lambda here, session: replace(here.timing, latency=session))
        monkeypatch.setattr(retiming, "cost_of", lambda *a: replace(cost_of(*a), sessions=len(clock.timed)))
    shared = opened(lite, trials=2)
    networks(shared, tmp_path, [8, 9])
    again(shared, tmp_path)
    later(shared)
    flips = changes(rounds(shared, tmp_path, 24))
    assert flips <= 2 if pools else flips > 4


def test_without_timing_again_the_order_stays_wrong(lite: str, tmp_path: Path, kept: Path, clock: Clock) -> None:
    """The control: a study that spends nothing on it."""
    shared = opened(lite)
    networks(shared, tmp_path, [8, 9, 10, 11])
    worked(shared, 1.0)
    later(shared)
    assert rounds(shared, tmp_path, 12)[-1] == 1 and sessions(shared) == [1, 1, 1, 1]


def test_two_workers_time_two_networks(url: str, tmp_path: Path, kept: Path, clock: Clock) -> None:
    """While one is at it, another that looks takes the next one, and a fourth finds none."""
    shared, others = opened(url), [opened(url) for _ in range(3)]
    networks(shared, tmp_path, [8, 9, 10, 11])
    assert not again(shared, tmp_path)
    later(shared)
    clock.timed.clear()
    clock.timed += [8, 9, 10]

    def look(model: Path) -> None:
        if others:
            again(others.pop(), tmp_path, f"other-{len(others)}/1")

    clock.at_work = look
    assert again(shared, tmp_path)
    assert sorted(clock.timed[3:]) == [8, 9, 10]
    assert sessions(shared) == [2, 2, 2, 1]


def test_the_check_notices_workers_that_do_not_claim(
    lite: str, tmp_path: Path, kept: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above: claims that keep nobody out."""
    real = timings._open
    monkeypatch.setattr(timings, "_open", lambda c, study, names: (TIMINGS.c.study == study) | real(c, study, names))
    monkeypatch.setattr(timings.lease, "first", lambda c, leases, query: c.execute(query).mappings().first())
    with pytest.raises(AssertionError):
        test_two_workers_time_two_networks(lite, tmp_path, kept, clock)


def victim(url: str, folder: Path, dies_at: str) -> None:
    """Be a worker that is killed in the middle of a measurement, or after the files are written."""
    clock = Clock()
    clock.timed += list(TRUE_MS)
    process.measure = clock
    kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
    if dies_at == "measuring":
        clock.at_work = kill
    else:
        pooled.note = kill
    again(opened(url), folder, f"{cheap.worker.name_of_worker()}/1")


@pytest.mark.parametrize("dies_at", ["measuring", "recording"])
def test_a_killed_worker_loses_nothing(url: str, tmp_path: Path, kept: Path, clock: Clock, dies_at: str) -> None:
    """Its claim runs out, or ends when its death is known; another does it again, and pools what the files hold."""
    shared = opened(url)
    networks(shared, tmp_path, [8, 9, 10, 11])
    again(shared, tmp_path)
    later(shared)
    before = [result_of(t) for t in finished(shared.optuna)]
    killed = cheap.CONTEXT.Process(target=victim, args=(url, tmp_path, dies_at))
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    assert [result_of(t) for t in finished(shared.optuna)] == before
    with shared.engine.begin() as connection:
        (row,) = connection.execute(sa.select(TIMINGS).where(TIMINGS.c.state == "leased")).mappings()
        assert timings.due(connection, "cheap", [row["timing"]]) == []
    ledger.died(shared, f"{cheap.worker.name_of_worker(killed.pid)}", "its worker was killed by signal 9")
    (its,) = {t.number for t in finished(shared.optuna) if result_of(t).cost.timing == row["timing"]}
    assert again(shared, tmp_path)
    assert sessions(shared)[its] == (2 if dies_at == "measuring" else 3)


def test_whoever_lost_its_claim_drops_its_measurement(lite: str, tmp_path: Path, kept: Path, clock: Clock) -> None:
    """It was only stopped, and wakes when another has timed the network: neither files nor database change by it."""
    shared, other = opened(lite, trials=2), opened(lite, trials=2)
    networks(shared, tmp_path, [8, 9])
    again(shared, tmp_path)
    later(shared)
    seen: list[bool] = []

    def sleep_long(model: Path) -> None:
        clock.at_work = lambda model: None
        with shared.engine.begin() as connection:
            connection.execute(sa.update(TIMINGS).values(lease_s=0.0))
        later(shared)
        seen.extend(again(other, tmp_path, "other/1") for _ in range(2))

    clock.at_work = sleep_long
    assert not again(shared, tmp_path)
    assert seen == [True, True] and sessions(shared) == [2, 2]
    kept_sessions = [len(cache.read(file).latency.sessions) for file in kept.glob("latency-*")]
    assert kept_sessions == [2, 2]


def test_not_the_same_network_twice_within_minutes(lite: str, tmp_path: Path, kept: Path, clock: Clock) -> None:
    """Though nothing else is to be done."""
    shared = opened(lite, trials=2)
    networks(shared, tmp_path, [8, 9])
    for passed_s, timed in ((0, 0), (100, 0), (30, 2), (60, 0), (100, 2)):
        again(shared, tmp_path) if not passed_s else later(shared, passed_s)
        before = sum(sessions(shared))
        while again(shared, tmp_path):
            pass
        assert sum(sessions(shared)) - before == timed, passed_s


def test_a_study_spends_little_on_it(
    lite: str, tmp_path: Path, kept: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most 2 % of what its trials took and a measurement more, though each takes four times what it is to take."""
    monkeypatch.setattr(retiming, "time", clock)
    monkeypatch.setattr("harness.study.contenders.SESSIONS", 1000)
    clock.took_s = 6.0
    shared = opened(lite, trials=40)
    networks(shared, tmp_path, [8, 9, 10, 11])
    spent = []
    for trial_s in (1, 20, 90):
        worked(shared, trial_s)
        rounds(shared, tmp_path, 14)
        spent.append((clock.timed.count(8) + clock.timed.count(9) + clock.timed.count(10) - 3) * clock.took_s)
        assert spent[-1] <= 0.02 * 40 * trial_s + clock.took_s
    assert spent[0] == 0 and spent[-1] > 0.01 * 40 * 90
    with shared.engine.begin() as connection:
        left = timings.left_s(connection, "cheap")
    assert left == pytest.approx(0.02 * 40 * 90 - spent[-1], abs=0.01)


def test_a_measurement_that_fails_harms_nobody(lite: str, tmp_path: Path, kept: Path, clock: Clock) -> None:
    """Too noisy now: it is said, paid for, and tried in another minute."""
    shared = opened(lite)
    networks(shared, tmp_path, [8, 9])
    again(shared, tmp_path)
    later(shared)
    assert len(clock.timed) == 2

    def refuse(model: Path) -> None:
        raise HarnessError("the machine is too noisy", "stop other programs")

    clock.at_work = refuse
    assert not again(shared, tmp_path) and not again(shared, tmp_path)
    clock.at_work = lambda model: None
    assert not again(shared, tmp_path) and sessions(shared) == [1, 1, 1, 1]
    assert len(clock.timed) == 4
    later(shared)
    assert again(shared, tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "result.json", "latency.json"])
def test_a_damaged_file_harms_nobody(
    lite: str, tmp_path: Path, kept: Path, clock: Clock, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """It is said; the other networks are timed, and what was measured before holds."""
    shared = opened(lite)
    networks(shared, tmp_path, [8, 9, 10])
    again(shared, tmp_path)
    later(shared)
    (at(tmp_path)(1) / name).write_text("no such thing")
    for _ in range(4):
        again(shared, tmp_path)
    assert "trial 1: not timed again: " in capsys.readouterr().out
    assert sessions(shared)[1] == 1 and sessions(shared)[0] > 1


def test_an_interrupted_worker_lets_go(lite: str, tmp_path: Path, kept: Path, clock: Clock) -> None:
    """Ctrl-C in the middle: the network may be timed at once by another."""
    shared = opened(lite)
    networks(shared, tmp_path, [8, 9])
    again(shared, tmp_path)
    later(shared)

    def interrupt(model: Path) -> None:
        raise KeyboardInterrupt

    clock.at_work = interrupt
    shared.settings.trials = 5
    slots.open_slots(shared.engine, "cheap", 5)
    with pytest.raises(KeyboardInterrupt):
        work(shared, lambda *_: None, at(tmp_path), between=lambda owner: again(shared, tmp_path, owner))
    with shared.engine.begin() as connection:
        assert set(connection.scalars(sa.select(TIMINGS.c.state))) == {"free"}
    assert ledger.counts(shared)["free"] == 1


@pytest.mark.parametrize("elsewhere", ["folder", "processor", "system", "cache"])
def test_another_machine_s_networks_are_left_to_it(
    lite: str, tmp_path: Path, kept: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    """Where the folder isn't here, or what timed it was another processor or system, or another machine's disk."""
    shared = opened(lite)
    networks(shared, tmp_path, [8, 9])
    again(shared, tmp_path)
    later(shared)
    with monkeypatch.context() as patch:
        if elsewhere == "processor":
            patch.setattr(cache, "cpu_name", lambda: "another")
        if elsewhere == "system":
            patch.setattr(cache.platform, "platform", lambda **_: "another")
        if elsewhere == "cache":
            for file in kept.glob("latency-*"):
                timing = cache.read(file)
                cache.write(file, replace(timing, name="0" * 32))
        there = tmp_path / "nowhere" if elsewhere == "folder" else tmp_path
        assert not retiming.again(shared, "me/1", at(there), kept)
    if elsewhere != "cache":
        assert again(shared, tmp_path)


def test_trials_of_one_network_cost_the_same(lite: str, tmp_path: Path, kept: Path, clock: Clock) -> None:
    """One that comes later has the pooled time at once, and each measurement counts for all of them."""
    shared = opened(lite, trials=4)
    networks(shared, tmp_path, [8, 9])
    again(shared, tmp_path)
    later(shared)
    rounds(shared, tmp_path, 4)
    assert sessions(shared)[0] == sessions(shared)[2] > 1 and sessions(shared)[1] == sessions(shared)[3] > 1
    assert len({result_of(t).cost.ratio for t in finished(shared.optuna)}) == 2
    more = opened(lite, trials=6)
    measured_before = len(clock.timed)
    networks(more, tmp_path, [8, 9])
    assert len(clock.timed) == measured_before and sessions(more)[4] == sessions(more)[0]
    assert more.optuna.get_trials()[4].user_attrs["result"]["cost"]["sessions"] == sessions(more)[0]


def test_two_objectives_and_a_limit_of_time(lite: str, tmp_path: Path, kept: Path, clock: Clock) -> None:
    """The Pareto set moves with the pooled time; who is over the gate's limit by now is best no more."""
    shared = opened(lite, objective="pareto")
    networks(shared, tmp_path, [8, 9, 10, 11])
    again(shared, tmp_path)
    later(shared)
    rounds(shared, tmp_path, 12)
    by_number = sorted(finished(shared.optuna), key=lambda t: t.number)
    assert [t.values for t in by_number] == [[0.8, result_of(t).cost.ratio] for t in by_number]
    assert min(by_number, key=lambda t: t.values[1]).number == 0


def test_who_is_over_the_gate_s_limit_after_all_is_best_no_more(
    lite: str, tmp_path: Path, kept: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It passed by a fast minute. An objective of F1 alone times nothing else again."""
    limit = replace(DEFINITION, gate={"max_macs": 0, "max_parameters": 0, "max_latency_ms": 1.0})
    monkeypatch.setitem(TRUE_MS, 9, 1.04)
    monkeypatch.setitem(TRUE_MS, 11, 0.9)
    monkeypatch.setitem(FIRST, 9, 0.96)
    shared = opened(lite, limit, trials=2, objective="f1")
    networks(shared, tmp_path, [9, 11])
    assert finished(shared.optuna)[0].number == 0
    again(shared, tmp_path)
    later(shared)
    rounds(shared, tmp_path, 8)
    assert finished(shared.optuna)[0].number == 1 and sessions(shared)[1] == 1


def test_a_database_of_before_works(url: str, tmp_path: Path, kept: Path, clock: Clock) -> None:
    """Without the table, and with trials that don't say how they were timed: they rank as ever, new ones are timed."""
    shared = opened(url, trials=2)

    def run(trial: optuna.Trial, earlier: int | None) -> Result:
        return cheap.result(trial)

    work(shared, run, at(tmp_path))
    old = {t._trial_id: t.user_attrs["result"] for t in finished(shared.optuna)}
    attributes = sa.Table("trial_user_attributes", sa.MetaData(), autoload_with=shared.engine)
    with shared.engine.begin() as connection:
        for trial, raw in old.items():
            assert raw["cost"].pop("sessions") == 1 and raw["cost"].pop("timing") == ""
            its = (attributes.c.trial_id == trial) & (attributes.c.key == "result")
            connection.execute(sa.update(attributes).where(its).values(value_json=json.dumps(raw)))
    TIMINGS.drop(shared.engine)
    read = load("cheap", url)
    assert len(finished(read.optuna)) == 2 and not sa.inspect(read.engine).has_table("harness_timings")
    new = opened(url, trials=4)
    assert status.look(new).timed_again == 0 and sessions(new) == [1, 1]
    assert "timing" not in finished(new.optuna)[0].user_attrs["result"]["cost"]
    networks(new, tmp_path, [8, 9])
    again(new, tmp_path)
    later(new)
    assert again(new, tmp_path)


def test_a_real_worker_times_its_trained_networks_again(
    lite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over 5 s: it trains two networks of the digits. The artefact has the graph that was timed before training."""
    rules = replace(COMPETITION, reference=COMPETITION.reference | {"classes": 10})
    space = {
        "resolution_px": 8,
        "model": {"stages": [{"block": "conv", "channels": {"int": [8, 24], "step": 8}, "stride": 2}]},
        "augment": {"n": 0, "m": 0, "flip": False, "crop": 0.0},
        "recipe": {"batch": 32, "optimizer": {"name": "adamw", "lr": 0.01}},
    }
    made = Definition.of(
        data_name="digits", data_options=DigitsOptions(), space=space, competition=rules, gate=Gate(),
        proxy=Proxy(images=100, score_images=100, epochs=1), study=Study(sampler="random", pruner="none"),
        latency_s=1.5, layout="channels_last", dtype="float32",
    ).with_data(load_digits(DigitsOptions()))  # fmt: skip
    study = Study(name="cheap", trials=2, sampler="random", pruner="none")
    shared = join(study, made, lite, seed=0)
    shared.optuna.enqueue_trial({"model.stages.0.channels": 8})
    shared.optuna.enqueue_trial({"model.stages.0.channels": 16})
    draw, timed = np.random.default_rng(0), []

    def measure(model: Path, *_: object, **__: object) -> Latency:
        timed.append(model.parent.name)
        return measured(1.0, draw)

    monkeypatch.setattr(process, "measure", measure)
    monkeypatch.setattr(timings, "SHARE", 1e6)
    monkeypatch.setattr(timings, "APART_S", -60.0)
    monkeypatch.setattr("harness.study.contenders._Span.touches", lambda one, other: one.network != other.network)
    job = Job(study=study, url=lite, here={}, device="cpu", track="disabled", runs=tmp_path, threads=1)
    worker_process._work(job, 0)
    assert timed[:2] == ["00000", "00001"] and timed[2] in timed[:2] and sum(sessions(shared)) == len(timed) == 3
    for trial in finished(shared.optuna):
        folder = tmp_path / "cheap" / f"{trial.number:05d}"
        assert run_folder.read_result(folder) == result_of(trial)
