"""Whatever a text holds, it is shown as text: in no field does it become a part of a page, a table or the log."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sqlalchemy as sa
from jinja2 import Environment
from staged import Staged, bearer, client_of, form, judged, packed, stage, waiting

from harness.board import teams
from harness.errors import HarnessError
from harness.web import pages

PLAIN = "plain"
PAYLOADS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg/onload=alert(1)>', "'><b>x</b>",
    "</title><script>1</script>", "</textarea><i>", "<!--", "-->", "<![CDATA[<a>]]>", "&lt;b&gt;<b>", "{{7*7}}",
    "{% raw %}", "${7*7}", "javascript:alert(1)", "data:text/html,<b>", "' OR 1=1 --", "'; DROP TABLE entries; --",
    "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "\u202egnp.exe", "\u2066\u2069", "a\u200bb", "x\r\ny: z",
    "a\nINFO:     forged line", "\x1b[31mred", "<a href=\"http://evil\">x</a>", "<style>*{}</style>", "<base href=//e>",
    "\" autofocus onfocus=alert(1) x=\"", "<meta http-equiv=refresh content=0>", "%3Cscript%3E", "\ufeff<b>",
]  # fmt: skip
FIELDS = {
    "team": "UPDATE teams SET name = :text WHERE id = :team",
    "url": "UPDATE teams SET url = :text WHERE id = :team",
    "name": "UPDATE entries SET name = :text",
    "reason": "UPDATE entries SET reason = :text WHERE state = 'FAIL'",
    "message": "UPDATE entries SET message = :text WHERE state = 'FAIL'",
    "stage": "UPDATE entries SET stage = :text WHERE state = 'RUNNING'",
    "checks": "UPDATE verdicts SET checks = :json",
    "sandbox": "UPDATE verdicts SET sandbox = :text",
    "classes": "UPDATE competitions SET classes = :list",
    "data": "UPDATE competitions SET data_name = :text",
}
"""Each text that a page shows, put into the database past all that checks it on its way in."""


class Nodes(HTMLParser):
    """The elements of a page with the names of their attributes, and nothing of their text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attributes)))

    def handle_comment(self, data: str) -> None:
        self.found.append(("!", ()))

    def handle_decl(self, decl: str) -> None:
        self.found.append((decl.lower(), ()))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    """A competition with an entry in every state."""
    from harness.board import queue

    made = stage(tmp_path_factory.mktemp("payloads"))
    judged(made, "A", 0.9, 0.5)
    waiting(made, "A")
    broken, running = queue.claim(made.engine, "one", 600), None
    assert broken and queue.fail(made.engine, broken, "gate", "wrong")
    waiting(made, "A")
    running = queue.claim(made.engine, "two", 600)
    assert running and queue.stage(made.engine, running, "time")
    return made


def fill(staged: Staged, text: str, *fields: str) -> None:
    """Put a text into fields, or into all of them."""
    values = {"text": text, "team": staged.teams["A"].id}
    values |= {"json": json.dumps({text: {text: text}}), "list": json.dumps([text, "b"])}
    with staged.engine.begin() as connection:
        for field in fields or FIELDS:
            named = {name: value for name, value in values.items() if f":{name}" in FIELDS[field]}
            connection.execute(sa.text(FIELDS[field]), named)
    staged.app.state.site.boards._last.clear()
    staged.app.state.site.boards._pages.clear()


def every_page(staged: Staged) -> Iterator[tuple[str, str]]:
    """Read every page, as team A."""
    client, team = client_of(staged), staged.teams["A"].id
    for path in ("/", "/rules", "/queue", "/team", f"/teams/{team}", "/entries/1", "/entries/2", "/entries/3"):
        reply = client.get(path, headers=bearer(staged.tokens["A"]))
        assert reply.status_code == 200, path
        yield path, reply.text


def test_no_text_becomes_a_part_of_a_page(shared: Staged) -> None:
    """34 payloads in all fields, some at a time: every page has the elements that it has with a plain word there."""
    fill(shared, PLAIN)
    before = {path: Nodes(text).found for path, text in every_page(shared)}
    for first in range(0, len(PAYLOADS), 4):
        some = " ".join(PAYLOADS[first : first + 4])
        fill(shared, some)
        for path, text in every_page(shared):
            assert Nodes(text).found == before[path], (path, some)


def test_a_page_without_escaping_is_caught(shared: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: with Jinja's escaping off, the comparison above fails."""
    raw = Environment(loader=pages.PAGES.loader, autoescape=False, trim_blocks=True, lstrip_blocks=True)
    raw.filters |= pages.PAGES.filters
    fill(shared, PLAIN, "team")
    before = dict(every_page(shared))
    fill(shared, PAYLOADS[0], "team")
    monkeypatch.setattr(pages, "PAGES", raw)
    assert any(Nodes(text).found != Nodes(before[path]).found for path, text in every_page(shared))
    monkeypatch.undo()
    fill(shared, PLAIN, "team")


def test_a_link_that_got_past_the_check_is_no_script(shared: Staged) -> None:
    """The column holds https alone; should another get in, no page has it as an address."""
    fill(shared, "javascript:alert(1)", "url")
    for path, text in every_page(shared):
        assert 'href="javascript' not in text, path
    fill(shared, "", "url")


def test_the_csv_of_the_board_holds_no_formula(shared: Staged) -> None:
    """Every cell that a spreadsheet would run begins with a quote; a table it stays, known for UTF-8 by its mark."""
    assert client_of(shared).get("/board.csv").content.startswith(b"\xef\xbb\xbf")
    for payload in PAYLOADS:
        fill(shared, payload, "team")
        rows = list(csv.DictReader(io.StringIO(client_of(shared).get("/board.csv").text)))
        assert len(rows) == 1 and rows[0]["team"].lstrip("'") == payload.lstrip("'").replace("\r\n", "\r\n")
        assert not rows[0]["team"].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    fill(shared, PLAIN, "team")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_text_gets_in_that_deceives(
    shared: Staged, tmp_path: Path, caplog: pytest.LogCaptureFixture, payload: str
) -> None:
    """By each door: team, link, entry's name, kind, token, number, page: refused or shown as text; one log line."""
    client, head = client_of(shared), bearer(shared.tokens["A"])
    with pytest.raises(HarnessError):
        teams.add(shared.engine, payload)
    files = form(packed(tmp_path / "in", name=payload))
    with caplog.at_level(logging.INFO):
        replies = [
            client.post("/api/entries", files=files, headers=head),
            client.post("/api/entries", files=form(packed(tmp_path / "k")), data={"kind": payload}, headers=head),
            client.put("/api/teams/me", json={"url": payload}, headers=head),
            client.put("/api/picks", json={"entries": [payload]}, headers=head),
            client.post("/team", data={"token": payload}),
            client.post("/team/picks", data={"token": shared.tokens["A"], "entry": payload}),
            client.post("/team/url", data={"token": shared.tokens["A"], "url": payload}),
            client.get("/", params={"board": payload, "page": payload}),
            client.get("/team", params={"before": payload}, headers=head),
            client.get("/api/teams/me", headers={"authorization": f"Bearer {payload.encode('ascii', 'replace')!r}"}),
        ]
    for reply in replies:
        assert 400 <= reply.status_code < 500, (reply.request.url, reply.text)
        if reply.headers["content-type"].startswith("text/html"):
            assert not {"script", "img", "svg", "b", "i", "style", "base", "meta"} & {
                tag for tag, names in Nodes(reply.text).found if "defer" not in names and tag not in ("meta",)
            }
    assert not any("\n" in record.getMessage().strip() or "\x1b" in record.getMessage() for record in caplog.records)
