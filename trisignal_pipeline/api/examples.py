"""How answers are described in OpenAPI: their columns, and an example of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trisignal_pipeline.api.problems import RESPONSES
from trisignal_pipeline.api.representation import CURSOR_HEADER, Form
from trisignal_pipeline.query.signals import DIRECTIONS
from trisignal_pipeline.schemas import PRICES, TRIANGLE_BIAS_COLUMNS
from trisignal_pipeline.signal.rules import BIAS_NAMES, LOGIC_VERSION

Schema = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]

DATE: Schema = {"type": "string", "format": "date"}
TIME: Schema = {"type": "string", "format": "date-time"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
BIAS_NAME: Schema = {"type": "string", "enum": list(BIAS_NAMES)}
DIRECTION: Schema = {"type": "string", "enum": list(DIRECTIONS)}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


_ASKERS = (401, 403, 404, 406, 409, 422, 500, 503, 504)

_BARS = {
    "ts": (TIME, "2024-06-18T13:31:00Z"),
    **dict(zip(PRICES, [(NUMBER, price) for price in (19951.5, 19958, 19950.25, 19957.75)],
               strict=True)),
    "volume": (COUNT, 1203),
    "contract": (nullable(TEXT), "NQU4"),
}  # fmt: skip
_BIAS = dict.fromkeys(TRIANGLE_BIAS_COLUMNS, (BIAS_NAME, "Bullish"))
_EVENT_FLAGS = {
    "htf_bullish": (FLAG, True),
    "htf_bearish": (FLAG, False),
    "engulfing": (FLAG, True),
    "sweep_engulfing": (FLAG, False),
}
_FILTERS = dict.fromkeys(
    ("require_engulfing", "require_sweep_engulfing", "htf_aligned_only"), (FLAG, False)
)


def objects(properties: Mapping[str, Schema]) -> Schema:
    """An object that has all of `properties`."""
    return {"type": "object", "required": list(properties), "properties": dict(properties)}


def responses_of(content: Mapping[str, Any], statuses: Sequence[int] = _ASKERS) -> Responses:
    """The answers of a route: the `content` of a good one, and the problems there can be."""
    return {
        200: {
            "description": "What was asked for.",
            "headers": {
                "ETag": {"description": "Stands for the content.", "schema": TEXT},
                CURSOR_HEADER: {"description": "Leads to the next page.", "schema": TEXT},
            },
            "content": dict(content),
        },
        304: {"description": "The content is that of the ETag in If-None-Match."},
        **{status: RESPONSES[status] for status in statuses},
    }


def _page(
    about: Mapping[str, tuple[Schema, Any]], columns: Mapping[str, tuple[Schema, Any]]
) -> Responses:
    about = {"symbol": (TEXT, "GLBX.MDP3:NQ"), **about}
    schema = objects(
        {
            **{name: schema for name, (schema, _) in about.items()},
            "rows": COUNT,
            "columns": objects(
                {name: {"type": "array", "items": schema} for name, (schema, _) in columns.items()}
            ),
            "next_cursor": nullable(TEXT),
        }
    )
    example = {
        **{name: value for name, (_, value) in about.items()},
        "rows": 1,
        "columns": {name: [value] for name, (_, value) in columns.items()},
        "next_cursor": "WyI1NWU2YWUwYTg4YTYiLDE3MTg3MTc0NjAwMDAwMDBd",
    }
    lines = ",".join(columns), ",".join(_as_csv(value) for _, value in columns.values())
    return responses_of(
        {
            Form.JSON.value: {"schema": schema, "example": example},
            Form.CSV.value: {"schema": TEXT, "example": "".join(f"{line}\n" for line in lines)},
            Form.ARROW.value: {"schema": {"type": "string", "format": "binary"}},
        }
    )


def _as_csv(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


BARS: Responses = _page({"tf": (TEXT, "1m")}, _BARS)
BIAS: Responses = _page({}, {"ts": _BARS["ts"], **_BIAS})
TRIANGLES: Responses = _page(
    {},
    {
        "ts": _BARS["ts"],
        "direction": (DIRECTION, "BULL"),
        **_BIAS,
        **_EVENT_FLAGS,
        **_FILTERS,
        "contract": _BARS["contract"],
        "source_table": (nullable(TEXT), "market_bars_ohlcv_1m_clean"),
        "logic_version": (nullable(TEXT), LOGIC_VERSION),
    },
)


_DATASET = {
    **_BARS,
    **{name: (nullable(schema), value) for name, (schema, value) in _BIAS.items()},
    "triangle": (nullable(DIRECTION), "BULL"),
    **{name: (nullable(schema), value) for name, (schema, value) in _EVENT_FLAGS.items()},
}
_WORLD = {
    "symbol": (TEXT, "GLBX.MDP3:NQ"),
    **_DATASET,
    "trade_date": (nullable(DATE), "2024-06-18"),
    "session_open": (nullable(TIME), "2024-06-17T22:00:00Z"),
    "session_close": (nullable(TIME), "2024-06-18T21:00:00Z"),
    "last_triangle": (nullable(DIRECTION), "BULL"),
    "last_triangle_ts": (nullable(TIME), "2024-06-18T13:31:00Z"),
    "in_doubt": (FLAG, False),
}


def _dataset() -> Responses:
    described = _page({}, _DATASET)
    columns = described[200]["content"][Form.JSON.value]["schema"]["properties"]["columns"]
    columns["required"] = ["ts"]  # which others there are is up to `include`
    return described


def _world() -> Responses:
    schema = objects({name: schema for name, (schema, _) in _WORLD.items()})
    schema["properties"]["explanation"] = {
        "type": "object",
        "description": "Which rule fired on which gap, as `trisignal explain --format json` has "
        "it; with include=explanation.",
    }
    example = {name: value for name, (_, value) in _WORLD.items()}
    return responses_of(
        {
            Form.JSON.value: {"schema": schema, "example": example},
            Form.CSV.value: {"schema": TEXT},
            Form.ARROW.value: {"schema": {"type": "string", "format": "binary"}},
        }
    )


def _coverage() -> Responses:
    judged = {"found": 1379, "no_trade": 1, "rejected": 0, "suspicious": 0}
    return _page(
        {
            "expected": (COUNT, 1380),
            "found": (COUNT, 1379),
            "missing": (COUNT, 1),
            "not_judged": (COUNT, 0),
        },
        {
            "date": (DATE, "2024-06-18"),
            "state": ({"type": "string", "enum": ["complete", "writing", "absent"]}, "complete"),
            "bars": (COUNT, 1379),
            "expected": (COUNT, 1380),
            **{name: (nullable(COUNT), value) for name, value in judged.items()},
            "covered": (nullable(NUMBER), 1.0),
            "longest_gap": (nullable(COUNT), 1),
            "outside": (nullable(COUNT), 0),
            "off_tick": (nullable(COUNT), 0),
            "contract": (nullable(TEXT), "NQU4"),
        },
    )


def _alignment() -> Responses:
    counts = {
        "bars": 1379,
        "biases": 1379,
        "triangles": 131,
        "bars_without_bias": 0,
        "biases_without_bar": 0,
        "triangles_without_bias": 0,
        "triangles_that_differ": 0,
        "off_minute": 0,
    }
    return _page(
        {"aligned": (FLAG, True)},
        {
            "date": (DATE, "2024-06-18"),
            **{name: (COUNT, value) for name, value in counts.items()},
        },
    )


def _determinism() -> Responses:
    return _page(
        {"deterministic": (FLAG, True), "in_doubt": (FLAG, False)},
        {
            "date": (DATE, "2024-06-18"),
            "source": (nullable(TEXT), "market_bars_ohlcv_1m_clean"),
            "minutes": (COUNT, 1379),
            "biases_that_differ": (COUNT, 0),
            "triangles": (COUNT, 131),
            "triangles_that_differ": (COUNT, 0),
            "in_doubt": (FLAG, False),
        },
    )


DATASET = _dataset()
WORLD = _world()
COVERAGE = _coverage()
ALIGNMENT = _alignment()
DETERMINISM = _determinism()
