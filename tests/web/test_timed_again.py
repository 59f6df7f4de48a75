"""What the pages and the API tell of an entry that was timed more than once."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from staged import Staged, bearer, judged

from harness.board import sessions, store
from harness.board.rivals import Rival
from harness.board.tables import Session as Row
from harness.measure.latency import Latency
from harness.record.verdict import Session

CLOCK = {"fit": False, "clean": 0.42, "spread": {"3": 0.051}, "when": 1.0}
MACHINE = {"cpu": "<b>x</b>", "host": "canary", "clock": CLOCK}


def figures(ratio: float) -> dict[str, Any]:
    """Return what a measurement of such a time has."""
    found = Latency.of([[[[ratio] * 6, [ratio] * 6, [1.0] * 6, [1.0] * 6]]] * 3)
    return {
        "ratio": found.ratio, "ratio_low": found.ratio_low, "ratio_high": found.ratio_high, "latency_ms": found.ms,
        "latency_low_ms": found.low_ms, "latency_high_ms": found.high_ms,
        "samples": {"runtime": "onnx", "canary": "canary"} | found.to_dict(), "machine": MACHINE,
    }  # fmt: skip


@pytest.fixture
def timed_again(staged: Staged) -> int:
    """An entry of A's that was timed three times, one of which came to nothing."""
    number = judged(staged, "A", 0.9, 0.5, samples=figures(0.5)["samples"], machine=MACHINE)
    for found in (Session(**figures(0.52), checks={}, created="2026-11-25T13:00:00+00:00", seconds=3.0), None):
        older = sa.update(Row).values(begun=Row.begun - sessions.GAP_S)
        store.transact(staged.engine, lambda c, older=older: c.execute(older))
        rival = [Rival(number, 1, "onnx")]
        claim = sessions.claim(staged.engine, "w", "h", 60, staged.hosted.id, rival)
        if found is not None:
            assert sessions.finish(staged.engine, claim, found)
        else:
            assert sessions.fail(staged.engine, claim, "judge")
    return number


def test_each_session_is_told_and_the_figures_are_of_all(
    staged: Staged, client: httpx.Client, timed_again: int
) -> None:
    """When, where and what: to everybody who sees the entry. That one came to nothing is its team's alone to know."""
    path = f"/api/entries/{timed_again}"
    public = client.get(path).json()["entry"]
    own = client.get(path, headers=bearer(staged.tokens["A"])).json()["entry"]
    assert (public["timed"], own["timed"]) == (2, 2)
    assert [s["ratio"] for s in public["sessions"]] == pytest.approx([0.5, 0.52])
    assert [s["reason"] for s in own["sessions"]] == [None, None, "judge"]
    assert 0.5 < public["ratio"] < 0.52 and public["ratio_low"] < public["ratio"] < public["ratio_high"]
    (place,) = client.get("/api/standings").json()["places"]
    assert (place["timed"], place["ratio"]) == (2, public["ratio"])
    assert client.get("/board.csv").text.splitlines()[0].endswith(",timed")


def test_the_pages_say_how_often_and_when(staged: Staged, client: httpx.Client, timed_again: int) -> None:
    """The processor's name is text, like all that comes from a machine; raw timings and the host stay at home."""
    page = client.get(f"/entries/{timed_again}").text
    assert "Timed 2 times" in page and page.count("0.5200 <span") == 1
    assert "&lt;b&gt;x&lt;/b&gt;" in page and "<b>x</b>" not in page and "doesn’t count" not in page
    assert "timed 2 times" in client.get("/").text and "timed 2 times" in client.get("/teams/2").text
    own = client.post(f"/entries/{timed_again}", data={"token": staged.tokens["A"]}).text
    assert "doesn’t count: judge" in own
    assert "canary" not in page + own + client.get(f"/api/entries/{timed_again}").text


def test_the_page_says_what_the_judges_machine_is_worth(staged: Staged, client: httpx.Client, timed_again: int) -> None:
    """As it was found last; the control: nothing is said where nobody looked."""
    page = client.get(f"/entries/{timed_again}").text
    assert "42 % of the time" in page and "spread by 5.1 %" in page and "no machine to rank on" in page
    other = judged(staged, "B", 0.9, 0.5)
    assert "The judge’s machine" not in client.get(f"/entries/{other}").text


def test_of_an_entry_that_was_timed_once_there_is_no_table(staged: Staged, client: httpx.Client) -> None:
    """The control."""
    number = judged(staged, "A", 0.9, 0.5)
    assert "Timed" not in client.get(f"/entries/{number}").text and "timed" not in client.get("/teams/2").text
    assert "timed" not in client.get("/").text
