"""How answers are described in OpenAPI: their columns, and an example of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trisignal_pipeline.api.problems import RESPONSES
from trisignal_pipeline.api.representation import CURSOR_HEADER, Form
from trisignal_pipeline.query.history import DIRECTIONS, FLAGS, PRICES
from trisignal_pipeline.schemas import TRIANGLE_BIAS_COLUMNS
from trisignal_pipeline.signal.rules import BIAS_NAMES

Schema = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]

TIME: Schema = {"type": "string", "format": "date-time"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
BIAS_NAME: Schema = {"type": "string", "enum": list(BIAS_NAMES)}
DIRECTION: Schema = {"type": "string", "enum": list(DIRECTIONS)}

_ASKERS = (401, 403, 404, 406, 409, 422, 500, 503, 504)

_BARS = {
    "ts": (TIME, "2024-06-18T13:31:00Z"),
    **dict(zip(PRICES, [(NUMBER, price) for price in (19951.5, 19958, 19950.25, 19957.75)],
               strict=True)),
    "volume": (COUNT, 1203),
    "contract": (TEXT, "NQU4"),
}  # fmt: skip
_BIAS = dict.fromkeys(TRIANGLE_BIAS_COLUMNS, (BIAS_NAME, "Bullish"))
_EVENT_FLAGS = {name: (FLAG, name.endswith("bullish")) for name in FLAGS}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


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
) -> Any:
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
        "next_cursor": None,
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
        "contract": _BARS["contract"],
    },
)


def _dataset() -> Responses:
    # Which columns there are is up to `include`.
    described: Responses = _page(
        {},
        {
            **_BARS,
            **{name: (nullable(schema), value) for name, (schema, value) in _BIAS.items()},
            "triangle": (nullable(DIRECTION), "BULL"),
            **{
                name: (nullable(schema), value)
                for name, (schema, value) in _EVENT_FLAGS.items()
                if name in ("htf_bullish", "htf_bearish", "engulfing", "sweep_engulfing")
            },
        },
    )
    columns = described[200]["content"][Form.JSON.value]["schema"]["properties"]["columns"]
    columns["required"] = ["ts"]
    return described


def _world() -> Responses:
    bar = {name: one for name, one in _BARS.items() if name not in ("ts", "contract")}
    event = {"direction": (DIRECTION, "BULL"), **_EVENT_FLAGS}
    parts: dict[str, tuple[Schema, Any]] = {
        "symbol": (TEXT, "GLBX.MDP3:NQ"),
        "ts": _BARS["ts"],
        "contract": _BARS["contract"],
        "bar": _object_of(bar),
        "bias": _nullable_of(_object_of(_BIAS)),
        "triangle": _nullable_of(_object_of(event)),
        "in_doubt": (FLAG, False),
        "previous_triangle": (nullable(TIME), "2024-06-18T13:18:00Z"),
        "next_triangle": (nullable(TIME), "2024-06-18T13:52:00Z"),
    }
    schema, example = _object_of(parts)
    schema["properties"]["explanation"] = {
        "type": "object",
        "description": "Which rule fired on which gap, as `trisignal explain --format json` has "
        "it; with include=explanation.",
    }
    return responses_of({Form.JSON.value: {"schema": schema, "example": example}})


def _object_of(parts: Mapping[str, tuple[Schema, Any]]) -> tuple[Schema, Any]:
    schemas = {name: schema for name, (schema, _) in parts.items()}
    return objects(schemas), {name: value for name, (_, value) in parts.items()}


def _nullable_of(one: tuple[Schema, Any]) -> tuple[Schema, Any]:
    return nullable(one[0]), one[1]


DATASET = _dataset()
WORLD = _world()
