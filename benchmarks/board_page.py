"""How long the board's page takes with 100,000 entries, over HTTP: as it is, and after each verdict.

    python benchmarks/board_page.py [entries=100000] [teams=1000] [requests=200]

The last line is JSON: milliseconds, median and 95th percentile.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import sqlalchemy as sa
from sqlalchemy import Engine

from harness.board import competitions, log, store, tables, teams
from harness.board.competitions import Hosted
from harness.data.split import Dataset, Images
from harness.judge.bootstrap import DRAWS, f1_to_text
from harness.rules.competition import Competition
from harness.rules.formulas import Figures, points
from harness.web import serve
from harness.web.app import create_app

BATCH = 10_000
KEPT = f1_to_text(np.clip(0.7 + 0.01 * np.random.default_rng(0).standard_normal(DRAWS), 0, 1))
"""About as long as what the judge keeps of F1; the public board doesn't look at it while the Ladder is on."""


def host(engine: Engine) -> Hosted:
    """Host a competition on a few made-up images."""
    labels = np.arange(2000) % 2
    part = Images(np.zeros((2000, 2, 2, 3), np.uint8), labels, tuple(map(str, range(2000))))
    reference = {"model": {"stages": [{"block": "conv", "channels": 8}]}, "resolution_px": 8, "classes": 2}
    rules = Competition(name="large", reference=reference, contest={"data": {"name": "large", "options": {}}})
    return competitions.create(engine, rules, Dataset("large", ("a", "b"), part, part, part))


def fill(engine: Engine, hosted: Hosted, count: int, names: int) -> None:
    """Put judged entries into the database, of which each team's best stands on the board."""
    random = np.random.default_rng(0)
    f1 = random.uniform(0.5, 0.95, count)
    ratio = np.exp(random.uniform(-2.5, 1.0, count))
    ids = [teams.add(engine, f"Team {n}")[0].id for n in range(names)]
    placed = {int(n): int(np.argmax(np.where(np.arange(count) % names == n, f1, 0))) for n in range(names)}
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        with engine.begin() as connection:
            connection.execute(sa.insert(tables.Entry), [
                _entry(hosted, i, ids[i % names], placed[i % names] == i, float(f1[i])) for i in numbers
            ])  # fmt: skip
            rows = [_verdict(hosted, i, float(f1[i]), float(ratio[i])) for i in numbers]
            connection.execute(sa.insert(tables.Judgement), rows)


def _entry(hosted: Hosted, i: int, team: int, placed: bool, f1: float) -> dict[str, Any]:
    return {
        "id": i + 1, "competition_id": hosted.id, "team_id": team, "name": f"net-{i}", "kind": "scored",
        "content": f"{i:064x}", "model_sha256": f"{i:064x}", "manifest": {}, "sizes": {}, "created": hosted.now + i,
        "day": "2026-11-25", "charged": True, "state": "COMPLETE", "tries": 1, "fence": 1, "warned": False,
        "picked": False, "verdict_id": i + 1, "f1_shown": f1, "placed": placed,
    }  # fmt: skip


def _verdict(hosted: Hosted, i: int, f1: float, ratio: float) -> dict[str, Any]:
    score = points(hosted.competition, Figures(f1, ratio, 1e6))
    return {
        "id": i + 1, "entry_id": i + 1, "terms": hosted.terms, "formula": hosted.competition.formula,
        **dict.fromkeys(("points", "points_public", "points_private"), score),
        **dict.fromkeys(("f1", "f1_public", "f1_private"), f1),
        "ratio": ratio, "ratio_low": ratio * 0.99, "ratio_high": ratio * 1.01, "latency_ms": ratio,
        "latency_low_ms": ratio * 0.99, "latency_high_ms": ratio * 1.01, "macs": 10**6, "size_bytes": 250_000,
        "agreement": 1.0, "checks": {}, "sandbox": "strict", "seconds": 30.0, "samples": {}, "machine": {},
        "created": "2026-11-25T12:00:00+00:00", "predicted": KEPT, "f1_draws": KEPT, "f1_public_draws": KEPT,
        "f1_private_draws": KEPT,
    }  # fmt: skip


def timed(client: httpx.Client, engine: Engine, requests: int, changing: bool) -> dict[str, float]:
    """Ask for the page so often; `changing` logs a verdict before each."""
    spent = []
    for number in range(requests):
        if changing:
            store.transact(engine, lambda c, n=number: log.append(c, "benchmark", "finish", {"entry": n}))
        began = time.perf_counter()
        reply = client.get("/")
        spent.append(1000 * (time.perf_counter() - began))
        assert reply.status_code == 200 and reply.text.count("<tr") > 100
    return {"p50": round(float(np.median(spent)), 2), "p95": round(float(np.quantile(spent, 0.95)), 2)}


def main(arguments: list[str]) -> None:
    """Fill, serve, ask."""
    given = {"entries": 100_000, "teams": 1000, "requests": 200}
    given |= {name: int(value) for name, _, value in (a.partition("=") for a in arguments)}
    with tempfile.TemporaryDirectory() as folder:
        engine = store.open(f"sqlite:///{folder}/board.db")
        fill(engine, hosted := host(engine), given["entries"], given["teams"])
        told: list[str] = []
        server = serve.server(create_app(engine, Path(folder, "files"), hosted.name), "127.0.0.1", 0, told.append)
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not told:
            time.sleep(0.05)
        with httpx.Client(base_url=told[0]) as client:
            cold = timed(client, engine, 1, False)
            found = {"as_it_is": timed(client, engine, given["requests"], False)}
            found["after_each_verdict"] = timed(client, engine, given["requests"], True)
        server.should_exit = True
        thread.join()
    for name, ms in found.items():
        print(f"{name}: median {ms['p50']} ms, 95 % within {ms['p95']} ms")
    print(json.dumps(given | {"cold_ms": cold["p50"]} | found))


if __name__ == "__main__":
    main(sys.argv[1:])
