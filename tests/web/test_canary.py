"""Marked secrets are searched for in every byte that leaves the server, is logged, or lies in the database."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import httpx
import pytest
from staged import Staged, bearer, form, judged, packed, pets, running, stage

F1 = {"f1": 0.8765432, "f1_public": 0.8642753, "f1_private": 0.8123456}
CANARIES = ("0.87654", "0.86427", "0.81234", "0.87655", "0.86428", "canary")
"""Exact values of F1, which the Ladder keeps, and words in what only the organiser may read."""
HIDDEN = {
    "samples": {"canary": ["canary"]},
    "machine": {"host": "canary"},
    "checks": {"perturbed": {"f1": F1["f1"], "private_f1": F1["f1_private"]}, "repeat": {"ratio": 1.0}},
}


def walk(client: httpx.Client, staged: Staged, folder: Path) -> list[httpx.Response]:
    """Ask for everything, in every role, rightly and wrongly."""
    tokens = [None, "hb_" + "w" * 43, *staged.tokens.values()]
    pages = ["/", "/?board=private", "/board.csv", "/rules", "/about", "/queue", "/upload", "/team", "/entries/1"]
    pages.append("/entries/9")
    objects = ["competition", "about", "standings", "queue", "picks", "entries/1", "entries/9", "teams/me", "teams/2"]
    paths = pages + [f"/api/{name}" for name in objects] + [f"/teams/{n}" for n in range(5)]
    paths += ["/openapi.json", "/nowhere", "/static/x"]
    replies = []
    for token in tokens:
        head, data = (bearer(token), {"token": token}) if token else ({}, {})
        replies += [client.get(path, headers=head) for path in paths]
        replies += [client.post(path, data=data) for path in ("/team", "/entries/1", "/team/picks", "/team/url")]
        wrong = form(packed(folder / "wrong", rows="id,label\ntest-1,dogg\n"))
        unsafe = form(packed(folder / "more", model=(token or "").encode()))
        for files in (wrong, unsafe):
            replies += [
                client.post("/api/entries", files=files, headers=head),
                client.post("/upload", data=data, files=files),
            ]
        replies.append(client.put("/api/picks", headers=head, content=b"{" + (token or "").encode()))
        replies.append(client.put("/api/teams/me", headers=head, json={"url": token or ""}))
        replies.append(client.get(f"/entries/{token}", headers=head))
    return replies


def told(replies: list[httpx.Response]) -> str:
    """Return all that the server said of itself: not the address, which is the client's own."""
    return "\n".join(f"{reply.headers}\n{reply.text}" for reply in replies)


@pytest.fixture
def scored(staged: Staged) -> Staged:
    """A competition where A has been judged, with marks in the verdict."""
    judged(staged, "A", F1["f1"], 0.5, f1_public=F1["f1_public"], f1_private=F1["f1_private"], **HIDDEN)
    return staged


def test_no_label_and_no_hidden_figure_leaves_before_the_close(
    scored: Staged, client: httpx.Client, tmp_path: Path
) -> None:
    """Not the private part, not F1 beyond the Ladder's step, not raw timings, not the machine; no test image's id."""
    everything = told(walk(client, scored, tmp_path))
    assert not [word for word in CANARIES if word in everything]
    assert '"f1":' in everything.replace(" ", "")  # the control: figures are told
    database = b"".join(p.read_bytes() for p in tmp_path.glob("board.db*"))
    names = {name for name in pets().test.names[3:]}  # the server never had them: line 2 of the csv above was A's own
    assert not [name for name in names if name in everything or name.encode() in database]


def test_after_the_close_the_private_part_is_shown(scored: Staged, client: httpx.Client) -> None:
    """The control: the same search finds it then, where it belongs."""
    from harness.board import competitions

    competitions.close(scored.engine, scored.hosted.name)
    assert "0.8123" in client.get("/").text and "0.8123456" in client.get("/api/standings").text
    assert "canary" not in client.get("/api/entries/1", headers=bearer(scored.tokens["A"])).text


def test_no_token_is_in_a_reply_a_log_or_the_database(tmp_path: Path) -> None:
    """Tokens are sent in headers, fields, files, addresses and wrong places; nothing that is kept or told holds one."""
    staged, log = stage(tmp_path), io.StringIO()
    handler = logging.StreamHandler(log)
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error", ""):
        logging.getLogger(name).addHandler(handler)
    try:
        with running(staged) as address, httpx.Client(base_url=address) as client:
            for name in ("uvicorn", "uvicorn.access"):
                logging.getLogger(name).addHandler(handler)  # uvicorn sets its own
            everything = told(walk(client, staged, tmp_path))
    finally:
        for name in ("uvicorn", "uvicorn.access", "uvicorn.error", ""):
            logging.getLogger(name).removeHandler(handler)
    lines = [line for line in log.getvalue().splitlines() if "/entries/hb_" not in line]  # a client's own mistake
    database = b"".join(p.read_bytes() for p in tmp_path.glob("board.db*"))
    assert len(lines) > 50  # the control: there is a log
    for token in staged.tokens.values():
        assert token not in everything and token.encode() not in database
        assert not [line for line in lines if token in line]
    assert any(team.prefix and team.prefix.encode() in database for team in staged.teams.values())  # what may be there


def test_what_lies_in_the_database_lets_nobody_in(staged: Staged, client: httpx.Client) -> None:
    """Every text of it, tried as a token."""
    import sqlalchemy as sa

    with staged.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT * FROM teams")).mappings().all()
    texts = {str(value) for row in rows for value in row.values()} | {f"hb_{row['prefix']}" for row in rows}
    assert {client.get("/api/teams/me", headers=bearer(text or "x")).status_code for text in texts} <= {401, 429}
