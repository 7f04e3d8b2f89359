"""The page at `/` and its files, all of them the package's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

STATIC = Path(__file__).with_name("static")

# Or a page would be put together of files of two versions.
_ASK_AGAIN = {"Cache-Control": "no-cache"}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index() -> FileResponse:
    """The page."""
    return FileResponse(STATIC / "index.html", headers=_ASK_AGAIN)


class _OwnFiles(StaticFiles):
    """Files that are asked for again each time; one that didn't change isn't sent again."""

    def file_response(self, *given: Any, **named: Any) -> Response:
        answer = super().file_response(*given, **named)
        answer.headers.update(_ASK_AGAIN)
        return answer


def install(app: FastAPI) -> None:
    """Let the application serve the page."""
    app.include_router(router)
    app.mount("/static", _OwnFiles(directory=STATIC))
