"""What the chart page asks beside the history: marks around candles, live gaps, neighbours.

Answers hold columns. Times in them are whole seconds since the epoch (UTC), as charts take them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from trisignal_pipeline.api.parameters import (
    OfSymbol,
    Parameters,
    Symbol,
    Timeframe,
    Ts,
    minute_of_bar,
    require_each_once,
)
from trisignal_pipeline.api.representation import (
    Form,
    entity_tag,
    is_known,
    json_answer,
    not_modified,
)
from trisignal_pipeline.api.state import state_of
from trisignal_pipeline.errors import NotFoundError, RangeError
from trisignal_pipeline.market.dates import NS_PER_DAY
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.query import chart
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection

MOST_DAYS = 400
"""How long a span may be whose marks are asked for at once."""

# The page's own: not described, and changed together with it.
router = APIRouter(
    prefix="/api/chart/v1", include_in_schema=False, dependencies=[Depends(require_each_once)]
)


class OfMoment(Parameters):
    """A market, and an instant."""

    symbol: Symbol
    ts: Ts


class OfGaps(OfMoment):
    """The gaps of one timeframe."""

    tf: Annotated[Timeframe, Field(description="Whose gaps.")] = "1m"


class OfNeighbour(OfMoment):
    """A triangle before or after an instant."""

    way: Annotated[Literal["next", "previous"], Field(description="On which side of `ts`.")]
    aligned: Annotated[bool, Field(description="Only one the higher timeframes lean with.")] = False
    engulfing: Annotated[bool, Field(description="Only one whose bar engulfs.")] = False
    sweep: Annotated[bool, Field(description="Only one whose bar sweeps and engulfs.")] = False


@router.get("/markets")
def markets(request: Request) -> Response:
    """The symbols there are, and the first and last date with bars of each."""
    found = state_of(request).pool.read(chart.markets)
    return _answered(request, found)


@router.get("/marks")
def marks(request: Request, asked: Annotated[OfSymbol, Query()]) -> Response:
    """Biases where they change, triangles, sessions, corrected and quarantined minutes."""
    span = asked.span()
    if span.end_ns - span.start_ns > MOST_DAYS * NS_PER_DAY:
        raise RangeError(f"the span is too long; ask about {MOST_DAYS} days at most")
    return _of_market(
        request, asked.symbol, lambda connection, market: chart.marks(connection, market, span)
    )


@router.get("/gaps")
def gaps(request: Request, asked: Annotated[OfGaps, Query()]) -> Response:
    """The gaps that are alive once the minute at `ts` has closed, those nearest to its close."""
    ts_ns = minute_of_bar("ts", asked.ts)

    def read(connection: Connection, market: Market) -> chart.Columns:
        try:
            return chart.gaps_alive(connection, market, ts_ns, asked.tf)
        except RangeError as error:
            raise NotFoundError(str(error)) from error

    return _of_market(request, asked.symbol, read)


@router.get("/triangle")
def triangle(request: Request, asked: Annotated[OfNeighbour, Query()]) -> Response:
    """The nearest triangle before or after an instant; no row where there is none."""
    ts_ns = minute_of_bar("ts", asked.ts)
    flags = ((asked.aligned, chart.ALIGNED), (asked.engulfing, chart.ENGULFING),
             (asked.sweep, chart.SWEEP))  # fmt: skip
    wanted = sum(flag for is_wanted, flag in flags if is_wanted)

    def read(connection: Connection, _: Market) -> chart.Columns:
        return chart.neighbour(connection, asked.symbol, ts_ns, wanted, forward=asked.way == "next")

    return _of_market(request, asked.symbol, read)


@router.get("/last-bar")
def last_bar(request: Request, asked: Annotated[OfMoment, Query()]) -> Response:
    """The last minute before an instant that has a bar; no row where there is none."""
    ts_ns = minute_of_bar("ts", asked.ts)
    return _of_market(
        request,
        asked.symbol,
        lambda connection, _: chart.last_bar(connection, asked.symbol, ts_ns),
    )


def _of_market(
    request: Request, symbol: str, read: Callable[[Connection, Market], Any]
) -> Response:
    def of_market(connection: Connection) -> Any:
        return read(connection, registry.market(connection, symbol))

    return _answered(request, {"symbol": symbol, **state_of(request).pool.read(of_market)})


def _answered(request: Request, content: Any) -> Response:
    # No fingerprint tells of bars that were kept out: the content itself does.
    tag = entity_tag(Form.JSON, request.url.path, json_answer(content, "").body)
    return not_modified(tag) if is_known(request, tag) else json_answer(content, tag)
