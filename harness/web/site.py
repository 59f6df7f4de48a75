"""What the routes work on: one competition of one database, and who is asking."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from harness.board import competitions, intake
from harness.board.competitions import Hosted
from harness.board.teams import Team
from harness.web import upload, views
from harness.web.declined import Declined
from harness.web.guard import Bounds
from harness.web.tokens import Tokens, unknown

PARTS = {name: {"type": "string", "format": "binary"} for name in upload.PARTS}
FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": list(PARTS),
                    "properties": {"kind": {"type": "string", "enum": ["scored", "debug"]}, **PARTS},
                }
            }
        },
    }
}
"""What an upload looks like to OpenAPI: its route takes the body in by itself."""


@dataclass(frozen=True)
class Site:
    """A served competition. root: of the entries' files."""

    engine: Engine
    root: Path
    name: str
    bounds: Bounds
    tokens: Tokens
    lanes: upload.Lanes
    boards: views.Boards

    def hosted(self) -> Hosted:
        """Return the competition as it is now."""
        return competitions.find(self.engine, self.name)


def site(request: Request) -> Site:
    """Return what this application serves."""
    return request.app.state.site


Here = Annotated[Site, Depends(site)]
Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Security(HTTPBearer(auto_error=False, scheme_name="token", description="the team's token, hb_...")),
]


def declared(request: Request) -> None:
    """Refuse what a route doesn't know: a misspelt key would be answered as if it weren't there."""
    known = sorted(field.alias for field in request.scope["route"].dependant.query_params)
    if unknown_keys := [key for key in request.query_params if key not in known]:
        what = f"?{unknown_keys[0]}=: no key of {request.url.path}; allowed: {', '.join(known) or 'none'}"
        raise Declined(400, "request", what, "remove or rename it")


def asking(here: Here, request: Request, bearer: Bearer) -> Team | None:
    """Return the team by the request's header; None where it has no token. A wrong token is refused."""
    return None if bearer is None else here.tokens.team(bearer.credentials, address(request))


def member(team: Annotated[Team | None, Depends(asking)]) -> Team:
    """Return the team by the request's header, which must be there."""
    if team is None:
        raise unknown()
    return team


Asking = Annotated[Team | None, Depends(asking)]
Member = Annotated[Team, Depends(member)]


def address(request: Request) -> str:
    """Return where a request comes from."""
    return request.client.host if request.client else ""


async def received(here: Site, request: Request, who: Team | None) -> tuple[int, bool, Team]:
    """Take an upload in; return the entry's number, whether it is new, and its team."""
    hosted = await run_in_threadpool(here.hosted)
    with ExitStack() as holding:
        parcel = upload.Parcel(
            who, here.root, hosted.contest.limits(), here.lanes,
            lambda token: here.tokens.team(token, address(request)), holding,
        )  # fmt: skip
        inbox = await upload.receive(request, parcel)
        team = parcel.who
        assert team is not None  # or there were no files
        number, new = await run_in_threadpool(intake.take, here.engine, hosted, team, parcel.kind, inbox)
    return number, new, team
