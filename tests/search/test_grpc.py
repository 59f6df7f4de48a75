"""Workers behind Optuna's gRPC proxy: N trials are N, whoever dies between the trial's write and the slot's."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cheap import ended, failed, figures, opened, start, until
from optuna.trial import FrozenTrial, TrialState

pytest.importorskip("grpc", reason="grpcio isn't installed (pip install 'harness[scale]')")

from tcp_proxy import Wire

from harness import config
from harness.errors import HarnessError
from harness.search import budget, ledger, outbox
from harness.search.outbox import Outcome
from harness.search.storage import PATIENCE_S
from harness.search.study import Shared
from harness.search.worker import work

LEASE_S = 0.6


class Proxy:
    """`python -m harness db proxy`, as a team starts it."""

    def __init__(self, url: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.at, self._url = f"127.0.0.1:{self.port}", url
        self.start()

    def start(self) -> None:
        words = ["db", "proxy", f"storage.url={self._url}", f"port={self.port}"]
        command = [sys.executable, "-m", "harness", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = [self.process.stdout.readline() for _ in range(2)]
        assert self.said[1].startswith("workers set:"), "".join(self.said) + self.process.communicate()[0]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    """A proxy before a new database."""
    running = Proxy(postgres_url)
    yield running
    running.kill()


def check(url: str, trials: int) -> list[FrozenTrial]:
    """Make sure, without the proxy, that exactly `trials` trials finished, each counted once, and none is running."""
    shared = opened(url, trials)
    found = shared.optuna.get_trials(deepcopy=False)
    states = Counter(t.state.name for t in found)
    counts = budget.counts(shared.engine, "cheap", trials)
    assert counts == {"free": 0, "leased": 0, "done": trials, "given_up": 0}, f"budget unfinished: {counts}"
    assert states["COMPLETE"] == trials and not states["RUNNING"], f"trials out of step: {states}"
    with shared.engine.connect() as connection:
        counted = set(connection.scalars(budget.SLOTS.select().with_only_columns(budget.SLOTS.c.trial)))
    assert counted == {t._trial_id for t in found if t.state == TrialState.COMPLETE}
    return found


def test_a_budget_is_exact_with_a_worker_killed_in_its_trial(postgres_url: str, proxy: Proxy, tmp_path: Path) -> None:
    """Over 5 s where both cores are busy: five processes. Three workers share the proxy; a fourth is killed."""
    victim = start(postgres_url, 9, tmp_path, LEASE_S, "suggest_then_hang", proxy=proxy.at)
    until((tmp_path / "inside").exists)
    others = [start(postgres_url, 9, tmp_path, LEASE_S, "steady", proxy=proxy.at) for _ in range(3)]
    victim.kill()
    assert [ended(w) for w in others] == [0, 0, 0]
    trials = check(postgres_url, 9)
    assert failed(trials) == ["its worker died"]
    assert all("slot" in t.user_attrs for t in trials), "some went past the proxy"


@pytest.mark.parametrize(
    ("dies_at", "behaviour", "left"),
    [
        ("ledger._begin+", "quick", "RUNNING"),  # the trial has begun, its slot is free
        ("ledger._tell", "quick", "RUNNING"),  # the result is on the disk, neither is told
        ("ledger._tell+", "quick", "COMPLETE"),  # the trial has finished, its slot is leased
        ("ledger._fail+", "fail", "FAIL"),  # the trial has failed, its slot is leased
    ],
)
def test_a_worker_killed_between_its_two_writes(
    postgres_url: str, proxy: Proxy, tmp_path: Path, dies_at: str, behaviour: str, left: str
) -> None:
    """The next one finds what it left: the budget is exact, and a result that was computed is computed once."""
    victim = start(postgres_url, 2, tmp_path, LEASE_S, behaviour, dies_at, proxy=proxy.at)
    assert ended(victim) == -signal.SIGKILL
    before = opened(postgres_url, 2).optuna.get_trials()
    assert [t.state.name for t in before] == [left]

    runs = []

    def run(trial: Any, earlier: int | None) -> dict[str, Any]:
        runs.append(trial.number)
        return figures(trial)

    work(opened(postgres_url, 2, LEASE_S, proxy=proxy.at), run, lambda number: tmp_path / str(number))
    trials = check(postgres_url, 2)
    kept = before[0].number in [t.number for t in trials if t.state == TrialState.COMPLETE]
    assert kept == (dies_at.startswith("ledger._tell"))
    assert len(runs) == (1 if kept else 2)


def test_without_the_repair_an_orphan_would_stay(
    postgres_url: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above: `check` sees the trial that nobody looked for."""
    assert ended(start(postgres_url, 2, tmp_path, LEASE_S, "quick", "ledger._begin+", proxy=proxy.at)) == -9
    monkeypatch.setattr(ledger, "_begun_in", lambda *_: [])
    shared = opened(postgres_url, 2, LEASE_S, proxy=proxy.at)
    work(shared, lambda trial, _: figures(trial), lambda number: tmp_path / str(number))
    with pytest.raises(AssertionError, match="'RUNNING': 1"):
        check(postgres_url, 2)
    monkeypatch.undo()
    ledger.close_orphans(opened(postgres_url, 2))  # one without a proxy mends it, too
    assert failed(check(postgres_url, 2)) == [ledger.UNNOTED]


def test_a_trial_that_runs_is_no_orphan(postgres_url: str, proxy: Proxy, tmp_path: Path) -> None:
    """Neither for one who ends meanwhile, nor for one who takes another slot."""
    shared = opened(postgres_url, 2, proxy=proxy.at)
    turns = [ledger.take(shared, owner, lambda number: tmp_path / str(number)) for owner in ("a/1", "b/1")]
    ledger.close_orphans(shared)
    assert [t.state.name for t in shared.optuna.get_trials()] == ["RUNNING", "RUNNING"]
    for each in turns:
        done = Outcome("cheap", each.slot.number, each.slot.token, each.trial._trial_id, "COMPLETE", (0.5,), {})
        assert ledger.count(shared, each.slot, done)
    check(postgres_url, 2)


@pytest.mark.parametrize("who", ["its worker", "one who reads its outbox", "a reaper"])
def test_a_result_whose_slot_does_not_know_is_counted_once(
    postgres_url: str, proxy: Proxy, tmp_path: Path, who: str
) -> None:
    """As when the proxy has told it and its answer, or the end of the slot's transaction, was lost."""
    shared = opened(postgres_url, 1, LEASE_S / 20, proxy=proxy.at)
    turn = ledger.take(shared, "a/1", lambda number: tmp_path / str(number))
    slot = turn.slot
    outcome = Outcome("cheap", slot.number, slot.token, turn.trial._trial_id, "COMPLETE", (0.5,), {"figures": {}})
    ledger._tell(shared, outcome)
    if who == "its worker":
        assert ledger.count(shared, slot, outcome)
    elif who == "one who reads its outbox":
        assert ledger.replay(shared, outcome) == ledger.TOLD
    else:
        until(lambda: ledger.reap(opened(postgres_url, 1)), 10)
    check(postgres_url, 1)
    assert ledger.replay(shared, outcome) == "was told before"
    check(postgres_url, 1)


def test_a_study_survives_a_proxy_that_is_killed_and_started_again(
    postgres_url: str, proxy: Proxy, tmp_path: Path
) -> None:
    """Over 5 s: two workers are at work throughout, and wait while it is away."""
    beside = opened(postgres_url, 16).engine
    workers = [start(postgres_url, 16, tmp_path, behaviour="steady", proxy=proxy.at) for _ in range(2)]
    until(lambda: budget.counts(beside, "cheap", 16)["done"] > 2)
    proxy.kill()
    time.sleep(1.0)
    assert budget.counts(beside, "cheap", 16)["free"], "too late: the study was over"
    assert [w.exitcode for w in workers] == [None, None]
    proxy.start()
    assert [ended(w) for w in workers] == [0, 0]
    assert not failed(check(postgres_url, 16)), "a trial failed for the proxy"


def test_a_trial_begun_before_a_restart_goes_on_after_it(postgres_url: str, proxy: Proxy, tmp_path: Path) -> None:
    """Optuna's own cache in the new proxy has not seen it begin."""

    def run(trial: Any, earlier: int | None) -> dict[str, Any]:
        proxy.kill()
        proxy.start()
        return figures(trial)

    work(opened(postgres_url, 1, proxy=proxy.at), run, lambda number: tmp_path / str(number))
    assert not failed(check(postgres_url, 1))


def test_a_proxy_that_stays_away_is_named_and_nothing_is_lost(postgres_url: str, proxy: Proxy, tmp_path: Path) -> None:
    """A worker waits for storage.patience_s, then ends with one clear error; its result lies on the disk."""
    shared = opened(postgres_url, 2, LEASE_S, proxy=proxy.at, patience_s=1.0)

    def run(trial: Any, earlier: int | None) -> dict[str, Any]:
        made = figures(trial)
        proxy.kill()
        return made

    with pytest.raises(HarnessError) as caught:
        work(shared, run, lambda number: tmp_path / str(number))
    assert f"storage.proxy={proxy.at} before storage.url=" in caught.value.what
    assert "tried again for" in caught.value.what and "nothing is lost" in caught.value.fix
    assert outbox.read(tmp_path / "0") is not None

    work(opened(postgres_url, 2, LEASE_S), lambda t, _: figures(t), lambda n: tmp_path / str(n))  # without the proxy
    assert not failed(check(postgres_url, 2))


def test_a_proxy_that_falls_silent_is_noticed(postgres_url: str, proxy: Proxy, tmp_path: Path) -> None:
    """Over 5 s: its machine has lost its power, and TCP alone would wait for hours. 15 s by the pings."""
    wire = Wire(proxy.port)
    shared = opened(postgres_url, 1, proxy=f"127.0.0.1:{wire.port}", patience_s=0.5)
    assert shared.optuna.get_trials() == []
    wire.silence()
    before = time.monotonic()
    with pytest.raises(HarnessError, match="storage.proxy="):
        shared.optuna.get_trials()
    assert time.monotonic() - before < 40
    wire.cut()


def test_wrong_proxies_are_refused_at_the_start(postgres_url: str, proxy: Proxy, tmp_path: Path) -> None:
    """Each with one error that names storage.proxy, and without a password."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    for wrong, words in [
        (f"127.0.0.1:{nobody}", "can't be reached: Connection refused"),
        ("127.0.0.1", "allowed: HOST:PORT"),
        ("127.0.0.1:123456", "allowed: HOST:PORT"),
        ("no.such.host.invalid:13000", "can't be reached"),
    ]:
        with pytest.raises(HarnessError) as caught:
            opened(postgres_url, 1, proxy=wrong)
        assert f"storage.proxy={wrong}" in caught.value.what and words in caught.value.what
    with pytest.raises(HarnessError, match="can't stand before a SQLite file"):
        opened(f"sqlite:///{tmp_path}/x.db", 1, proxy=proxy.at)


def test_a_proxy_before_another_database_is_refused(postgres_server: Any, postgres_url: str, proxy: Proxy) -> None:
    """Whether the study is there or not; nothing is written to the wrong one."""
    name = postgres_url.rpartition("%3D")[2] or postgres_url.rpartition("=")[2]
    postgres_server.psql(f"CREATE SCHEMA {name}b")
    other = postgres_url.replace(name, f"{name}b")
    with pytest.raises(HarnessError, match="stands before another database than storage.url"):
        opened(other, 1, proxy=proxy.at)
    opened(postgres_url, 1)  # without a proxy: has no mark yet
    with pytest.raises(HarnessError, match="stands before another database than storage.url"):
        opened(other, 1, proxy=proxy.at)
    opened(postgres_url, 1, proxy=proxy.at)
    with pytest.raises(HarnessError, match="stands before another database than storage.url"):
        opened(other, 1, proxy=proxy.at)


def test_a_proxy_is_a_setting_of_tune_and_of_nothing_that_ignores_it() -> None:
    """A final training and the board have none, and say so."""
    tune = config.load("tune", ["storage.proxy=db:13000", "storage.patience_s=7"])
    assert (tune.storage.proxy, tune.storage.patience_s) == ("db:13000", 7.0)
    assert config.load("tune", []).storage.patience_s == PATIENCE_S
    for root, wrong in (("train", "storage.proxy=x"), ("submit", "board.proxy=x"), ("submit", "board.patience_s=7")):
        with pytest.raises(HarnessError, match="unknown setting"):
            config.load(root, [wrong])
    with pytest.raises(HarnessError, match="storage.patience_s=-1.0: allowed: 0 or more"):
        config.load("tune", ["storage.patience_s=-1"])


def test_ctrl_c_ends_the_proxy_cleanly_and_a_second_one_is_refused(proxy: Proxy, postgres_url: str) -> None:
    """Exit code 0; it says what it serves and what workers set, without the password."""
    secret = postgres_url.replace("postgres:@", "postgres:hush-7231@")
    assert secret != postgres_url
    command = [sys.executable, "-m", "harness", "db", "proxy", f"storage.url={secret}", f"port={proxy.port}"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode == 2 and f"port={proxy.port}: can't be listened on" in second.stderr
    assert "hush" not in second.stdout + second.stderr and "Traceback" not in second.stderr
    assert "serving the studies of postgresql" in proxy.said[0]
    assert f"storage.proxy={proxy.at} " in proxy.said[1]
    proxy.process.send_signal(signal.SIGINT)
    out, _ = proxy.process.communicate(timeout=30)
    assert proxy.process.returncode == 0 and out.startswith("stopped"), out


def test_the_proxy_tells_what_passes_from_what_does_not(postgres_server: Any, postgres_url: str, proxy: Proxy) -> None:
    """A table that is gone is an error at once, as without a proxy; nobody waits for it."""
    shared = opened(postgres_url, 1, proxy=proxy.at)
    name = postgres_url.rpartition("%3D")[2] or postgres_url.rpartition("=")[2]
    postgres_server.psql(f"DROP TABLE {name}.trial_user_attributes CASCADE")
    ends: list[float] = []
    before = time.monotonic()
    thread = threading.Thread(target=lambda: (_raises(shared), ends.append(time.monotonic())), daemon=True)
    thread.start()
    thread.join(20)
    assert ends and ends[0] - before < 10


def _raises(shared: Shared) -> None:
    with pytest.raises(Exception, match="INTERNAL"):
        shared.optuna._storage.set_trial_user_attr(shared.optuna._storage.create_new_trial(1), "a", 1)
