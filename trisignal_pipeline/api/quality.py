"""How good what is stored is, by UTC date: a date that the span touches counts whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Depends, Query, Request, Response

from trisignal_pipeline.api.examples import ALIGNMENT, COVERAGE, DETERMINISM
from trisignal_pipeline.api.parameters import PREFIX, OfSymbol, require_each_once
from trisignal_pipeline.api.representation import (
    Page,
    accepted_form,
    answer,
    entity_tag,
    is_known,
    not_modified,
)
from trisignal_pipeline.api.state import state_of
from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.market.dates import DateRange, date_of_ns
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.query import quality
from trisignal_pipeline.query.tables import Table
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection

MOST_DATES = {"coverage": 3_700, "alignment": 370, "determinism": 31}
"""How many dates can be asked about at once."""

router = APIRouter(
    prefix=f"{PREFIX}/quality", tags=["quality"], dependencies=[Depends(require_each_once)]
)


@router.get("/coverage", responses=COVERAGE, response_class=Response)
def coverage(request: Request, asked: Annotated[OfSymbol, Query()]) -> Response:
    """How many minutes of each date have a bar, of those on which the market was open by its
    sessions, and what the others are held for."""
    return _judged(request, asked, "coverage", quality.coverage, _covered)


@router.get("/alignment", responses=ALIGNMENT, response_class=Response)
def alignment(request: Request, asked: Annotated[OfSymbol, Query()]) -> Response:
    """Whether bars, biases and triangles of each date lie on the same minutes and agree."""

    def judge(connection: Connection, market: Market, dates: DateRange) -> Table:
        return quality.alignment(connection, str(market.symbol), dates)

    return _judged(request, asked, "alignment", judge, _aligned)


@router.get("/determinism", responses=DETERMINISM, response_class=Response)
def determinism(request: Request, asked: Annotated[OfSymbol, Query()]) -> Response:
    """Whether computing the signal of each date once more gives what is stored."""
    return _judged(request, asked, "determinism", quality.determinism, _deterministic)


def _judged(
    request: Request,
    asked: OfSymbol,
    name: str,
    judge: Callable[[Connection, Market, DateRange], Table],
    sum_up: Callable[[pa.Table], Mapping[str, object]],
) -> Response:
    form = accepted_form(request)
    span = asked.span()
    dates = DateRange(date_of_ns(span.start_ns), date_of_ns(max(span.end_ns - 1, span.start_ns)))
    if len(dates) > MOST_DATES[name]:
        raise RangeError(
            f"the span touches {len(dates)} dates; ask about {MOST_DATES[name]} at most"
        )

    def read(connection: Connection) -> pa.Table:
        return judge(connection, registry.market(connection, asked.symbol), dates).whole()

    found = state_of(request).pool.read(read)
    # What is judged is also whether something was changed that no fingerprint tells of.
    tag = entity_tag(form, request.url.path, asked, found.to_pylist())
    if is_known(request, tag):
        return not_modified(tag)
    return answer(Page({"symbol": asked.symbol, **sum_up(found)}, found), form, tag, request)


def _covered(found: pa.Table) -> Mapping[str, object]:
    missing = ("no_trade", "rejected", "suspicious")
    return {
        "expected": _sum(found, "expected"),
        "found": _sum(found, "found"),
        "missing": sum(_sum(found, name) for name in missing),
        "not_judged": found.column("found").null_count,
    }


def _aligned(found: pa.Table) -> Mapping[str, object]:
    amiss = [name for name in found.column_names if "with" in name or "differ" in name]
    return {"aligned": not any(_sum(found, name) for name in (*amiss, "off_minute"))}


def _deterministic(found: pa.Table) -> Mapping[str, object]:
    differ = ("biases_that_differ", "triangles_that_differ")
    return {
        "deterministic": not any(_sum(found, name) for name in differ),
        "in_doubt": bool(_sum(found, "in_doubt")),
    }


def _sum(found: pa.Table, column: str) -> int:
    return int(pc.sum(found.column(column)).as_py() or 0)
