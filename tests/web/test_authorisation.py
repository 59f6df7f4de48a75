"""Every route is asked in every role: what a team has is its own, and nobody learns that it is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import staged as stages
from fastapi import FastAPI
from staged import Staged, bearer, client_of, form, judged, packed, waiting
from starlette.routing import Mount

from harness.web.guard import Bounds

SECRET = "nobody-else-sees-this"
ROLES = ("anonymous", "wrong", "revoked", "B", "A")
OPEN = {role: 200 for role in ROLES}
CLOSED = {"anonymous": 401, "wrong": 401, "revoked": 401, "B": 200, "A": 200}
"""What a team does with its own: B may, and sees B's."""
OWNED = {"anonymous": 404, "wrong": 401, "revoked": 401, "B": 404, "A": 200}
REFUSED = CLOSED | {"B": 400, "A": 200}


@dataclass(frozen=True)
class Case:
    """What a route is to answer, by role. send: the request's body. shows: the secret name is in A's answer."""

    expected: dict[str, int]
    send: Any = None
    shows: bool = False


EXPECTED: dict[tuple[str, str], Case] = {
    ("GET", "/openapi.json"): Case(OPEN),
    ("GET", "/static/live.js"): Case(OPEN),
    ("GET", "/"): Case(OPEN),
    ("GET", "/board.csv"): Case(OPEN),
    ("GET", "/about"): Case(OPEN),
    ("GET", "/rules"): Case(OPEN),
    ("GET", "/queue"): Case(OPEN),
    ("GET", "/upload"): Case(OPEN),
    ("POST", "/upload"): Case(CLOSED | {"B": 201, "A": 201}, "files"),
    ("GET", "/entries/{number}"): Case(OWNED, shows=True),
    ("POST", "/entries/{number}"): Case(OWNED | {"anonymous": 401}, "token", shows=True),
    ("GET", "/teams/{number}"): Case(OPEN),
    ("GET", "/team"): Case(CLOSED | {"anonymous": 200}, shows=True),  # asks for the token
    ("POST", "/team"): Case(CLOSED, "token", shows=True),
    ("POST", "/team/picks"): Case(REFUSED, "picks", shows=True),
    ("POST", "/team/url"): Case(CLOSED, "url", shows=True),
    ("GET", "/api/competition"): Case(OPEN),
    ("GET", "/api/about"): Case(OPEN),
    ("GET", "/api/standings"): Case(OPEN),
    ("GET", "/api/queue"): Case(OPEN),
    ("POST", "/api/entries"): Case(CLOSED | {"B": 201, "A": 201}, "files"),
    ("GET", "/api/entries/{number}"): Case(OWNED, shows=True),
    ("GET", "/api/teams/me"): Case(CLOSED, shows=True),
    ("PUT", "/api/teams/me"): Case(CLOSED, {"url": ""}, shows=True),
    ("GET", "/api/teams/{number}"): Case(OPEN),
    ("GET", "/api/picks"): Case(CLOSED),
    ("PUT", "/api/picks"): Case(REFUSED, "entries"),
}
FORMS = ("token", "picks", "url", "files")
CELLS = [(method, path, role) for method, path in EXPECTED for role in ROLES]


def routes(app: FastAPI) -> set[tuple[str, str]]:
    """List what an application answers to."""
    return set(_walk(app.routes))


def _walk(table: Any) -> Iterator[tuple[str, str]]:
    for route in table:
        if hasattr(route, "original_router"):
            yield from _walk(route.original_router.routes)
        elif isinstance(route, Mount):
            yield "GET", f"{route.path}/live.js"
        else:
            yield from ((method, route.path) for method in route.methods - {"HEAD"})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    """A competition where A has an entry that nobody else may see."""
    many = Bounds(hosts=stages.HOSTS, wrong_tokens=1000)
    made = stages.stage(tmp_path_factory.mktemp("matrix"), many, submissions_a_day=1000)
    waiting(made, "A", SECRET)
    return made


def test_no_route_lacks_an_expectation(shared: Staged) -> None:
    """A new route fails here until somebody says who may use it; so does one that is gone."""
    assert routes(shared.app) == set(EXPECTED)


@pytest.mark.parametrize(("method", "path", "role"), CELLS)
def test_every_role_gets_what_it_may(shared: Staged, method: str, path: str, role: str) -> None:
    """The status is as the table says, and no one but A reads the name of A's entry."""
    case = EXPECTED[method, path]
    reply = asked(shared, method, path, role, case)
    assert reply.status_code == case.expected[role], reply.text
    assert (SECRET in reply.text) == (case.shows and role == "A"), reply.text


def asked(shared: Staged, method: str, path: str, role: str, case: Case) -> Any:
    """Ask for A's things in a role: by the header, or on the pages' forms by their field."""
    client = client_of(shared)
    tokens = {"anonymous": "", "wrong": "hb_" + "x" * 43, "revoked": shared.tokens["Gone"]} | shared.tokens
    token, number = tokens[role], shared.teams["A"].id if "/teams/" in path else 1
    at, page = path.replace("{number}", str(number)), not path.startswith("/api")
    headers = bearer(token) if token and not (page and case.send in FORMS) else {}
    if case.send == "files":
        data = {"token": token} if page and token else {}
        folder = packed(shared.root.parent / f"of-{role}{at.replace('/', '-')}", model=f"{role}{at}".encode())
        return client.post(at, files=form(folder), data=data, headers=headers)
    bodies = {"token": {}, "picks": {"entry": ["1"]}, "url": {"url": ""}, "entries": {"entries": [1]}}
    body = bodies.get(case.send, case.send) if isinstance(case.send, str) else case.send
    if page and case.send in FORMS:
        return client.request(method, at, data=body | {"token": token})
    return client.request(method, at, headers=headers, json=body)


def test_all_see_what_stands_on_the_board_and_no_more(staged: Staged, client: httpx.Client) -> None:
    """Others see figures and rank, but not the checks, the message, the sizes or the picks."""
    number = judged(staged, "A", 0.9, 0.5)
    client.put("/api/picks", headers=bearer(staged.tokens["A"]), json={"entries": [number]})
    seen = client.get(f"/api/entries/{number}", headers=bearer(staged.tokens["B"])).json()
    own = client.get(f"/api/entries/{number}", headers=bearer(staged.tokens["A"])).json()
    assert (seen["own"], seen["rank"], seen["entry"]["checks"], seen["entry"]["picked"]) == (False, 1, {}, False)
    assert own["own"] and own["entry"]["checks"] and own["entry"]["picked"]


def test_another_teams_entry_looks_like_none_at_all(staged: Staged, client: httpx.Client) -> None:
    """The replies for an entry that isn't there and for one that is A's differ by the number alone."""
    number = waiting(staged, "A")
    for path in ("/entries/", "/api/entries/"):
        there = client.get(f"{path}{number}", headers=bearer(staged.tokens["B"]))
        nowhere = client.get(f"{path}999", headers=bearer(staged.tokens["B"]))
        assert there.status_code == nowhere.status_code == 404
        assert there.text.replace(f"{number}", "#") == nowhere.text.replace("999", "#").replace(f"{number}", "#")


def test_a_wrong_address_locks_no_team_out(staged: Staged, client: httpx.Client) -> None:
    """Past the limit wrong tokens are turned away unread (429); a token that has been right still is."""
    assert client.get("/api/teams/me", headers=bearer(staged.tokens["A"])).status_code == 200
    replies = [client.get("/api/teams/me", headers=bearer(f"hb_{i:043d}")).status_code for i in range(200)]
    assert set(replies) == {401, 429} and replies.count(401) == 20
    assert client.get("/api/teams/me", headers=bearer(staged.tokens["A"])).status_code == 200
    assert client.post("/team", data={"token": "hb_" + "y" * 43}).status_code == 429
