"""What the vendor says of the days of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

AVAILABLE, DEGRADED, PENDING, MISSING = "available", "degraded", "pending", "missing"


@dataclass(frozen=True, slots=True)
class DayCondition:
    """The condition of the UTC date `day`.

    condition       a word of the vendor's: `available`, `degraded` (known to be faulty), `pending`
                    (not all of it is there yet), `missing`
    last_modified   when the vendor last changed the date's data; None where it doesn't say
    """

    day: date
    condition: str
    last_modified: date | None = None

    @property
    def is_doubtful(self) -> bool:
        """Whether bars of the date may change when they are downloaded again."""
        return self.condition in (DEGRADED, PENDING)
