"""The API does what its OpenAPI description says, and nothing that is sent to it makes it fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from staged import Staged, bearer, judged, stage

ROUTES = {
    "/api/competition", "/api/about", "/api/standings", "/api/queue", "/api/entries", "/api/entries/{number}",
    "/api/teams/me", "/api/teams/{number}", "/api/picks",
}  # fmt: skip


def test_the_description_has_every_route_and_the_shape_of_errors(client: httpx.Client) -> None:
    """All that the pages do is there; each route names the one shape of its errors."""
    told = client.get("/openapi.json").json()
    assert set(told["paths"]) == ROUTES
    for path in told["paths"].values():
        for operation in path.values():
            for status in ("400", "401", "404", "422", "429"):
                schema = operation["responses"][status]["content"]["application/json"]["schema"]
                assert schema["$ref"].endswith("/Problem")


def test_whatever_is_sent_no_reply_is_a_5xx(tmp_path: Path) -> None:
    """schemathesis, from the description: 12 examples a route, valid and not, as a team and as nobody.

    Takes about 5 s: several hundred requests are made up and sent. What breaks the description is refused.
    """
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis isn't installed")
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi.checks import (
        negative_data_rejection,
        response_schema_conformance,
        status_code_conformance,
    )

    from harness.web.guard import Bounds

    staged = stage(tmp_path, Bounds(hosts=("localhost",), wrong_tokens=10_000), submissions_a_day=10_000)
    judged(staged, "A", 0.9, 0.5)
    schema = schemathesis.openapi.from_asgi("/openapi.json", staged.app, headers={"host": "localhost"})
    checks = [not_a_server_error, status_code_conformance, response_schema_conformance, negative_data_rejection]
    seen: dict[GenerationMode, list[int]] = {mode: [] for mode in GenerationMode}

    def explore(operation: Any, mode: GenerationMode, head: dict[str, str]) -> None:
        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=12, phases=[Phase.generate], deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def once(case: Any) -> None:
            reply = case.call(headers=head)
            case.validate_response(reply, checks=checks)
            seen[mode].append(reply.status_code)

        once()

    for head in ({"host": "localhost"}, {"host": "localhost"} | bearer(staged.tokens["A"])):
        for operation in schema.get_all_operations():
            asks = operation.ok()
            explore(asks, GenerationMode.POSITIVE, head)
            if {"parameters", "requestBody"} & set(asks.definition.raw):  # else there is nothing to get wrong
                explore(asks, GenerationMode.NEGATIVE, head)
    assert all(len(codes) > 100 and max(codes) < 500 for codes in seen.values())


def test_the_control_has_a_fault_that_is_found(staged: Staged) -> None:
    """A route that fails is seen by the same check."""
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis isn't installed")
    from schemathesis.checks import not_a_server_error

    @staged.app.get("/api/broken")
    def broken() -> None:
        raise RuntimeError("x")

    schema = schemathesis.openapi.from_asgi("/openapi.json", staged.app, headers={"host": "localhost"})
    case = schema["/api/broken"]["GET"].Case()
    with pytest.raises(Exception, match=r"(?i)server error|RuntimeError|x"):
        case.validate_response(case.call(headers={"host": "localhost"}), checks=[not_a_server_error])
