"""How the server is: whether it lives, whether it can work, and its figures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from trisignal_pipeline.api.problems import RESPONSES
from trisignal_pipeline.api.state import state_of
from trisignal_pipeline.query.health import exposition
from trisignal_pipeline.storage.health import health
from trisignal_pipeline.storage.migrations import require_current_in

probes = APIRouter(tags=["operations"])
figures = APIRouter(tags=["operations"])

_LIVES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": "ok\n"}}}
}
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@probes.get("/healthz", response_class=PlainTextResponse, responses=_LIVES)
async def healthz() -> Response:
    """Whether the process answers. It asks nothing of the database."""
    return PlainTextResponse("ok\n")


@probes.get("/readyz", response_class=PlainTextResponse, responses={**_LIVES, 503: RESPONSES[503]})
def readyz(request: Request) -> Response:
    """Whether the database can be reached and has the schema that this server works with."""
    state = state_of(request)
    state.pool.read(require_current_in, state.database)
    return PlainTextResponse("ok\n")


@figures.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={**_LIVES, **{status: RESPONSES[status] for status in (401, 403, 503, 504)}},
)
def metrics(request: Request) -> Response:
    """Figures of requests and of the pipeline's health, in Prometheus' text format."""
    state = state_of(request)
    measured = state.pool.read(health, datetime.now(UTC), state.folders)
    return PlainTextResponse(
        state.figures.exposition() + exposition(measured), media_type=_EXPOSITION
    )
