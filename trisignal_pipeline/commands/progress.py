"""A progress bar for runs in this process: what is being done, how far it is, bars a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.sessions import expected_minutes

_STAGES_PER_BAR = 3
"""A bar is written as a legacy bar, as a clean bar, and with its biases."""


class _BarsPerSecond(ProgressColumn):
    """Bars done a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:>10,.0f} bars/s")


class ProgressBar:
    """Shows on the terminal what assets say of their progress."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def begin(self, stage: str, symbol: str, dates: DateRange) -> None:
        """Name what is being done."""
        self._bars.update(self._task, description=f"{symbol} {stage} {dates}")

    def advance(self, stage: str, bars: int) -> None:
        """Move on by so many bars."""
        self._bars.advance(self._task, bars)


@contextmanager
def progress_bar(symbol: str, dates: DateRange) -> Iterator[ProgressBar]:
    """A bar that fills as a full market would be done; shown where standard error is a screen."""
    expected = int(expected_minutes("cme_equity", dates.start, dates.end).sum())
    columns = (
        TextColumn("{task.description:<60}"),
        BarColumn(),
        _BarsPerSecond(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        yield ProgressBar(bars, bars.add_task(symbol, total=expected * _STAGES_PER_BAR))
