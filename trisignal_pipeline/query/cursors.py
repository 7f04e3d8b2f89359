"""Where the next page begins, as an opaque text.

It holds the key of the last row that was given, never a count of rows: what is written before that
key meanwhile moves nothing, and what comes after it is found. Anybody can make one up, so that of
another question and a key that is none are refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from trisignal_pipeline.errors import RangeError

Key = tuple[Any, ...]
"""Where a row stands among others: plain values that JSON can hold."""

_LATEST_US = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


def write_cursor(question: Mapping[str, object], key: Key) -> str:
    """The text for the place behind the row with `key`, in answers to `question` alone."""
    content = json.dumps([_digest(question), *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def read_cursor(question: Mapping[str, object], cursor: str, kinds: tuple[type, ...]) -> Key:
    """The key that `cursor` stands for, of parts of these `kinds`.

    Whole numbers are microseconds since the epoch.

    Raises:
        RangeError: it is no cursor, or that of another question.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        asked, *key = json.loads(base64.b64decode(padded, b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        asked, key = None, []
    if (
        asked != _digest(question)
        or tuple(map(type, key)) != kinds
        or not all(0 <= part < _LATEST_US for part in key if isinstance(part, int))
    ):
        raise RangeError(
            "the cursor is not one of this question; take it from the page before, and ask "
            "with the same other parameters, or begin without one"
        )
    return tuple(key)


def _digest(question: Mapping[str, object]) -> str:
    asked = json.dumps(question, default=str, sort_keys=True)
    return hashlib.blake2b(asked.encode(), digest_size=8).hexdigest()
