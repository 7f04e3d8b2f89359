"""What was deleted on purpose, so that nobody takes what is left for all there was."""

from __future__ import annotations

from datetime import datetime

from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.market.dates import utc
from trisignal_pipeline.storage.connection import Connection, rows


def require_kept(connection: Connection, start_ns: int, end_ns: int, as_of: datetime) -> None:
    """Make sure that the bars of [start_ns, end_ns) can be told as they were stored at `as_of`.

    The range is of the bars' OPEN, nanoseconds (UTC).

    Raises:
        RangeError: the versions of that moment, or the bars themselves, were deleted since.
    """
    gone = rows(
        connection,
        """
        SELECT what, max(upper_bound) AS upper_bound, max(deleted_at) AS deleted_at FROM deletions
        WHERE what = 'revisions' AND upper_bound > %(as_of)s
           OR what = 'year' AND deleted_at > %(as_of)s
              AND lower_bound < %(end)s AND upper_bound > %(start)s
        GROUP BY what ORDER BY what
        """,
        as_of=as_of,
        start=utc(start_ns),
        end=utc(end_ns),
    )
    for deletion in gone:
        if deletion["what"] == "revisions":
            raise RangeError(
                f"versions of bars that stood before {deletion['upper_bound']:%Y-%m-%dT%H:%M:%SZ} "
                "were deleted by housekeeping: what was stored before then can't be told; ask for "
                "a later moment"
            )
        raise RangeError(
            f"the year of these bars was dropped on {deletion['deleted_at']:%Y-%m-%d}: what was "
            "stored of it before can't be told; ask for later dates or a later moment"
        )
