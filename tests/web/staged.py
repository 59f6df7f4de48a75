"""A hosted competition with made-up data and verdicts, for the tests of its server."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from sqlalchemy import Engine

from harness.board import competitions, queue, store, teams
from harness.board.competitions import Hosted
from harness.board.teams import Team
from harness.data.split import Dataset, Images
from harness.record.verdict import Verdict
from harness.rules.competition import Competition
from harness.rules.formulas import Figures, points
from harness.web import serve
from harness.web.app import create_app
from harness.web.guard import Bounds

CLASSES = ("cat", "dog", "owl")
RULES = {
    "name": "pets",
    "f1_target": 0.8,
    "reference": {"model": {"stages": [{"block": "conv", "channels": 8}]}, "resolution_px": 4, "classes": 3},
    "contest": {"data": {"name": "pets", "options": {}}, "max_model_mb": 1.0, "max_predictions_mb": 0.5},
}
HOSTS = ("localhost", "testserver")


@dataclass(frozen=True)
class Staged:
    """What a test works on. tokens: by team."""

    engine: Engine
    root: Path
    hosted: Hosted
    app: FastAPI
    teams: dict[str, Team]
    tokens: dict[str, str]


def stage(
    folder: Path,
    bounds: Bounds | None = None,
    names: tuple[str, ...] = ("A", "B", "Gone"),
    images: int = 60,
    **terms: Any,
) -> Staged:
    """Host the competition in a folder; the team named Gone has had its token revoked.

    images: in each part of the data. terms: of the contest.
    """
    engine = store.open(f"sqlite:///{folder}/board.db")
    rules = Competition(**(RULES | {"contest": RULES["contest"] | terms}))
    hosted = competitions.create(engine, rules, pets(images))
    made = {name: teams.add(engine, name) for name in names}
    if "Gone" in made:
        teams.revoke(engine, "Gone")
    app = create_app(engine, folder / "files", "", bounds or Bounds(hosts=HOSTS))
    return Staged(
        engine, folder / "files", hosted, app, {k: v[0] for k, v in made.items()}, {k: v[1] for k, v in made.items()}
    )


def client_of(staged: Staged) -> httpx.Client:
    """Return a client of its application, without a network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Starlette would have another library's client
        from starlette.testclient import TestClient

    return TestClient(staged.app, base_url="http://localhost", raise_server_exceptions=False)


def pets(images: int = 60) -> Dataset:
    """So many images of three classes in each part."""
    random = np.random.default_rng(0)
    parts = []
    for part in ("train", "validation", "test"):
        pixels = random.integers(0, 255, (images, 4, 4, 3)).astype(np.uint8)
        parts.append(Images(pixels, np.arange(images) % 3, tuple(f"{part}-{i}" for i in range(images))))
    return Dataset("pets", CLASSES, *parts)


def judged(
    staged: Staged, team: str, f1: float, ratio: float, name: str = "net", width: float = 0.01, **other: Any
) -> int:
    """Let a team have an entry with such figures; return its number."""
    number = waiting(staged, team, name)
    claim = queue.claim(staged.engine, "tester", 60)
    assert claim is not None and claim.entry == number
    assert queue.finish(staged.engine, claim, verdict(staged.hosted, f1, ratio, name, width, **other))
    return number


def waiting(staged: Staged, team: str, name: str = "net", kind: Any = "scored") -> int:
    """Let a team have an entry that waits; return its number."""
    content = hashlib.sha256(np.random.default_rng().bytes(16)).hexdigest()
    manifest = {"name": name, "files": {"model.onnx": content}}
    return queue.submit(
        staged.engine, staged.teams[team].id, staged.hosted.id, content, {"model.onnx": 10}, manifest, kind
    )[0]


def verdict(hosted: Hosted, f1: float, ratio: float, name: str = "net", width: float = 0.01, **other: Any) -> Verdict:
    """Make a verdict up. width: of the interval, as a share."""
    low, high, reference_ms = ratio * (1 - width), ratio * (1 + width), 0.4
    scores = {
        f"points{part}": points(hosted.competition, Figures(f1, ratio, 1e6)) for part in ("", "_public", "_private")
    }
    figures = {
        "entry": name, "model_sha256": "0" * 64, "size_bytes": 250_000,
        "f1": f1, "f1_public": f1, "f1_private": f1 - 0.01,
        "ratio": ratio, "ratio_low": low, "ratio_high": high, "latency_ms": ratio * reference_ms,
        "latency_low_ms": low * reference_ms, "latency_high_ms": high * reference_ms, "macs": 1_200_000, **scores,
        "competition": hosted.name, "competition_digest": hosted.digest, "formula": hosted.competition.formula,
        "agreement": 1.0, "checks": {"repeat": {"ratio": 0.998, "low": 0.99, "high": 1.006, "allowed_low": 0.9}},
        "sandbox": "strict", "samples": {}, "machine": {}, "created": "2026-11-25T12:00:00+00:00", "seconds": 31.0,
    }  # fmt: skip
    return Verdict(**(figures | other))


def packed(
    folder: Path, name: str = "net", rows: str | bytes | None = None, model: bytes = b"onnx" * 100, **other: Any
) -> Path:
    """Write an entry's three files, of which only the forms are right."""
    folder.mkdir(parents=True, exist_ok=True)
    table = "id,label\n" + "".join(f"test-{i},{CLASSES[i % 3]}\n" for i in range(60)) if rows is None else rows
    table = table.encode() if isinstance(table, str) else table
    (folder / "model.onnx").write_bytes(model)
    (folder / "predictions.csv").write_bytes(table)
    manifest = {
        "name": name,
        "files": {"model.onnx": _hash(model), "predictions.csv": _hash(table)},
        "input": {"shape": ["N", 3, 4, 4], "dtype": "float32"}, "classes": list(CLASSES),
        "preprocessing": {"resolution_px": 4, "mean": [0.5] * 3, "std": [0.5] * 3}, "runtime": "onnx", "threads": 1,
        "candidate": {}, "data": {"name": "pets", "options": {}, "fingerprint": pets().fingerprint()}, "versions": {},
        "run": {"metrics": {}, "train_s": 1.0, "seed": 0}, "created": "2026-11-25T12:00:00+00:00",
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest | other))
    return folder


def form(folder: Path) -> dict[str, Any]:
    """Return an entry's files as httpx sends them."""
    names = {"model": "model.onnx", "predictions": "predictions.csv", "manifest": "manifest.json"}
    return {part: (name, (folder / name).read_bytes()) for part, name in names.items()}


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def running(staged: Staged) -> Iterator[str]:
    """Serve a competition on a free port."""
    told: list[str] = []
    server = serve.server(staged.app, "127.0.0.1", 0, told.append)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 120
    while not told and time.monotonic() < end:
        time.sleep(0.02)
    try:
        yield told[0].replace("127.0.0.1", "localhost").rstrip("/")
    finally:
        server.should_exit = True
        thread.join(120)
