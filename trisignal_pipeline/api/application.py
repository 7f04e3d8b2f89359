"""The application: its routes, and what every request passes on the way to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Security
from fastapi.middleware import Middleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.security import HTTPBearer

from trisignal_pipeline.api import chart, history, operations, page, problems, quality
from trisignal_pipeline.api.access import AccessControl, Token
from trisignal_pipeline.api.parameters import PREFIX
from trisignal_pipeline.api.requests_served import RequestFigures, RequestsServed
from trisignal_pipeline.api.state import State
from trisignal_pipeline.settings import DEFAULT_STATEMENT_SECONDS
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.reading_pool import ReadingPool

CONNECTIONS = 8
PATIENCE_SECONDS = 10.0

_DESCRIPTION = """\
Bars, biases and triangles as they are stored, and how good they are.

Times are UTC and of RFC 3339; `ts` is the OPEN of a bar, and a span holds its `start` and not its
`end`. Prices are in points. Answers hold columns: in JSON one array for each, in CSV and Arrow a
table. `next_cursor` leads to the next page, which may be shorter than `limit`; the last one has
none. An `ETag` stands for the stored content: send it back in `If-None-Match`.
"""


def build_app(
    database: Database,
    *,
    token: Token | None = None,
    folders: Mapping[str, Path] | None = None,
    connections: int = CONNECTIONS,
    statement_seconds: float = DEFAULT_STATEMENT_SECONDS,
) -> FastAPI:
    """The application over `database`, which it only reads.

    token     what a request has to bear; without one only this machine's names are answered to
    folders   whose disks are shown among the figures
    """
    state = State(
        database=database,
        pool=ReadingPool(
            database,
            "api",
            size=connections,
            statement_seconds=statement_seconds,
            patience_seconds=PATIENCE_SECONDS,
        ),
        figures=RequestFigures(),
        folders=dict(folders or {}),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        state.pool.close()

    app = FastAPI(
        title="trisignal",
        version="1",
        description=_DESCRIPTION,
        openapi_url=f"{PREFIX}/openapi.json",
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[
            Middleware(RequestsServed, figures=state.figures),
            Middleware(AccessControl, token=token),
            Middleware(GZipMiddleware, minimum_size=1_000, compresslevel=1),
        ],
    )
    app.state.trisignal = state
    problems.install(app)
    # Only described here: who may ask is decided before a request gets to its route.
    secured = [] if token is None else [Security(HTTPBearer(auto_error=False))]
    app.include_router(history.router, dependencies=secured)
    app.include_router(quality.router, dependencies=secured)
    app.include_router(chart.router, dependencies=secured)
    app.include_router(operations.figures, dependencies=secured)
    app.include_router(operations.probes)
    page.install(app)
    return app
