"""Where the next page begins, as an opaque text.

It holds the key of the last row that was given, never a count of rows: what is written before that
key meanwhile moves nothing, and what comes after it is found.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json

from trisignal_pipeline.errors import RangeError

_MOST_BITS = 63


def write_cursor(question: tuple[object, ...], key: tuple[int, ...]) -> str:
    """The text for the place behind the row with `key`, in answers to `question` alone."""
    content = json.dumps([_digest(question), *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def read_cursor(question: tuple[object, ...], cursor: str | None, parts: int) -> tuple[int, ...]:
    """The key that `cursor` stands for, of so many parts; an empty one if there is no cursor.

    Raises:
        RangeError: it is no cursor, or that of another question.
    """
    if cursor is None:
        return ()
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        content = json.loads(base64.b64decode(padded, b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        content = None
    if not (isinstance(content, list) and len(content) == parts + 1 and _is_key(content[1:])):
        raise RangeError("cursor: it is none that was given; leave it out to begin anew")
    if content[0] != _digest(question):
        raise RangeError(
            "cursor: it belongs to a request with other parameters; leave them as they were, limit "
            "apart, or leave the cursor out"
        )
    return tuple(content[1:])


def _is_key(values: list[object]) -> bool:
    return all(type(value) is int and value.bit_length() < _MOST_BITS for value in values)


def _digest(question: tuple[object, ...]) -> str:
    return hashlib.blake2b(repr(question).encode(), digest_size=6).hexdigest()
