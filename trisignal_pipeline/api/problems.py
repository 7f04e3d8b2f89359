"""What goes wrong, as an answer: RFC 9457 problem details that hold no SQL, path or secret.

What the asker did is told in full. What happened inside is told by kind alone, with the number
under which the log has the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from trisignal_pipeline.errors import (
    DatabaseBusyError,
    DatabaseUnavailableError,
    NotAMinuteError,
    NotFoundError,
    RangeError,
    SchemaVersionError,
    StatementTooLongError,
    SymbolError,
    TableLockedError,
    TrisignalError,
    UnknownSymbolError,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, and what to do."},
        "request_id": {"type": "string", "description": "The server's log has it, too."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["parameter", "reason"],
                "properties": {"parameter": {"type": "string"}, "reason": {"type": "string"}},
            },
        },
    },
}
_MEANINGS = {
    401: ("No token, or another one.", "Send the token of this server in the header: …"),
    403: ("The host name is none of this machine's.", "Without a token the API answers to …"),
    404: ("No such symbol, or no bar.", "GLBX.MDP3:NQ has no bar at 2024-06-15T12:00:00Z …"),
    406: ("None of the accepted media types can be had.", "The answer can be application/json, …"),
    409: ("A time is not the start of a minute.", "'2024-06-18T13:31:07Z' is not the start of …"),
    422: ("A parameter is malformed, missing or unknown.", "end: Field required."),
    500: ("A fault of the server.", "Something failed inside the server; its log has it …"),
    503: ("The database can't be reached, or is busy.", "The database can't be reached. Ask …"),
    504: ("It took too long to read.", "It took too long to read. Ask for a shorter range, …"),
}
RESPONSES: Mapping[int, dict[str, Any]] = {
    status: {
        "description": meaning,
        "content": {
            MEDIA_TYPE: {
                "schema": _SCHEMA,
                "example": {
                    "type": "about:blank",
                    "title": HTTPStatus(status).phrase,
                    "status": status,
                    "detail": detail,
                    "request_id": "5f0c2ab94d1e4f7a",
                },
            }
        },
    }
    for status, (meaning, detail) in _MEANINGS.items()
}
"""The problems, as OpenAPI describes them."""

_logger = logging.getLogger(__name__)

_ASKERS_OWN: Mapping[type[TrisignalError], int] = {
    NotAMinuteError: 409,
    RangeError: 422,
    SymbolError: 422,
    UnknownSymbolError: 404,
    NotFoundError: 404,
}
"""Errors whose message was written for the asker, by what they are called over HTTP."""

_INSIDE: Mapping[type[TrisignalError], tuple[int, str]] = {
    StatementTooLongError: (
        504,
        "It took too long to read. Ask for a shorter range, or for fewer rows with limit.",
    ),
    DatabaseBusyError: (503, "Too many requests are being answered. Ask again in a few seconds."),
    TableLockedError: (503, "What was asked for is being changed. Ask again in a few seconds."),
    DatabaseUnavailableError: (503, "The database can't be reached. Ask again in a few seconds."),
    SchemaVersionError: (
        503,
        "The database has another schema than this server works with. Its log says what to do.",
    ),
}


def problem(
    scope: Scope, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """An answer that says what is wrong with the request of `scope`."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": request_id(scope),
        **more,
    }
    return Response(
        orjson.dumps(content),
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def request_id(scope: Scope) -> str:
    """The number of a request, in its answer and in the log."""
    return str(scope.get("state", {}).get("request_id", ""))


def of_error(scope: Scope, error: Exception) -> Response:
    """The answer to a request that `error` ended; what it doesn't tell is logged."""
    for kind, status in _ASKERS_OWN.items():
        if isinstance(error, kind):
            return problem(scope, status, str(error))
    for kind, (status, detail) in _INSIDE.items():
        if isinstance(error, kind):
            _logger.warning("%s: %s", request_id(scope), error)
            retry = {} if status == 504 else {"Retry-After": str(RETRY_AFTER_SECONDS)}
            return problem(scope, status, detail, headers=retry)
    _logger.error("%s: %s failed", request_id(scope), scope.get("path"), exc_info=error)
    return problem(
        scope, 500, "Something failed inside the server; its log has it under this request_id."
    )


def install(app: FastAPI) -> None:
    """Let the application answer with problems."""
    app.add_exception_handler(TrisignalError, _of_error)
    app.add_exception_handler(RequestValidationError, _of_parameters)
    app.add_exception_handler(HTTPException, _of_http)


def _of_error(request: Request, error: Exception) -> Response:
    return of_error(request.scope, error)


def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(request.scope, error.status_code, error.detail, headers=error.headers)


def _of_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = [
        {"parameter": str(one["loc"][-1]), "reason": str(one["msg"])[:200]}
        for one in error.errors()
    ]
    said = "; ".join(f"{one['parameter']}: {one['reason']}" for one in wrong)
    return problem(request.scope, 422, f"{said}.", errors=wrong)
