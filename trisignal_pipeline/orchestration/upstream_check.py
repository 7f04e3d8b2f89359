"""Whether anything that the signal of a date rests on is in doubt."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from trisignal_pipeline.judging import Verdict
from trisignal_pipeline.storage.upstream_doubts import UpstreamDoubt

CHECK = "nothing_in_doubt_upstream"
DESCRIPTION = (
    "The date's stored signal is current, and no date up to it is unfinished, follows another lead "
    "contract than the files name, or is clean from an older version of its legacy bars."
)
MOST_CASES = 3
"""How many doubts a verdict quotes. All later dates quote the same ones."""


@dataclass(frozen=True, slots=True)
class UpstreamCheck:
    """Judges dates by the doubts of their history, and of their own.

    history   the dates the signal reads, in order
    doubts    in order of their dates
    """

    history: Sequence[date]
    doubts: Sequence[UpstreamDoubt]

    def verdict(self, day: date) -> tuple[Verdict, str]:
        """The verdict on `day`, and the same in a sentence."""
        read = bisect_right(self.history, day)
        found = [
            doubt
            for doubt in self.doubts
            if doubt.day == day or (doubt.of_history and doubt.day < day)
        ]
        if not found:
            return Verdict(read, 0), f"nothing is in doubt of the {read} dates up to this one"
        first = found[0]
        days = len({doubt.day for doubt in found})
        verdict = Verdict(
            read,
            days,
            dict(Counter(doubt.kind.value for doubt in found)),
            tuple(
                {"date": str(doubt.day), "why": doubt.reason, "mended_by": doubt.mended_by}
                for doubt in found[:MOST_CASES]
            ),
        )
        dates = "1 date is" if days == 1 else f"{days} dates are"
        return verdict, (
            f"{dates} in doubt up to this one, the first {first.day}: {first.reason}; mend it "
            f"with: {first.mended_by}"
        )
