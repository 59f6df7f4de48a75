"""The application: pages, API and guard around one competition, and what is answered when something is wrong."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from harness.board import competitions
from harness.board.competitions import Hosted
from harness.errors import HarnessError
from harness.web import api, pages, upload, views
from harness.web.declined import Declined, Problem, declined
from harness.web.guard import HEADERS, Bounds, Guard
from harness.web.site import Site
from harness.web.tokens import Tokens

STATIC = Path(__file__).with_name("static")
FORM_BYTES = 1_000_000
"""An upload's body beyond its files."""
MACHINES = ("/api/", "/openapi.json")
BROKEN = Problem(
    "server", "the server made a mistake; it has been logged", "try again; if it stays so tell the organiser"
)
WORDS = {404: ("missing", "there is no such page"), 405: ("method", "this address doesn't take that method")}


def create_app(engine: Engine, root: Path, competition: str = "", bounds: Bounds | None = None) -> FastAPI:
    """Make the application that serves one competition.

    root: of the entries' files. competition: may be left empty where the database has one.

    Raises:
        HarnessError: there is no such competition.
    """
    hosted = competitions.find(engine, competition)
    bounds = replace(bounds or Bounds(), upload_bytes=_upload_bytes(hosted))
    app = FastAPI(title=f"Competition {hosted.name}", version="1", docs_url=None, redoc_url=None)
    app.state.site = Site(
        engine, root, hosted.name, bounds, Tokens(engine, bounds.wrong_tokens), upload.Lanes(bounds),
        views.Boards(engine),
    )  # fmt: skip
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_middleware(Guard, bounds=bounds)
    for kind in (HarnessError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _declined)
    return app


def _declined(request: Request, error: Exception) -> Response:
    """Answer with what was wrong: as an object for programs, as a page for people."""
    found = _understood(error)
    headers = {} if found.retry_s is None else {"retry-after": str(max(1, round(found.retry_s)))}
    if found.status == 401:
        headers["www-authenticate"] = "Bearer"
    problem = Problem(found.reason, found.what, found.fix)
    if request.url.path.startswith(MACHINES):
        reply: Response = JSONResponse(problem.__dict__, found.status)
    else:
        reply = pages.render(request, "problem", None, found.status, problem=problem, status=found.status)
    reply.headers.update(headers | (HEADERS if found.status == 500 else {}))  # made outside of the guard
    return reply


def _understood(error: BaseException) -> Declined:
    if isinstance(error, HarnessError):
        return declined(error)
    if isinstance(error, HTTPException):
        if isinstance(error.__cause__, Declined):  # FastAPI wraps what goes wrong while it reads a body
            return error.__cause__
        reason, what = WORDS.get(error.status_code, ("request", "the request can't be understood"))
        return Declined(error.status_code, reason, what, "see /openapi.json for what there is")
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return Declined(422, "request", f"{ascii(where)[1:-1][:100]}: {first['msg'][:200]}", "see /openapi.json")
    logging.getLogger("uvicorn.error").debug("a fault of ours; uvicorn logs its traceback")
    return Declined(500, BROKEN.reason, BROKEN.message, BROKEN.fix)


def _upload_bytes(hosted: Hosted) -> int:
    limits = hosted.contest.limits()
    return limits.model_bytes + limits.predictions_bytes + limits.manifest_bytes + FORM_BYTES
