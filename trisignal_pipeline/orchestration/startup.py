"""What every process of a deployment makes sure of before it does anything."""

from __future__ import annotations

import sys
from types import TracebackType

from trisignal_pipeline.errors import TrisignalError
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.migrations import require_current


def require_schema(settings: Settings) -> None:
    """Refuse to start on a database of the user's own that has another schema than the code.

    The embedded database is not looked at: it is brought up to date by whoever works with it. The
    error ends a process of Dagster's too with a line that says what to do, not with a traceback.

    Raises:
        SchemaVersionError: the schema is older, newer, or not there; the message names the command.
        DatabaseUnavailableError: the database can't be reached.
    """
    if settings.database_url is None:
        return
    try:
        require_current(settings.database_url)
    except TrisignalError:
        sys.excepthook = _in_one_line
        raise


def _in_one_line(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if isinstance(error, TrisignalError):
        sys.stderr.write(f"error: {error}\n")
    else:
        sys.__excepthook__(kind, error, traceback)
