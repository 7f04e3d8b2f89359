"""UTC dates: what bars are stored, rolled and materialised by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from trisignal_pipeline.errors import RangeError

NS_PER_SECOND = 1_000_000_000
NS_PER_MINUTE = 60 * NS_PER_SECOND
NS_PER_DAY = 86_400 * NS_PER_SECOND

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


def day_number(day: date) -> int:
    """Days from 1970-01-01 to `day`."""
    return day.toordinal() - _EPOCH_ORDINAL


def from_day_number(number: int) -> date:
    """The UTC date that lies `number` days after 1970-01-01."""
    return date.fromordinal(number + _EPOCH_ORDINAL)


def midnight_ns(day: date) -> int:
    """The first instant of the UTC date `day`, in nanoseconds since the epoch."""
    return day_number(day) * NS_PER_DAY


def date_of_ns(ts_ns: int) -> date:
    """The UTC date that holds the instant `ts_ns` (nanoseconds since the epoch)."""
    return from_day_number(ts_ns // NS_PER_DAY)


def utc(ts_ns: int) -> datetime:
    """`ts_ns` (nanoseconds since the epoch) as an aware datetime, cut to microseconds."""
    return datetime.fromtimestamp(ts_ns // NS_PER_SECOND, UTC) + timedelta(
        microseconds=ts_ns % NS_PER_SECOND // 1000
    )


def iso_minute(ts_ns: int) -> str:
    """`ts_ns` (nanoseconds since the epoch) as `2024-11-01T00:15:00Z`."""
    return utc(ts_ns).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True, order=True)
class DateRange:
    """UTC dates from `start` to `end`, both included."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise RangeError(
                f"the range ends on {self.end}, before it starts on {self.start}; "
                "give the earlier date first"
            )

    def __iter__(self) -> Iterator[date]:
        for number in range(len(self)):
            yield self.start + timedelta(days=number)

    def __len__(self) -> int:
        return (self.end - self.start).days + 1

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and self.start <= day <= self.end

    def __str__(self) -> str:
        return f"{self.start}" if self.start == self.end else f"{self.start} to {self.end}"

    def overlaps(self, other: DateRange) -> bool:
        """Whether any date is in both."""
        return self.start <= other.end and other.start <= self.end

    @property
    def start_ns(self) -> int:
        """The first instant of the range, nanoseconds since the epoch."""
        return midnight_ns(self.start)

    @property
    def end_ns(self) -> int:
        """The first instant after the range, nanoseconds since the epoch."""
        return midnight_ns(self.end) + NS_PER_DAY


def contiguous_ranges(days: Iterable[date]) -> list[DateRange]:
    """The fewest ranges that hold exactly `days`, in order."""
    ranges: list[DateRange] = []
    for day in sorted(set(days)):
        if ranges and (day - ranges[-1].end).days == 1:
            ranges[-1] = DateRange(ranges[-1].start, day)
        else:
            ranges.append(DateRange(day, day))
    return ranges


def by_year(dates: DateRange) -> list[DateRange]:
    """`dates` cut at the turns of the years."""
    return [
        DateRange(max(dates.start, date(year, 1, 1)), min(dates.end, date(year, 12, 31)))
        for year in range(dates.start.year, dates.end.year + 1)
    ]


def by_month(dates: DateRange) -> list[DateRange]:
    """`dates` cut at the turns of the months."""
    turns = [day for day in dates if day.day == 1 and day != dates.start]
    starts = [dates.start, *turns]
    return [
        DateRange(start, end)
        for start, end in zip(
            starts, [*(turn - timedelta(days=1) for turn in turns), dates.end], strict=True
        )
    ]
