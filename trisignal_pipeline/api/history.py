"""What is stored of a market: one minute of it, its bars, biases and triangles, and all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Literal

import pyarrow as pa
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from trisignal_pipeline.api.examples import BARS, BIAS, DATASET, TRIANGLES, WORLD
from trisignal_pipeline.api.parameters import (
    MOST_TRIANGLES,
    PREFIX,
    OfSymbol,
    PageOfSymbol,
    Parameters,
    Symbol,
    Timeframe,
    Ts,
    minute_of_bar,
    require_each_once,
)
from trisignal_pipeline.api.representation import (
    Form,
    Page,
    accepted_form,
    answer,
    entity_tag,
    is_known,
    json_answer,
    not_modified,
)
from trisignal_pipeline.api.state import state_of
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.query import signals
from trisignal_pipeline.query.bar_pages import bar_page
from trisignal_pipeline.query.dataset import PARTS
from trisignal_pipeline.query.dataset import dataset as dataset_of
from trisignal_pipeline.query.explanation import explained
from trisignal_pipeline.query.fingerprint import AROUND, fingerprint
from trisignal_pipeline.query.series import Page as Rows
from trisignal_pipeline.query.series import TimeSpan
from trisignal_pipeline.query.signals import DIRECTIONS
from trisignal_pipeline.query.world import world as world_at
from trisignal_pipeline.signal.rules import TIMEFRAMES
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection

router = APIRouter(prefix=PREFIX, tags=["history"], dependencies=[Depends(require_each_once)])

_SOME_PARTS = "|".join(PARTS)
_SOME_DIRECTIONS = "|".join(DIRECTIONS)


class OfMinute(Parameters):
    """A market, and one minute."""

    symbol: Symbol
    ts: Ts
    include: Annotated[
        Literal["explanation"] | None,
        Field(description="What to say beside the state: why it is so."),
    ] = None


class OfBars(PageOfSymbol):
    """Bars of one timeframe."""

    tf: Annotated[Timeframe, Field(description="The timeframe.")] = "1m"


class OfTriangles(PageOfSymbol):
    """Triangles, of one direction or both."""

    limit: Annotated[
        int, Field(ge=1, le=MOST_TRIANGLES, description="How many rows a page may have.")
    ] = MOST_TRIANGLES
    types: Annotated[
        str,
        Field(
            max_length=40,
            pattern=rf"^({_SOME_DIRECTIONS})(,({_SOME_DIRECTIONS}))*$",
            description="Which directions, with commas between them.",
            examples=["BULL", "BULL,BEAR"],
        ),
    ] = ",".join(DIRECTIONS)


class OfDataset(PageOfSymbol):
    """Minutes, with some groups of columns."""

    include: Annotated[
        str,
        Field(
            max_length=80,
            pattern=rf"^({_SOME_PARTS})(,({_SOME_PARTS}))*$",
            description="Which groups of columns, with commas between them.",
            examples=["bars,bias"],
        ),
    ] = ",".join(PARTS)


@router.get("/world", responses=WORLD, response_class=Response)
def world(request: Request, asked: Annotated[OfMinute, Query()]) -> Response:
    """The state of a market at one minute: its bar, six biases, triangle, and with
    `include=explanation` why."""
    form = accepted_form(request, (Form.JSON,) if asked.include else tuple(Form))
    ts_ns = minute_of_bar("ts", asked.ts)
    pool = state_of(request).pool

    def read(connection: Connection) -> tuple[str, pa.Table, Market]:
        market = registry.market(connection, asked.symbol)
        found = world_at(connection, market, ts_ns)
        stored = fingerprint(connection, asked.symbol, TimeSpan(ts_ns, ts_ns + 1))
        return entity_tag(form, "world", asked, stored, found.to_pylist()), found, market

    tag, found, market = pool.read(read)
    if is_known(request, tag):
        return not_modified(tag)
    if form is not Form.JSON:
        return answer(Page({"symbol": asked.symbol}, found), form, tag, request)
    [row] = found.to_pylist()
    content = {"symbol": asked.symbol, **row}
    if asked.include is not None:
        content["explanation"] = pool.lend(explained, market, ts_ns)
    return json_answer(content, tag)


@router.get("/bars", responses=BARS, response_class=Response)
def bars(request: Request, asked: Annotated[OfBars, Query()]) -> Response:
    """Whole bars of a timeframe whose period starts in the span, with the contract that traded."""

    def read(connection: Connection, market: Market, span: TimeSpan) -> Rows:
        return bar_page(connection, market, asked.tf, span, asked.limit, asked.cursor)

    about = {"symbol": asked.symbol, "tf": asked.tf}
    around = timedelta(0) if asked.tf == TIMEFRAMES[0] else AROUND
    return _page(request, asked, read, about, around)


@router.get("/bias", responses=BIAS, response_class=Response)
def bias(request: Request, asked: Annotated[PageOfSymbol, Query()]) -> Response:
    """The six biases on every minute, known at its close."""

    def read(connection: Connection, _: Market, span: TimeSpan) -> Rows:
        return signals.bias(asked.symbol, span).page(connection, asked.limit, asked.cursor)

    return _page(request, asked, read, {"symbol": asked.symbol})


@router.get("/triangles/events", responses=TRIANGLES, response_class=Response)
def triangles(request: Request, asked: Annotated[OfTriangles, Query()]) -> Response:
    """The minutes on which the 1-minute bias flips, with all six biases then."""

    def read(connection: Connection, _: Market, span: TimeSpan) -> Rows:
        found = signals.triangles(asked.symbol, span, sorted(set(asked.types.split(","))))
        return found.page(connection, asked.limit, asked.cursor)

    return _page(request, asked, read, {"symbol": asked.symbol})


@router.get("/dataset", responses=DATASET, response_class=Response)
def dataset(request: Request, asked: Annotated[OfDataset, Query()]) -> Response:
    """One row a minute: its bar, its biases, its triangle; null where there is none."""
    parts = asked.include.split(",")

    def read(connection: Connection, _: Market, span: TimeSpan) -> Rows:
        found = dataset_of(asked.symbol, span).page(connection, asked.limit, asked.cursor)
        kept = ["ts", *(name for part in PARTS if part in parts for name in PARTS[part])]
        return replace(found, rows=found.rows.select(kept))

    return _page(request, asked, read, {"symbol": asked.symbol})


def _page(
    request: Request,
    asked: OfSymbol,
    read: Callable[[Connection, Market, TimeSpan], Rows],
    about: Mapping[str, object],
    around: timedelta = timedelta(0),
) -> Response:
    form = accepted_form(request)
    span = asked.span()

    def page(connection: Connection) -> tuple[str, Rows | None]:
        market = registry.market(connection, asked.symbol)
        stored = fingerprint(connection, asked.symbol, span, around)
        tag = entity_tag(form, request.url.path, asked, stored)
        return tag, None if is_known(request, tag) else read(connection, market, span)

    tag, found = state_of(request).pool.read(page)
    if found is None:
        return not_modified(tag)
    return answer(Page(about, found.rows, found.next_cursor), form, tag, request)
