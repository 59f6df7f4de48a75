"""The API: what the pages show and do, for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field

from harness.board import picks, teams
from harness.board.about import About
from harness.board.about import about as all_said
from harness.board.teams import LONGEST_URL
from harness.web import views
from harness.web.declined import Problem
from harness.web.site import FORM, Asking, Here, Member, declared, received

LARGEST = 2**31 - 1
"""Of the numbers that the databases count with."""
Number = Annotated[int, Path(ge=1, le=LARGEST)]
Before = Annotated[int | None, Query(ge=1, le=LARGEST, description="the page after this entry")]
Page = Annotated[int, Query(ge=1, le=1_000_000)]
PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem} for code in (400, 401, 403, 404, 408, 413, 415, 422, 429, 503)
}

router = APIRouter(prefix="/api", responses=PROBLEMS, dependencies=[Depends(declared)])


@dataclass(frozen=True)
class Accepted:
    """Where an entry is. new: false where the same files were there already."""

    id: int
    new: bool
    url: str


class Picks(BaseModel):
    """Entries chosen for the end."""

    entries: list[Annotated[int, Field(ge=1, le=LARGEST)]] = Field(max_length=100)


class Page_(BaseModel):
    """A team's own page, such as its W&B project; "" for none."""

    url: str = Field(max_length=LONGEST_URL)


@router.get("/competition")
def competition(here: Here) -> views.Rules:
    """Rules, targets, limits and times."""
    return views.rules(here.hosted())


@router.get("/about")
def about(here: Here) -> About:
    """What the organiser says: a description and announcements, in Markdown, and where the data are."""
    return all_said(here.engine, here.hosted())


@router.get("/standings")
def standings(here: Here, board: views.Which | None = None, page: Page = 1) -> views.Standing:
    """A page of the board; the private one once the competition has closed."""
    return views.standing(here.boards, here.hosted(), board, page)


@router.get("/queue")
def queue(here: Here) -> views.Queue:
    """What waits, what is being judged, and how long it will take."""
    return views.queue_of(here.engine, here.hosted())


@router.post(
    "/entries",
    status_code=201,
    openapi_extra=FORM,
    responses={200: {"model": Accepted, "description": "the same files were there already"}},
)
async def submit(here: Here, who: Member, request: Request, response: Response) -> Accepted:
    """Submit an entry; the same files again give the same number (200), and cost no quota."""
    number, new, _ = await received(here, request, who)
    response.status_code = 201 if new else 200
    response.headers["location"] = f"/api/entries/{number}"
    return Accepted(number, new, f"/entries/{number}")


@router.get("/entries/{number}", openapi_extra={"security": [{}]})  # a token, or none
def entry(here: Here, who: Asking, number: Number) -> views.Entry:
    """An entry: all of it for its team; for others what stands on the board."""
    return views.entry(here.engine, here.boards, here.hosted(), number, who)


@router.get("/teams/me")
def me(here: Here, who: Member, before: Before = None) -> views.Mine:
    """Your team, what is left of today's quota, and a page of your entries."""
    return views.mine(here.engine, here.boards, here.hosted(), who, before)


@router.put("/teams/me")
def set_page(here: Here, who: Member, page: Page_) -> views.Mine:
    """Set your team's link."""
    teams.set_url(here.engine, who, page.url)
    return views.mine(here.engine, here.boards, here.hosted(), who)


@router.get("/teams/{number}")
def team(here: Here, number: Number) -> views.Named:
    """A team and its place."""
    return views.team(here.engine, here.boards, here.hosted(), number)


@router.get("/picks")
def picked(here: Here, who: Member) -> Picks:
    """Which of your entries are chosen for the end."""
    return Picks(entries=picks.chosen(here.engine, who.id, here.hosted().id))


@router.put("/picks")
def pick(here: Here, who: Member, wanted: Picks) -> Picks:
    """Choose the entries that count at the end: these and no others."""
    picks.choose(here.engine, who.id, here.hosted().id, wanted.entries)
    return Picks(entries=picks.chosen(here.engine, who.id, here.hosted().id))
