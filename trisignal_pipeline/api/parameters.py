"""What can be asked: parameters of the requests, each with its limits and an example.

An unknown parameter is refused, since one that is misspelt would be ignored in silence.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from typing import Annotated, Literal

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from trisignal_pipeline.errors import NotFoundError, RangeError
from trisignal_pipeline.market.dates import midnight_ns
from trisignal_pipeline.market.minutes import parse_minute
from trisignal_pipeline.query.series import TimeSpan

PREFIX = "/api/hist/v1"
"""What the paths of the read contract begin with, its version at the end."""

MOST_ROWS = 50_000
MOST_TRIANGLES = 10_000

_FIRST_NS, _LAST_NS = (midnight_ns(date(year, 1, 1)) for year in (1971, 2200))
"""Beyond these nothing can be stored: a span that reaches further means what lies between."""

_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _minute(description: str, example: str) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "description": description,
            "examples": [example],
        }
    )


Symbol = Annotated[
    str,
    Field(
        min_length=3,
        max_length=64,
        pattern=r"^[A-Z0-9.]+:[A-Z0-9]+$",
        description="The market: a symbol of the registry.",
        examples=["GLBX.MDP3:NQ"],
    ),
]
Start = Annotated[
    str,
    Field(max_length=40),
    _minute("First minute, RFC 3339; a whole minute.", "2024-06-18T00:00:00Z"),
]
End = Annotated[
    str,
    Field(max_length=40),
    _minute("The minute after the last, RFC 3339; a whole minute.", "2024-06-19T00:00:00Z"),
]
Ts = Annotated[
    str,
    Field(max_length=40),
    _minute("OPEN of the minute, RFC 3339; a whole minute.", "2024-06-18T13:31:00Z"),
]
Cursor = Annotated[
    str | None,
    Field(
        max_length=400,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="next_cursor of the page before, with the same other parameters.",
    ),
]
Timeframe = Literal["1m", "5m", "15m", "1h", "4h", "1d"]


class Parameters(BaseModel):
    """Parameters of any request."""

    model_config = ConfigDict(extra="forbid")


class OfSymbol(Parameters):
    """A market, and a span of time: `start` is in it, `end` isn't."""

    symbol: Symbol
    start: Start
    end: End

    def span(self) -> TimeSpan:
        """The minutes that are asked for.

        Raises:
            RangeError: one of its ends is no instant, or it ends before it starts.
            NotAMinuteError: one of them is not the start of a minute.
        """
        start, end = minute("start", self.start), minute("end", self.end)
        if end <= start:
            raise RangeError(
                f"the span ends at {self.end}, not after {self.start}, where it starts; end is the "
                "minute after the last one"
            )
        return TimeSpan(min(max(start, _FIRST_NS), _LAST_NS), min(max(end, _FIRST_NS), _LAST_NS))


class PageOfSymbol(OfSymbol):
    """The same in pages."""

    limit: Annotated[
        int, Field(ge=1, le=MOST_ROWS, description="How many rows a page may have.")
    ] = MOST_ROWS
    cursor: Cursor = None


def minute(name: str, text: str) -> int:
    """The minute that the parameter `name` spells, in nanoseconds since the epoch.

    Raises:
        RangeError: `text` is not of RFC 3339.
        NotAMinuteError: it is not the start of a minute.
    """
    if not _RFC_3339.fullmatch(text):
        raise RangeError(
            f"{name}: {text[:40]!r} is not a time of RFC 3339; write it as 2024-06-18T13:31:00Z "
            "(in a URL the plus of an offset is %2B)"
        )
    return parse_minute(text.upper())


def minute_of_bar(name: str, text: str) -> int:
    """The same, of a bar that could be stored.

    Raises:
        RangeError, NotAMinuteError: as `minute` does.
        NotFoundError: no bar can lie there.
    """
    ts_ns = minute(name, text)
    if not _FIRST_NS <= ts_ns < _LAST_NS:
        raise NotFoundError(f"no bar is stored at {text}, which is before or after all of them")
    return ts_ns


def require_each_once(request: Request) -> None:
    """Refuse a parameter that is there twice: which of them is meant, nobody knows.

    Raises:
        RequestValidationError: a parameter is there more than once.
    """
    counted = Counter(name for name, _ in request.query_params.multi_items())
    repeated = [name for name, count in counted.items() if count > 1]
    if repeated:
        raise RequestValidationError(
            [{"loc": ("query", name), "msg": "is there more than once"} for name in repeated]
        )
