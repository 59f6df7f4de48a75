"""What a reader sees in a real browser: times in his zone, no text over another on a phone, and no script of others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from staged import Staged, judged, running, stage, waiting
from test_about import HTML, LINKS
from test_browser import ARGUMENTS, CHROMIUM, PHONE, sync

from harness.board import about, store, tables

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM} here (Debian: apt-get install chromium)")

NAMES = (
    "Blue Whales", "gradient descenders", "팀 하나 둘 셋 넷", "WWWWMMMMWWWWMMMM", "Schnelle Füße", "i", "Zeno",
    "the quick brown fox jumps over a lazy do", "ナハトシヒト", "Lab 4", "Les Poissons", "ResNot", "coffee",
    "Übermüdet",
)  # fmt: skip
OVERPRINTS = """() => {
  const svg = document.querySelector(".picture > svg"), found = [];
  const box = (e) => e.getBoundingClientRect();
  const over = (a, b) =>
    a.left < b.right - .5 && b.left < a.right - .5 && a.top < b.bottom - .5 && b.top < a.bottom - .5;
  const texts = [...svg.querySelectorAll("text")], names = [...svg.querySelectorAll(".names text")];
  for (const [i, a] of texts.entries()) {
    for (const b of texts.slice(i + 1)) if (over(box(a), box(b))) found.push([a.textContent, b.textContent]);
    if (box(a).left < box(svg).left || box(a).right > box(svg).right) found.push([a.textContent, "edge"]);
  }
  for (const a of names) {
    for (const mark of svg.querySelectorAll("circle, .interval, .target"))
      if (over(box(a), box(mark))) found.push([a.textContent, mark.outerHTML]);
    const line = svg.querySelector(".front"), to = line.getScreenCTM();
    for (let at = 0; at < line.getTotalLength(); at += 1) {
      const p = line.getPointAtLength(at).matrixTransform(to);
      if (over(box(a), { left: p.x, right: p.x + 1, top: p.y, bottom: p.y + 1 })) found.push([a.textContent, "line"]);
    }
  }
  return found;
}"""
"""Which texts of the picture lie over another, over a mark or the edge; names also over lines."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium."""
    with sync.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open tabs that note what goes wrong in them: errors, broken policies, dialogs, and requests to other servers."""
    opened: list[Any] = []

    def new(**options: Any) -> Any:
        opened.append(browser.new_context(**options))
        opened[-1].set_default_timeout(120_000)
        page = opened[-1].new_page()
        page.wrong = []
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("console", lambda said: page.wrong.append(said.text))
        page.on("dialog", lambda dialog: (page.wrong.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda r: None if r.url.startswith("http://localhost") else page.wrong.append(r.url))
        return page

    yield new
    for context in opened:
        context.close()


def dated(staged: Staged) -> None:
    """Let the competition open in winter and close in summer, by the database's own figures."""
    change = {"opens": 1767225600.0, "closes": 4118144400.0}  # 2026-01-01 00:00 and 2100-07-01 17:00 UTC
    store.transact(staged.engine, lambda c: c.execute(tables.Competition.__table__.update().values(change)))


@pytest.mark.parametrize(
    ("zone", "opens", "closes", "named"),
    [
        ("Asia/Seoul", "2026-01-01 09:00 GMT+9", "2100-07-02 02:00 GMT+9", "in your time zone, Asia/Seoul"),
        ("America/New_York", "2025-12-31 19:00 EST", "2100-07-01 13:00 EDT", "in your time zone, America/New York"),
        ("Asia/Kathmandu", "2026-01-01 05:45 GMT+5:45", "2100-07-01 22:45 GMT+5:45", "in your time zone, Asia/Ka"),
        ("UTC", "2026-01-01 00:00 UTC", "2100-07-01 17:00 UTC", "UTC"),
    ],
)
def test_times_are_those_of_the_readers_zone(
    staged: Staged, served: str, tab: Callable[..., Any], zone: str, opens: str, closes: str, named: str
) -> None:
    """Summer time too; the page says whose zone, and a time's title has UTC."""
    dated(staged)
    page = tab(timezone_id=zone)
    page.goto(f"{served}/about")
    assert page.locator("dd time").all_inner_texts() == [opens, closes]
    assert f"All times are {named}" in page.locator("footer").inner_text()
    assert page.locator("dd time").first.get_attribute("datetime") == "2026-01-01T00:00:00+00:00"
    title = None if zone == "UTC" else "2026-01-01 00:00 UTC"
    assert page.locator("dd time").first.get_attribute("title") == title and not page.wrong


def test_without_a_script_times_are_utc_and_said_to_be(staged: Staged, served: str, tab: Callable[..., Any]) -> None:
    """In a zone that is another: nothing is shown as local that isn't."""
    dated(staged)
    judged(staged, "A", 0.9, 0.5)
    page = tab(timezone_id="Asia/Seoul", java_script_enabled=False)
    page.goto(f"{served}/about")
    assert page.locator("dd time").all_inner_texts() == ["2026-01-01 00:00 UTC", "2100-07-01 17:00 UTC"]
    assert "All times are UTC" in page.locator("footer").inner_text()
    page.goto(served)
    assert page.get_by_role("columnheader", name="When (UTC)").is_visible()


def test_a_page_that_renews_itself_stays_in_the_readers_zone(
    staged: Staged, served: str, tab: Callable[..., Any]
) -> None:
    """The queue is asked for again and again; what comes is turned before it is shown. Takes 4 s: it polls each 3 s."""
    waiting(staged, "A")
    page = tab(timezone_id="Asia/Seoul")
    page.goto(f"{served}/queue")
    times = page.locator("#line time")
    assert times.count() == 1 and page.get_by_role("columnheader", name="Came in (your time)").is_visible()
    waiting(staged, "B")
    times.nth(1).wait_for()
    seconds = [np.datetime64(t.get_attribute("datetime")[:16]) for t in times.all()]
    assert times.all_inner_texts() == [str(t + np.timedelta64(9, "h")).replace("T", " ") for t in seconds]
    assert page.get_by_role("columnheader", name="Came in (your time)").is_visible() and not page.wrong


def close_together(random: np.random.Generator, count: int) -> list[tuple[float, float]]:
    """Figures of teams that learn from each other."""
    return [(float(0.9 + random.normal(0, 0.01)), float(np.exp(random.normal(0, 0.05)))) for _ in range(count)]


def far_apart(random: np.random.Generator, count: int) -> list[tuple[float, float]]:
    """Figures from a thousandth of the reference's time to hundred times it."""
    return [(float(random.uniform(0.1, 0.99)), float(10 ** random.uniform(-3, 2))) for _ in range(count)]


def on_the_line(random: np.random.Generator, count: int) -> list[tuple[float, float]]:
    """Figures of which none beats another."""
    return [(0.5 + 0.03 * i, 0.2 * 1.15**i) for i in range(count)]


@pytest.mark.parametrize("figures", [close_together, far_apart, on_the_line])
@pytest.mark.parametrize("count", [1, 3, len(NAMES)])
def test_on_a_phone_no_text_of_the_picture_lies_over_another(
    tmp_path: Path, tab: Callable[..., Any], figures: Callable[..., Any], count: int
) -> None:
    """Of names long and short, in other scripts, of any figures: at 360 pixels, in between, and at a desk.

    Takes some seconds: each board is drawn by a real browser.
    """
    random = np.random.default_rng(count)
    staged = stage(tmp_path, names=NAMES[-count:], images=600, ladder=False)
    for name, (f1, ratio) in zip(NAMES[-count:], figures(random, count), strict=True):
        judged(staged, name, min(f1, 0.999), ratio, width=0.03)
    with running(staged) as url:
        page = tab(viewport=PHONE)
        for width in (360, 470, 520, 700, 1000):
            page.set_viewport_size({"width": width, "height": 740})
            page.goto(url)
            assert page.locator(".names text").count() >= 1
            assert page.evaluate(OVERPRINTS) == [], width
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        letters = "parseFloat(getComputedStyle(document.querySelector('.names text')).fontSize)"
        scale = "document.querySelector('.picture > svg').getScreenCTM().a"
        page.set_viewport_size(PHONE)
        assert page.evaluate(f"{letters} * {scale}") >= 10  # pixels: they can be read
    staged.engine.dispose()


def test_a_hostile_description_does_nothing_in_a_browser(staged: Staged, served: str, tab: Callable[..., Any]) -> None:
    """All payloads at once: no script, no dialog, no request, no broken policy; the page's own parts work."""
    evil = "\n\n".join([*HTML, *(f"[x]({link}) <{link}>\n\n[{link}]: {link}" for link in LINKS)])
    text = "".join(sign for sign in evil if sign in "\n\t" or sign.isprintable())
    about.describe(staged.engine, staged.hosted, f"# Before\n\n{text}\n\n# After", "https://x.org/copy.zip")
    about.announce(staged.engine, staged.hosted, text[:3500])
    page = tab(viewport=PHONE)
    for path in ("/about", "/"):
        page.goto(served + path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        links = page.locator("main a").evaluate_all(
            "all => all.map((a) => [a.getAttribute('href'), a.protocol, a.host])"
        )
        outside = [link for link in links if not re.match(r"/(about|rules|upload)\b", link[0])]
        assert all(re.match("https?:", kind) and href.startswith(f"{kind}//{host}") for href, kind, host in outside), (
            outside
        )
        assert page.locator("main :is(script, img, iframe, object, embed, form, style, base, meta, link)").count() == 0
    page.goto(f"{served}/about")
    assert page.get_by_role("heading", name="Before").is_visible() and page.get_by_role("heading", name="After").count()
    assert page.locator("h1").count() == 1 and not page.wrong
