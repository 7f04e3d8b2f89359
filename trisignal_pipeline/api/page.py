"""The page at `/` and its files, all of them the package's own."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

STATIC = Path(__file__).with_name("static")

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index() -> FileResponse:
    """The page."""
    return FileResponse(STATIC / "index.html")


def install(app: FastAPI) -> None:
    """Let the application serve the page."""
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC))
