"""The contract: what OpenAPI says is what is answered, whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema

from trisignal_pipeline.api.access import Token
from trisignal_pipeline.api.application import build_app
from trisignal_pipeline.api.parameters import PREFIX
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.api.running_api import Api, running

NQ = "GLBX.MDP3:NQ"
START = "2024-11-26T00:00:00Z"
SECRET = "a-token-of-some-length-0123456789"

SPANS = tuple(
    f"{PREFIX}/{path}"
    for path in (
        "bars", "bias", "triangles/events", "dataset", "quality/coverage", "quality/alignment",
        "quality/determinism",
    )
)  # fmt: skip
WORLD = f"{PREFIX}/world"
WITHOUT_PARAMETERS = ("/healthz", "/readyz", "/metrics")
POSSIBLE = {
    **{path: {"symbol": NQ, "start": START, "end": "2024-11-26T02:00:00Z"} for path in SPANS},
    WORLD: {"symbol": NQ, "ts": "2024-11-26T00:01:00Z"},
    **{path: {} for path in WITHOUT_PARAMETERS},
}
"""Parameters of a market that is there."""

_CONFIG = {
    "seed": 1,
    "headers": {"Authorization": f"Bearer {SECRET}"},
    "checks": {
        # What fits the schema may still be a span that ends before it starts, or a cursor that was
        # never given.
        "positive_data_acceptance": {
            "expected-statuses": ["200", "304", "404", "406", "409", "422"],
        },
    },
}


@pytest.fixture(scope="module")
def guarded(week: Database) -> Iterator[Api]:
    """The application with a token."""
    with running(build_app(week, token=Token(SECRET))) as served:
        yield served


@pytest.fixture(scope="module")
def described(guarded: Api) -> BaseSchema:
    return schemathesis.openapi.from_url(
        f"http://127.0.0.1:{guarded.port}{PREFIX}/openapi.json",
        config=SchemathesisConfig.from_dict(_CONFIG),
        headers={"Authorization": f"Bearer {SECRET}"},
    )


def asked(operation: Any, mode: GenerationMode, most: int, given_too: dict[str, str]) -> set[int]:
    """Ask whatever the description allows, or forbids, and return what was answered."""
    statuses = set()

    @seed(1)
    @settings(
        max_examples=most,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        case.query = {**(case.query or {}), **given_too} if given_too else case.query
        statuses.add(case.call_and_validate().status_code)

    ask()
    return statuses


@pytest.mark.parametrize("path", POSSIBLE)
def test_what_the_description_allows_is_answered_as_it_says(
    described: BaseSchema, path: str
) -> None:
    operation = described[path]["GET"]
    assert 200 in asked(operation, GenerationMode.POSITIVE, 30, POSSIBLE[path])
    if POSSIBLE[path]:
        assert asked(operation, GenerationMode.POSITIVE, 30, {}) <= {200, 404, 409, 422}


@pytest.mark.parametrize("path", [*SPANS, WORLD])
def test_what_the_description_forbids_is_refused(described: BaseSchema, path: str) -> None:
    assert asked(described[path]["GET"], GenerationMode.NEGATIVE, 50, {}) <= {
        401,
        404,
        405,
        409,
        422,
    }


def test_examples_are_what_the_schemas_say(api: Api) -> None:
    described = api.get("openapi.json").json
    parts: list[tuple[str, Any, Any]] = [
        (path, content["schema"], content["example"])
        for path, item in described["paths"].items()
        for answer in item["get"]["responses"].values()
        for content in answer.get("content", {}).values()
        if "example" in content
    ]
    assert len(parts) > 30
    for path, described_by, example in parts:
        assert jsonschema_rs.is_valid(described_by, example), (path, example)
