"""A team's day in a real browser: Debian's chromium, a real server, a real judge in its sandbox, embedded digits.

Only the judge's clock isn't real: it stands still, so that no noise refuses an entry.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from staged import Staged, running
from still_clock import judges_clock

from harness import config
from harness.board import competitions, store, teams, worker
from harness.board.competitions import Contest
from harness.judge import timing
from harness.judge.judge import judge
from harness.sandbox.remote import Mode
from harness.web.app import create_app
from harness.web.guard import Bounds

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
EXAMPLE = Path(__file__).parents[2] / "submissions" / "example"
PHONE = {"width": 360, "height": 740}
PAGES = ("/", "/about", "/queue", "/upload", "/team", "/rules")
JUDGED_MS = 120_000
"""How long a verdict may take on a busy machine; it takes 10 s on an idle one."""

sync = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM} here (Debian: apt-get install chromium)")


@dataclass(frozen=True)
class Day:
    """What the tests share. browser: chromium. url: of the server."""

    browser: Any
    url: str
    token: str

    def page(self, **options: Any) -> Any:
        """Open a tab whose console must stay clean of errors: no policy broken, no script failed."""
        context = self.browser.new_context(**options)
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.wrong = []
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("console", lambda m: page.wrong.append(m.text) if "Content Security Policy" in m.text else None)
        return page

    def upload(self, page: Any, folder: Path = EXAMPLE, token: str = "") -> None:
        """Fill the form in and send it."""
        page.goto(f"{self.url}/upload")
        page.get_by_label("Your team's token").fill(token or self.token)
        for name in ("model.onnx", "predictions.csv", "manifest.json"):
            page.get_by_label(name).set_input_files(folder / name)
        page.get_by_role("button", name="Submit").click()


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory, mode: Mode) -> Iterator[Day]:
    """Digits hosted and served, a judge at work, a browser open."""
    folder = tmp_path_factory.mktemp("day")
    url = f"sqlite:///{folder}/board.db"
    engine, rules = store.open(url), config.read_competition("digits")
    digits = _digits(rules)
    hosted = competitions.create(engine, rules, digits)
    team, token = teams.add(engine, "Blue Whales")
    app = create_app(engine, folder / "files", "", Bounds(hosts=("localhost",)))
    staged = Staged(engine, folder / "files", hosted, app, {"A": team}, {"A": token})
    with running(staged) as address, _judge(folder, url, digits, mode), sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield Day(browser, address, token)
        browser.close()
    engine.dispose()


def _digits(rules: Any) -> Any:
    from harness.data.sets import load

    data = Contest.of(rules).data
    settings = config.load("submit", config.of_manifest(data, []))
    return load(*config.data_options(settings.data))


@contextmanager
def _judge(folder: Path, url: str, digits: Any, mode: Mode) -> Iterator[None]:
    """Have a judge at work in a thread, in the sandbox where there can be one."""
    engine, stop = store.open(url), threading.Event()
    place = (engine, folder / "files", competitions.find(engine, ""), digits, folder / "cache")
    working = threading.Thread(
        target=worker.work, args=place, kwargs={"judge": judge, "sandbox": mode, "stop": stop}, daemon=True
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "measure", judges_clock({"onnx": 0.5}))
        working.start()
        yield
        stop.set()
        working.join(60)
    engine.dispose()


def test_a_team_submits_waits_sees_its_rank_and_picks(day: Day) -> None:
    """The whole way by mouse, with the page kept up to date by itself. Over 5 s: a real judgement is waited for."""
    page = day.page()
    day.upload(page)
    page.get_by_text("Received.").wait_for()
    page.wait_for_url(re.compile(r"/entries/\d+$"))  # reloading doesn't send it again
    page.locator("#status").get_by_text(re.compile("Rank 1 on the board|refused")).wait_for(timeout=JUDGED_MS)
    assert page.locator("#say").inner_text().startswith("judged")  # a screen reader was told
    page.get_by_role("link", name="Board").click()
    row = page.get_by_role("row", name=re.compile("Blue Whales"))
    assert row.get_by_role("cell").first.inner_text() == "1"
    assert page.get_by_role("img", name="F1 against time").is_visible()
    page.get_by_role("link", name="My team").click()
    page.get_by_label("pick entry 1").check()  # the tab remembered the token
    page.get_by_role("button", name="Save my picks").click()
    page.get_by_text("Your picks are saved.").wait_for()
    assert page.get_by_label("pick entry 1").is_checked()
    page.get_by_label("Your W&B project").fill("https://wandb.ai/blue/whales")
    page.get_by_role("button", name="Save the link").click()
    page.get_by_text("Your link is saved.").wait_for()
    link = page.get_by_role("link", name="wandb.ai/blue/whales")
    assert "noopener" in link.get_attribute("rel") and page.get_by_label("pick entry 1").is_checked()
    page.get_by_role("button", name="Forget the token").click()
    page.goto(f"{day.url}/team")
    assert page.get_by_role("button", name="Show my team").is_visible() and not page.wrong


def test_a_bad_file_and_a_wrong_token_are_told(day: Day, tmp_path: Path) -> None:
    """The line of the csv; that the token isn't known."""
    page = day.page()
    for name in ("model.onnx", "predictions.csv", "manifest.json"):
        (tmp_path / name).write_bytes((EXAMPLE / name).read_bytes())
    table = (tmp_path / "predictions.csv").read_text().replace("digits-00005,9", "digits-00005,<b>nine</b>")
    (tmp_path / "predictions.csv").write_text(table)
    manifest = (tmp_path / "manifest.json").read_text()
    old, new = (_sha256(folder / "predictions.csv") for folder in (EXAMPLE, tmp_path))
    (tmp_path / "manifest.json").write_text(manifest.replace(old, new))
    day.upload(page, tmp_path)
    alert = page.get_by_role("alert")
    assert "line 3: unknown label '<b>nine</b>'" in alert.inner_text()
    day.upload(page, token="hb_" + "w" * 43)
    assert "no token, or one that isn't known" in page.get_by_role("alert").inner_text() and not page.wrong


def test_all_works_without_javascript(day: Day) -> None:
    """The form, the entry's page with its own way to look again, the team's page."""
    page = day.page(java_script_enabled=False)
    day.upload(page)  # the same files: the very entry of before, or a new one where this test runs alone
    page.get_by_role("heading", name=re.compile("Entry 1")).wait_for()
    page.goto(f"{day.url}/team")
    page.get_by_label("Your team's token").fill(day.token)
    page.get_by_role("button", name="Show my team").click()
    page.get_by_role("heading", name="Blue Whales").wait_for()
    assert page.get_by_role("row", name=re.compile("example")).is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_the_dark(day: Day, scheme: str) -> None:
    """Nothing is wider than 360 px; paper and ink change with the scheme, at a contrast of 7 to 1 or more."""
    page = day.page(viewport=PHONE, color_scheme=scheme)
    for path in PAGES:
        page.goto(day.url + path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        paper, ink = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
        lights = [_luminance(colour) for colour in (paper, ink)]
        assert (lights[0] < 0.1) == (scheme == "dark") and _contrast(*lights) >= 7
        soft = page.evaluate("getComputedStyle(document.querySelector('footer')).color")
        assert _contrast(lights[0], _luminance(soft)) >= 4.5
    assert not page.wrong


def test_pages_can_be_read_and_used_without_seeing_them(day: Day) -> None:
    """By keyboard: the skip link first, focus is seen; landmarks, one heading of the first level, named controls."""
    page = day.page()
    for path in PAGES:
        page.goto(day.url + path)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        for role in ("banner", "main", "contentinfo", "navigation"):
            assert page.get_by_role(role).count() >= 1, (path, role)
        assert page.locator("h1").count() == 1 and page.locator("html[lang=en]").count() == 1
        unnamed = "els => els.filter(e => !e.labels.length && !e.ariaLabel && e.type != 'hidden').length"
        assert page.locator("input").evaluate_all(unnamed) == 0, path
        assert page.locator("table").count() == page.locator("table > caption").count()
        assert page.locator("th:not([scope])").count() == 0


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def _luminance(colour: str) -> float:
    """Return the relative luminance of rgb(...). Source: https://www.w3.org/TR/WCAG21/#dfn-relative-luminance"""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: float, b: float) -> float:
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)
