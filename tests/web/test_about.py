"""The organiser's page: what he writes is shown, and nothing that he writes becomes more than text and links."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from staged import Staged, client_of, judged

from harness.board import about, audit, markdown, store
from harness.errors import HarnessError

ELEMENTS = {
    "a", "blockquote", "br", "code", "em", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "strong",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {("a", "href"), ("a", "rel"), ("a", "title"), ("ol", "start"), ("td", "class"), ("th", "class")}
LINKS = [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "&#106;avascript:alert(1)",
    "&#x6A;&#x61;vascript:alert(1)", "javascript&colon;alert(1)", "\x01javascript:alert(1)", " javascript:alert(1)",
    "vbscript:msgbox(1)", "livescript:x", "data:text/html,<script>alert(1)</script>",
    "data:image/svg+xml;base64,PHN2Zz4=", "data:image/png;base64,AA==", "file:///etc/passwd", "blob:https://x/1",
    "ftp://x.org/y", "mailto:a@b.org", "about:blank", "view-source:https://x.org", "filesystem:https://x/y", "ws://x",
    "intent://x#Intent;end", "//evil.org", "///evil.org", "\\\\evil.org", "/\\evil.org", "/team", "team", "../team",
    "./", "?board=private", "#main", "", "https:evil.org", "https:/evil.org", "https:///evil.org",
    "https:\\\\evil.org", "http:team", "https://", "https://board@evil.org", "https://a:b@evil.org/",
    "https://board.org\\@evil.org", "https://board.org%2f@evil.org", "https://ev il.org", "https://evil.org:port",
    "https://<b>.org", "https://x.org\">x", "x:javascript:alert(1)", "feed:javascript:alert(1)",
    "https://x.org:80@evil.org/", "http://[::1]/", "javascript://x.org/%0aalert(1)", "https\u2028://x.org",
]  # fmt: skip
"""Where no link may lead: other schemes, and what a browser would take for one of this server's pages or another's."""
HTML = [
    "<script>alert(1)</script>", "<ScRiPt src=//evil.org></sCrIpT>", "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>", "<svg><script>alert(1)</script></svg>",
    "<math><mi xlink:href=\"javascript:alert(1)\">x</mi></math>", "<iframe srcdoc=\"<script>alert(1)</script>\">",
    "<iframe src=javascript:alert(1)>", "<object data=x>", "<embed src=x>", "<base href=//evil.org>",
    "<meta http-equiv=refresh content=0>", "<link rel=stylesheet href=//evil.org>", "<style>*{display:none}</style>",
    "<form action=//evil.org><input name=token>", "<button formaction=javascript:alert(1)>",
    "<details open ontoggle=alert(1)>", "<a href=javascript:alert(1)>x</a>", "<a\nhref=//evil.org>x</a>", "<!-- x -->",
    "<!DOCTYPE html>", "<?php x ?>", "<![CDATA[<b>]]>", "</div></main><script>alert(1)</script>", "</textarea><i>",
    "<b>x", "<div id=main>", "<p class=refused>x</p>", "<x-y>z",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">", "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;", "\\<script>alert(1)\\</script>", "`<script>alert(1)</script>`",
    "    <script>alert(1)</script>", "```html\n<script>alert(1)</script>\n```",
    "```\"><script>alert(1)</script>\nx\n```", "~~~state&#32;fail\" onclick=\"x\nx\n~~~",
    "- <script>\n  alert(1)\n  </script>", "> <img src=x onerror=alert(1)>", "# <img src=x onerror=alert(1)>",
    "a | b\n-|-\n<script>alert(1)</script> | <b>", "![x](javascript:alert(1))", "![x](https://evil.org/pixel.png)",
    "![\"onerror=alert(1) x=\"](x)", "[![x](javascript:alert(1))](javascript:alert(2))",
    "[x](https://x.org \"\\\" onmouseover=alert(1) x=\\\"\")", "[x](https://x.org '\"><script>alert(1)</script>')",
    "[x]: javascript:alert(1)\n\n[x]", "[<img src=x onerror=alert(1)>](https://x.org)", "<javascript:alert(1)>",
    "<data:text/html,x>", "<https://x.org/\"onclick=alert(1)>", "{{7*7}} {% raw %} ${7*7}",
    "[a](https://x.org/?q=<script>alert(1)</script>)", "a  \n<br/>b", "[x](<https://x.org/ onclick=alert(1)>)",
]  # fmt: skip


class Shown(HTMLParser):
    """What HTML holds: its elements, their attributes, its links, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.values: list[tuple[str, str | None]] = []
        self.text = ""
        self.strange: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {(tag, name) for name, _ in attributes}
        self.values += attributes

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.strange.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment

    @property
    def links(self) -> list[str | None]:
        """Where its links lead."""
        return [value for name, value in self.values if name == "href"]


def assert_harmless(text: str) -> Shown:
    """Hold a rendered text against the closed list of what there may be."""
    found = Shown(markdown.html(text))
    assert found.elements <= ELEMENTS and found.attributes <= ATTRIBUTES and not found.strange, text
    assert all(re.match(r"https?://[^/?#@\s\\]+([/?#]|$)", link or "") for link in found.links), text
    assert {value for name, value in found.values if name == "rel"} <= {markdown.OUTSIDE}
    assert {value for name, value in found.values if name == "class"} <= {"left", "center", "right"}
    return found


def page(client: httpx.Client) -> str:
    """Return the text of the organiser's page."""
    reply = client.get("/about")
    assert reply.status_code == 200
    return reply.text


@pytest.mark.parametrize("link", LINKS)
def test_no_link_leads_anywhere_but_to_a_whole_address_of_the_web(link: str) -> None:
    """In each of Markdown's ways to write one; what is refused is shown as it is written."""
    for way in (
        "[x]({})",
        "[x](<{}>)",
        "<{}>",
        "[x]({} 'title')",
        "[x][y]\n\n[y]: {}",
        "[x]\n\n[x]: <{}>",
        "[x]({}\n)",
    ):
        found = assert_harmless(way.format(link))
        assert found.links == [], way


@pytest.mark.parametrize("payload", HTML)
def test_html_in_a_description_is_text(payload: str) -> None:
    """Alone and between words; the page's own parts are as without it, and all of it can be read."""
    for text in (payload, f"before\n\n{payload}\n\nafter", f"words {payload} words"):
        assert_harmless(text)


@given(st.text(max_size=200) | st.text("<>[]()!&#;:/\\`*_~|-\n\t \"'ajx:scriptdhtp.", max_size=80))
def test_whatever_is_written_the_page_holds_text_its_form_and_links(text: str) -> None:
    """Whatever a file may hold; and what the terminal says of it, and the excerpt, come without an error."""
    assert_harmless(text)
    assert "\n" not in markdown.plain(text) and isinstance(markdown.kept_as_text(text), list)


def test_a_parser_that_passes_html_on_is_caught() -> None:
    """The control: the same comparison fails for Markdown as it is elsewhere, by most of the payloads."""
    caught = 0
    for payload in HTML:
        found = Shown(markdown.ALL.render(payload))
        caught += not (found.elements <= ELEMENTS and found.attributes <= ATTRIBUTES and not found.strange)
    assert caught > 30


def test_what_markdown_is_for_is_there() -> None:
    """Headings under the page's own, emphasis, lists, code, tables, and links that tell the other side nothing."""
    text = (
        "# Trash\n\nSort *it* **fast**.\n\n- paper\n- glass\n\n3. three\n\n| kind | F1 |\n|:--|--:|\n| can | 0.8 |\n\n"
        "```python\na < b\n```\n[the data](https://x.org/a?b=1&c=2#d 'all') <http://데이터.org/파일.zip>\n"
    )
    shown = markdown.html(text)
    assert shown.startswith("<h2>Trash</h2>") and "<em>it</em> <strong>fast</strong>" in shown
    assert '<td class="right">0.8</td>' in shown and "<pre><code>a &lt; b\n</code></pre>" in shown
    found = assert_harmless(text)
    assert found.links == ["https://x.org/a?b=1&c=2#d", "http://xn--2n1bp39av7g.org/%ED%8C%8C%EC%9D%BC.zip"]
    assert markdown.html("###### x", 3) == "<h6>x</h6>\n" and markdown.kept_as_text(text) == []
    assert markdown.plain(text).startswith("Trash Sort it fast. paper glass three kind F1 can 0.8")


def test_what_is_shown_as_it_is_written_is_told_with_its_line() -> None:
    """HTML, images and links that lead nowhere: the organiser reads of them in his terminal."""
    text = "fine <https://x.org>\n\n<b>bold</b>\n\nwords\nand [more](/team)\n\n- ![x](https://x.org/y.png)\n"
    assert markdown.kept_as_text(text) == [
        "line 3: HTML, '<b>'",
        "line 3: HTML, '</b>'",
        "line 6: a link to '/team', which isn't whole: allowed: http://... or https://...",
        "line 8: an image, of which a link would be made",
    ]


@pytest.mark.parametrize(
    "text",
    ["[" * 25_000 + "]" * 25_000, "*a " * 16_000, "> " * 25_000, "- " * 25_000, "`" * 49_999, "[a](" * 12_500,
     "![" * 25_000, "<" * 50_000, "&" * 50_000, "a|" * 25_000 + "\n" + "-|" * 100, "**a *a " * 7_000, "[a]: <" * 8_000,
     "`a``b" * 10_000, "\\" * 50_000, "~~a" * 16_000, "|a\n|-\n" + "|\n" * 24_000, "1. " * 16_000, "_" * 50_000],
    ids=range(18),
)  # fmt: skip
def test_no_description_takes_the_server_long(text: str) -> None:
    """The longest ones of what parsers are slow at. The bound is wide: this tells seconds from minutes."""
    begun = time.process_time()
    markdown.html(text[: about.LONGEST_DESCRIPTION])
    assert time.process_time() - begun < 10


def test_the_page_shows_description_data_and_announcements(staged: Staged, client: httpx.Client) -> None:
    """The newest announcement first, on the page and in the API, which has the Markdown; the board has its words."""
    assert "has written nothing yet" in page(client)
    assert client.get("/api/about").json() == {"description": "", "data_url": "", "changed": None, "announcements": []}
    about.describe(staged.engine, staged.hosted, "# Pets\r\n\nCats *and* dogs.", "https://x.org/copy.zip")
    for text in ("We begin.", "The **end** is put off: <https://x.org/why>"):
        assert about.announce(staged.engine, staged.hosted, text)[1]
    text, told = page(client), client.get("/api/about").json()
    assert "<h3>Pets</h3>" in text and "Cats <em>and</em> dogs." in text
    assert '<a href="https://x.org/copy.zip" rel="noopener noreferrer nofollow external">x.org/copy.zip</a>' in text
    assert text.index("is put off") < text.index("We begin.")
    assert [a["text"] for a in told["announcements"]] == ["The **end** is put off: <https://x.org/why>", "We begin."]
    assert told["description"] == "# Pets\n\nCats *and* dogs." and told["data_url"] == "https://x.org/copy.zip"
    assert told["changed"] > 0 and told["announcements"][0]["created"] > 0
    assert "<bdi>The end is put off: https://x.org/why</bdi>" in client.get("/").text


def test_the_board_shows_a_new_announcement_at_once(staged: Staged, client: httpx.Client) -> None:
    """Though its page is kept until something happens: this is something."""
    judged(staged, "A", 0.9, 0.5)
    first = client.get("/")
    about.announce(staged.engine, staged.hosted, "Lunch")
    again = client.get("/", headers={"if-none-match": first.headers["etag"]})
    assert "Lunch" not in first.text and again.status_code == 200 and "Lunch" in again.text


def test_what_got_past_the_check_is_no_more_than_text(staged: Staged, client: httpx.Client) -> None:
    """The texts and the link as somebody might write them into the database itself: all payloads at once."""
    about.describe(staged.engine, staged.hosted, "x", "https://x.org")
    about.announce(staged.engine, staged.hosted, "x")
    before = Shown(page(client) + client.get("/").text)
    evil = "\n\n".join([*HTML, *(f"[x]({link})" for link in LINKS)])
    with staged.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE descriptions SET text = :evil, data_url = :link"), {"evil": evil, "link": LINKS[0]}
        )
        connection.execute(sa.text("UPDATE announcements SET text = :evil"), {"evil": evil})
    staged.app.state.site.boards._pages.clear()
    after = Shown(page(client) + client.get("/").text)
    assert after.elements <= before.elements | ELEMENTS and after.attributes <= before.attributes | ATTRIBUTES
    assert all(link in before.links or re.match("https?://[a-z]", link or "") for link in after.links)


@pytest.mark.parametrize(
    "link", [*(link for link in LINKS if link), " ", "https://x.org/" + "a" * 2000, "x.org/copy.zip"]
)
def test_a_data_link_that_is_no_whole_address_is_refused(staged: Staged, link: str) -> None:
    """Of http and https alone; what was there stays."""
    about.describe(staged.engine, staged.hosted, data_url="https://x.org")
    with pytest.raises(HarnessError, match="data_url=.*: allowed: an address that begins with http:// or https://"):
        about.describe(staged.engine, staged.hosted, "new", link)
    assert about.about(staged.engine, staged.hosted).data_url == "https://x.org"
    assert about.about(staged.engine, staged.hosted).description == ""


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("a\x00b", r"line 1: the sign U\+0000 is no text"), ("a\n\x1b[31m", r"line 2: the sign U\+001B"), ("", "is empty"),
     (" \n", "is empty"), ("\udcff", r"U\+DCFF"), ("a" * 4001, "4,001 characters; allowed: 4,000")],
)  # fmt: skip
def test_what_is_no_announcement_is_refused(staged: Staged, text: str, wrong: str) -> None:
    """With its line; nothing of it is stored, or logged."""
    with pytest.raises(HarnessError, match=wrong):
        about.announce(staged.engine, staged.hosted, text)
    assert about.newest(staged.engine, staged.hosted) is None


def test_a_description_and_a_link_are_set_each_by_itself_and_taken_away(staged: Staged) -> None:
    """What isn't said stays as it was."""
    engine, hosted = staged.engine, staged.hosted
    about.describe(engine, hosted, data_url="http://x.org:8080/a_b?c=[1]&d='e'#f")
    told = about.describe(engine, hosted, "a" * about.LONGEST_DESCRIPTION)
    assert len(told.description) == 50_000 and told.data_url == "http://x.org:8080/a_b?c=%5B1%5D&d='e'#f"
    with pytest.raises(HarnessError, match="the description: 50,001 characters; allowed: 50,000"):
        about.describe(engine, hosted, "a" * 50_001)
    told = about.describe(engine, hosted, "", "")
    assert (told.description, told.data_url) == ("", "")


def test_an_announcement_whose_answer_was_lost_is_made_once(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call is made again by itself, and so may it be by hand; another in between makes it a new one."""
    transact = store.transact
    monkeypatch.setattr(store, "transact", lambda e, act, p=None: [transact(e, act, p) for _ in range(2)][-1])
    about.announce(staged.engine, staged.hosted, "Lunch")
    monkeypatch.undo()
    assert about.announce(staged.engine, staged.hosted, " Lunch\n") == (
        about.newest(staged.engine, staged.hosted),
        False,
    )
    about.announce(staged.engine, staged.hosted, "Dinner")
    assert about.announce(staged.engine, staged.hosted, "Lunch")[1]
    assert [a.text for a in about.about(staged.engine, staged.hosted).announcements] == ["Lunch", "Dinner", "Lunch"]


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [("UPDATE announcements SET text = 'Dinner'", "announcement 1: was changed"),
     ("DELETE FROM announcements", "announcement 1: was made and is missing"),
     ("INSERT INTO announcements VALUES (9, 1, 'x', 1.0)", "announcement 9: isn't in the log"),
     ("UPDATE descriptions SET text = 'y'", "description of pets: isn't what the log says"),
     ("UPDATE descriptions SET data_url = 'https://evil.org'", "description of pets: isn't what the log says"),
     ("DELETE FROM descriptions", "description of pets: isn't what the log says")],
)  # fmt: skip
def test_what_the_teams_were_told_is_held_against_the_log(staged: Staged, statement: str, wrong: str) -> None:
    """It is whole until somebody writes into the database."""
    about.describe(staged.engine, staged.hosted, "x")
    about.describe(staged.engine, staged.hosted, data_url="https://x.org")
    about.announce(staged.engine, staged.hosted, "Lunch")
    assert audit.audit(staged.engine).wrong == []
    with staged.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert audit.audit(staged.engine).wrong == [wrong]


def test_times_are_utc_and_say_so_where_no_script_runs(staged: Staged) -> None:
    """Each is a time element with the moment in it; every page says of what zone its times are."""
    client: Any = client_of(staged)
    number = judged(staged, "A", 0.9, 0.5)
    about.announce(staged.engine, staged.hosted, "Lunch")
    with staged.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE competitions SET opens = 1767225600, closes = 4102444800")
    for path in ("/", "/about", "/rules", f"/entries/{number}", f"/teams/{staged.teams['A'].id}"):
        text = client.get(path).text
        times = re.findall(r'<time datetime="([^"]*)"( data-named)?>([^<]*)</time>', text)
        assert len(times) == text.count("<time") >= 2, path
        for moment, named, shown in times:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", moment)
            assert shown == moment[:16].replace("T", " ") + (" UTC" if named else "")
        assert re.search(r"All times are <span data-zone=[^>]*>UTC</span>", text), path
    assert "2026-01-01 00:00 UTC" in client.get("/about").text
    assert json.dumps(client.get("/api/competition").json()["closes"]) == "4102444800.0"
