"""What the requests of one application share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request

from trisignal_pipeline.api.requests_served import RequestFigures
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.reading_pool import ReadingPool


@dataclass(frozen=True, slots=True)
class State:
    """The database with connections to it, figures of requests, folders whose disks count.

    folders   by the names they are shown under; see `storage.health`
    """

    database: Database
    pool: ReadingPool
    figures: RequestFigures
    folders: Mapping[str, Path]


def state_of(request: Request) -> State:
    """The state of the application that serves `request`."""
    state: State = request.app.state.trisignal
    return state
