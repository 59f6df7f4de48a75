"""Take the pictures of the board that the docs show: python tests/web/pictures.py

A made-up competition with made-up teams and figures; Debian's chromium.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright
from staged import Staged, judged, running, stage, waiting
from test_browser import ARGUMENTS, CHROMIUM

from harness.board import about, queue, teams

OUT = Path(__file__).parents[2] / "docs" / "pictures"
NAMES = (
    "Blue Whales", "gradient descenders", "Team 7", "Schnelle Füße", "owlbears", "Zeno", "Nachtschicht", "quantised",
    "pruned to death", "Lab 4", "Les Poissons", "ResNot", "coffee",
)  # fmt: skip
DESCRIPTION = """\
# Cats, dogs, owls

Tell three kinds of **pets** apart, on a processor that has *one* thread for you.

1. Get the [copy of the data](https://example.org/pets.zip).
2. `harness tune data=published data.root=pets.zip study.name=ours`
3. Submit, and look at the [forum](https://example.org/forum).

| part | images | labels |
|:-----|-------:|:------:|
| train | 4,000 | yes |
| test | 6,000 | no |
"""
ANNOUNCEMENTS = (
    "We begin. Questions go to the [forum](https://example.org/forum).",
    "The judge has a *new machine*: entries of before are **timed again** tonight, and ranks may move.",
)
WIDE, PHONE = {"width": 1000, "height": 700}, {"width": 375, "height": 760}


def made_up(folder: Path) -> Staged:
    """Host a competition with a board worth looking at, a queue, and a refusal."""
    staged, random = (
        stage(folder, names=(*NAMES, "reference"), images=6000, ladder=False, submissions_a_day=100),
        np.random.default_rng(4),
    )
    for name in NAMES:
        for number in range(int(random.integers(1, 6))):
            ratio = float(np.exp(random.uniform(np.log(0.15), np.log(2.2))))
            f1 = float(min(0.96, 0.55 + 0.16 * np.log(ratio / 0.1) + random.normal(0, 0.05)))
            width = float(random.uniform(0.01, 0.05))
            judged(staged, name, f1, ratio, f"net-{number}", width, size_bytes=int(random.uniform(8e4, 3e6)))
    judged(staged, "reference", 0.76, 1.0, "reference")
    with staged.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE teams SET baseline = 1 WHERE name = 'reference'")
    teams.set_url(staged.engine, staged.teams[NAMES[0]], "https://wandb.ai/blue-whales/pets")
    about.describe(staged.engine, staged.hosted, DESCRIPTION, "https://example.org/pets.zip")
    for text in ANNOUNCEMENTS:
        about.announce(staged.engine, staged.hosted, text)
    waiting(staged, NAMES[0], "with-a-loop")
    broken = queue.claim(staged.engine, "one", 600)
    queue.fail(
        staged.engine,
        broken,
        "gate",
        "model.onnx: node 17 is a Loop; allowed: no control flow\n  do: export without it",
    )
    waiting(staged, NAMES[0], "wider")
    running_one = queue.claim(staged.engine, "two", 600)
    queue.stage(staged.engine, running_one, "time")
    for name in NAMES[1:6]:
        waiting(staged, name)
    return staged


def main() -> None:
    """Take them all."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(staged := made_up(Path(folder))) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        take(browser, url, staged.tokens[NAMES[0]])
        browser.close()


def take(browser: Browser, url: str, token: str) -> None:
    """Go through the pages: as wide as a desk's screen, and on a phone by day and by night."""
    page = tab(browser, url, token, WIDE, "light")
    shot(page, "team")
    entry = page.get_by_role("row", name="wider").get_by_role("link").get_attribute("href")
    for path, name in (("/", "board"), ("/queue", "queue"), ("/upload", "upload"), (entry, "entry")):
        page.goto(f"{url}{path}")
        page.wait_for_timeout(400)
        shot(page, name)
    for scheme in ("dark", "light"):
        page = tab(browser, url, token, PHONE, scheme)
        page.goto(url)
        page.wait_for_timeout(200)
        shot(page, f"phone-{scheme}")
    page.goto(f"{url}/about")
    page.wait_for_timeout(200)
    shot(page, "phone-about")


def tab(browser: Browser, url: str, token: str, size: Any, scheme: Any) -> Page:
    """Open a tab that knows the team's token, at the team's page."""
    page = browser.new_page(viewport=size, color_scheme=scheme)
    page.goto(f"{url}/team")
    page.get_by_label("Your team's token").fill(token)
    page.get_by_role("button", name="Show my team").click()
    page.get_by_role("heading", name=NAMES[0]).wait_for()
    return page


def shot(page: Page, name: str) -> None:
    """Write a whole page as a picture of few colours, which keeps it small."""
    from PIL import Image

    path = OUT / f"board-{name}.png"
    page.screenshot(path=path, full_page=True)
    Image.open(path).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    print(f"wrote {path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
