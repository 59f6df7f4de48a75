"""The board in a browser: pages that need no JavaScript, made of what `views` shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from harness.board import about, markdown, picks, standings, teams
from harness.board.competitions import Hosted
from harness.board.teams import Team
from harness.web import picture, upload, views
from harness.web.api import Before, Number, Page
from harness.web.site import Asking, Here, Site, address, received

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
EXCERPT = 160
"""Characters of the newest announcement that stand on the board."""
Token = Annotated[str, Form(max_length=upload.LONGEST_FIELD)]


@router.get("/")
def board(here: Here, request: Request, board: views.Which | None = None, page: Page = 1) -> Response:
    """Show the board: built once for each change of it."""
    hosted = here.hosted()
    standing = views.standing(here.boards, hosted, board, page)
    tag = f'"{standing.version}-{standing.board}-{page}-{hosted.open}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304)
    _, places = here.boards.places(hosted, standing.board)
    rules = views.rules(hosted)

    def make() -> str:
        drawn = picture.draw(places, rules.targets.get("f1_target"))
        newest = about.newest(here.engine, hosted)
        return _text(request, "board", rules, standing=standing, picture=drawn, newest=newest)

    text = here.boards.page(tag, make)
    return HTMLResponse(text, headers={"etag": tag, "cache-control": "no-cache"})


@router.get("/board.csv")
def table(here: Here, board: views.Which | None = None) -> Response:
    """Give the whole board as a table."""
    hosted = here.hosted()
    _, places = here.boards.places(hosted, views.shown(hosted, board))
    name = f'attachment; filename="{hosted.name}.csv"'
    text = standings.MARK + standings.to_csv(places)
    return Response(text, media_type="text/csv", headers={"content-disposition": name})


@router.get("/about")
def organisers(here: Here, request: Request) -> Response:
    """Show what the organiser says."""
    hosted = here.hosted()
    return render(request, "about", hosted, told=about.about(here.engine, hosted))


@router.get("/rules")
def rules(here: Here, request: Request) -> Response:
    """Show what the competition asks for."""
    return render(request, "rules", here.hosted())


@router.get("/queue")
def queue(here: Here, request: Request) -> Response:
    """Show what waits."""
    hosted = here.hosted()
    return render(request, "queue", hosted, queue=views.queue_of(here.engine, hosted))


@router.get("/upload")
def form(here: Here, request: Request) -> Response:
    """Show the form for an entry."""
    return render(request, "upload", here.hosted())


@router.post("/upload")
async def submit(here: Here, who: Asking, request: Request) -> Response:
    """Take an entry in, and show it."""
    number, new, team = await received(here, request, who)
    return await run_in_threadpool(_entry, here, request, number, team, "received" if new else "known")


@router.get("/entries/{number}")
def entry(here: Here, who: Asking, request: Request, number: Number) -> Response:
    """Show an entry."""
    return _entry(here, request, number, who)


@router.post("/entries/{number}")
def own_entry(here: Here, request: Request, number: Number, token: Token = "") -> Response:
    """Show a team its entry."""
    return _entry(here, request, number, here.tokens.team(token, address(request)))


@router.get("/teams/{number}")
def team(here: Here, request: Request, number: Number) -> Response:
    """Show a team."""
    hosted = here.hosted()
    return render(request, "team", hosted, team=views.team(here.engine, here.boards, hosted, number))


@router.get("/team")
def mine(here: Here, who: Asking, request: Request, before: Before = None) -> Response:
    """Show a team all of itself, or ask for its token."""
    return render(request, "ask", here.hosted()) if who is None else _mine(here, request, who, before)


@router.post("/team")
def own_team(here: Here, request: Request, token: Token = "") -> Response:
    """Show a team all of itself."""
    return _mine(here, request, here.tokens.team(token, address(request)))


@router.post("/team/picks")
def pick(
    here: Here, request: Request, token: Token = "", entry: Annotated[list[int] | None, Form(max_length=100)] = None
) -> Response:
    """Choose what counts at the end."""
    who = here.tokens.team(token, address(request))
    picks.choose(here.engine, who.id, here.hosted().id, entry or [])
    return _mine(here, request, who, done="picks")


@router.post("/team/url")
def set_page(
    here: Here, request: Request, token: Token = "", url: Annotated[str, Form(max_length=teams.LONGEST_URL)] = ""
) -> Response:
    """Set a team's link."""
    who = here.tokens.team(token, address(request))
    teams.set_url(here.engine, who, url)
    return _mine(here, request, who, done="url")


def _mine(here: Site, request: Request, who: Team, before: int | None = None, done: str = "") -> Response:
    hosted = here.hosted()
    return render(request, "mine", hosted, mine=views.mine(here.engine, here.boards, hosted, who, before), done=done)


def _entry(here: Site, request: Request, number: int, who: Team | None, done: str = "") -> Response:
    hosted = here.hosted()
    found = views.entry(here.engine, here.boards, hosted, number, who)
    return render(request, "entry", hosted, 201 if done == "received" else 200, told=found, done=done)


def render(request: Request, name: str, hosted: Hosted | None, code: int = 200, **shown: Any) -> Response:
    """Make a page of a template. hosted: None where a database that is away must not matter."""
    rules = None if hosted is None else views.rules(hosted)
    return HTMLResponse(_text(request, name, rules, **shown), code)


def _text(request: Request, page: str, rules: views.Rules | None, **shown: Any) -> str:
    always = {"name": request.app.state.site.name, "rules": rules, "here": request.url.path}
    return PAGES.get_template(f"{page}.html").render(always | shown)


def _when(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _span(seconds: float | None) -> str:
    """Say about how long something takes."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bytes(size: float) -> str:
    return f"{size / 1e6:#.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB"


def _digits(value: float) -> str:
    """Write four digits, so that a column's values can be compared at a glance."""
    return f"{value:#.4g}".rstrip(".")


def _fixed(value: float | None) -> str:
    """Write points and F1; a dash for what isn't known."""
    return "–" if value is None else f"{value:.4f}"


def _prose(text: str, below: int = 1) -> Markup:
    """Write Markdown out; what it is made of is text, its form and links, by `markdown`."""
    return Markup(markdown.html(text, below))


def _excerpt(text: str) -> str:
    """Return the words that an announcement begins with."""
    words = markdown.plain(text)
    return words if len(words) <= EXCERPT else f"{words[:EXCERPT].rsplit(' ', 1)[0]} …"


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("harness.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"when": _when, "iso": _iso, "span": _span, "bytes": _bytes, "digits": _digits, "fixed": _fixed}
    made.filters |= {"prose": _prose, "excerpt": _excerpt}
    return made


PAGES = _environment()
