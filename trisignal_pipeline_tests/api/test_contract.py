"""The contract: what OpenAPI says is what is answered, whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema

from trisignal_pipeline.api.access import Token
from trisignal_pipeline.api.application import PREFIX, build_app
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.api.running_api import Api, running

SECRET = "a-token-of-some-length-0123456789"

PATHS = (
    *(
        f"{PREFIX}/{path}"
        for path in ("world", "bars", "bias", "triangles/events", "dataset")
    ),
    *(f"{PREFIX}/quality/{path}" for path in ("coverage", "alignment", "determinism")),
    "/healthz",
    "/readyz",
    "/metrics",
)

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


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", PATHS)
def test_whatever_is_asked_the_answer_is_one_that_is_described(
    described: BaseSchema, path: str, mode: GenerationMode
) -> None:
    @seed(1)
    @settings(
        max_examples=20,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=described[path]["GET"].as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        case.call_and_validate()

    ask()


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
        schemathesis_validator(described_by, path)(example)
