"""Minutes as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from trisignal_pipeline.errors import NotAMinuteError, RangeError
from trisignal_pipeline.market.dates import NS_PER_MINUTE, iso_minute

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXAMPLE = "write it as 2024-11-01T00:15:00Z, the bar's open"


def parse_minute(text: str) -> int:
    """The minute that `text` spells in ISO 8601, in nanoseconds since the epoch (UTC).

    Any offset will do, but there must be one: a minute without it is another one in Chicago than
    in London.

    Raises:
        RangeError: it is no instant, or has no offset.
        NotAMinuteError: it is not the start of a minute.
    """
    try:
        written = datetime.fromisoformat(text.strip())
        since_epoch = None if written.tzinfo is None else written.astimezone(UTC) - _EPOCH
    except (ValueError, OverflowError):
        raise RangeError(f"{text!r} is not a minute; {_EXAMPLE}") from None
    if since_epoch is None:
        raise RangeError(
            f"{text!r} names no time zone; {_EXAMPLE} in UTC, or end it with an offset like -05:00"
        )
    minutes, seconds = divmod(since_epoch, timedelta(minutes=1))
    if seconds:
        raise NotAMinuteError(
            f"{text!r} is not the start of a minute; the bar that holds it opens at "
            f"{iso_minute(minutes * NS_PER_MINUTE)}"
        )
    return minutes * NS_PER_MINUTE
