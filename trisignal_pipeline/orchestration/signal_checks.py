"""Whether stored signals are what their bars, their own biases and another replay call for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np

from trisignal_pipeline.judging import Verdict, minute_verdicts
from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.dates import NS_PER_DAY, DateRange, day_number, iso_minute
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.signal.agreement import (
    UNKNOWN,
    bias_differences,
    triangle_differences,
    triangles_at_flips,
)
from trisignal_pipeline.signal.bias import Int8s
from trisignal_pipeline.signal.replay import BiasSeries
from trisignal_pipeline.signal.rules import BIAS_NAMES, DIRECTION_NAMES
from trisignal_pipeline.signal.triangles import Triangles
from trisignal_pipeline.storage.recomputation import Recomputed

EVERY_BAR = "bias_on_every_bar"
EVERY_BAR_DESCRIPTION = (
    "Each bar that the signal reads has exactly one bias row, and there is no other: clean bars, "
    "else legacy ones without those that the hygiene rules locked out."
)
AT_THE_FLIPS = "triangles_at_the_flips"
AT_THE_FLIPS_DESCRIPTION = (
    "The stored triangles are the flips of the stored 1-minute bias that the symbol's filters let "
    "pass, all of them and no others, with the six biases of their bias rows."
)
RECOMPUTED = "recomputation_agrees"
RECOMPUTED_DESCRIPTION = (
    "A replay from an older saved state than the run went on from, in one piece, gives the biases "
    "and triangles that are stored: the fingerprints of both are equal."
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict in a sentence, with what else there is to say."""

    verdict: Verdict
    description: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class StoredSignal:
    """What is stored of some dates, beside what another replay made of them.

    `dates` hold all rows; `days` are those of them that have a stored signal. A date without one
    is not judged.
    """

    market: Market
    dates: DateRange
    days: frozenset[date]
    bias: BiasSeries
    triangles: Triangles
    again: Recomputed

    def every_bar(self) -> dict[date, Judged]:
        """Whether each bar has its row."""
        found = self._bias_differences()
        broken = {name: ts for name, ts in found.items() if name != "OTHER_BIAS"}
        verdicts = minute_verdicts(self.again.bias.ts, broken, self.dates)
        return {
            day: Judged(
                verdict,
                f"each of {verdict.rows} bars has its bias row"
                if verdict.passed
                else f"{verdict.failed} minutes have a bar and no bias row, or a row and no bar, "
                f"the first {verdict.cases[0]['ts']}",
                {},
            )
            for day, verdict in verdicts.items()
        }

    def at_the_flips(self) -> dict[date, Judged]:
        """Whether triangles stand where the stored bias flips, and nowhere else."""
        expected = triangles_at_flips(
            self.bias,
            self.again.bias,
            self.again.bars,
            self.again.previous,
            self.market.filters,
        )
        broken = self._judged_only(triangle_differences(self.triangles, expected, candles=False))
        verdicts = minute_verdicts(
            expected.ts, broken, self.dates, lambda ts: _triangles_on(ts, self.triangles, expected)
        )
        return {
            day: Judged(
                verdict,
                f"{verdict.rows} triangles, one on each flip that passes the filters"
                if verdict.passed
                else f"{verdict.failed} triangles are not those that the stored bias calls for, "
                f"the first {verdict.cases[0]['ts']}",
                {},
            )
            for day, verdict in verdicts.items()
        }

    def recomputed(self) -> dict[date, Judged]:
        """Whether another replay gives the same, and the fingerprint of each date's signal."""
        made = self.again
        broken: dict[str, Int64s] = {}
        prints = _fingerprints(self.dates, self.bias, self.triangles)
        if prints != _fingerprints(self.dates, made.bias, made.triangles):
            broken = self._bias_differences() | self._judged_only(
                {
                    f"TRIANGLE_{name}": ts
                    for name, ts in triangle_differences(
                        self.triangles, made.triangles, candles=True
                    ).items()
                }
            )
        verdicts = minute_verdicts(
            made.bias.ts, broken, self.dates, lambda ts: _biases_on(ts, self.bias, made.bias)
        )
        since = "the first bar" if made.since is None else f"the state of {made.since}"
        return {
            day: Judged(
                verdict,
                f"replayed from {since}, the signal of {verdict.rows} bars is the stored one"
                if verdict.passed
                else f"replayed from {since}, the signal differs on {verdict.failed} minutes, the "
                f"first {verdict.cases[0]['ts']}",
                {"signal_fingerprint": fingerprint, "replayed_from": since},
            )
            for (day, verdict), fingerprint in zip(verdicts.items(), prints, strict=True)
        }

    def _bias_differences(self) -> dict[str, Int64s]:
        return self._judged_only(bias_differences(self.bias, self.again.bias))

    def _judged_only(self, found: Mapping[str, Int64s]) -> dict[str, Int64s]:
        """Minutes of dates that have a stored signal; there may be none of a date to judge."""
        if not found:
            return {}
        first = day_number(self.dates.start)
        judged = np.array([day in self.days for day in self.dates])
        kept = {name: ts[judged[ts // NS_PER_DAY - first]] for name, ts in found.items()}
        return {name: ts for name, ts in kept.items() if len(ts)}


def _fingerprints(dates: DateRange, bias: BiasSeries, triangles: Triangles) -> list[str]:
    """128 bits for each date that stand for its biases and triangles, as hexadecimal digits."""
    bias_columns = (bias.ts, np.ascontiguousarray(bias.bias))
    triangle_columns = (
        triangles.ts,
        triangles.direction,
        np.ascontiguousarray(triangles.bias),
        triangles.htf_bullish,
        triangles.htf_bearish,
        triangles.engulfing,
        triangles.sweep_engulfing,
    )
    return [
        _digest(columns_of_bias, columns_of_triangles)
        for columns_of_bias, columns_of_triangles in zip(
            _by_date(dates, bias_columns), _by_date(dates, triangle_columns), strict=True
        )
    ]


def _by_date(
    dates: DateRange, columns: tuple[np.ndarray[tuple[int, ...], np.dtype[np.generic]], ...]
) -> Iterator[list[bytes]]:
    """The bytes of each date's part of columns, the first of which is their minute."""
    starts = np.arange(day_number(dates.start), day_number(dates.end) + 2) * NS_PER_DAY
    bounds = np.searchsorted(columns[0], starts).tolist()
    for first, after in pairwise(bounds):
        yield [column[first:after].tobytes() for column in columns]


def _digest(*parts: list[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for columns in parts:
        for column in columns:
            digest.update(len(column).to_bytes(8, "little"))
            digest.update(column)
    return digest.hexdigest()


def _biases_on(ts: int, stored: BiasSeries, made: BiasSeries) -> dict[str, str]:
    return {"stored": _bias_words(ts, stored), "recomputed": _bias_words(ts, made)}


def _bias_words(ts: int, series: BiasSeries) -> str:
    row = int(np.searchsorted(series.ts, ts))
    if row == len(series) or series.ts[row] != ts:
        return "no row"
    return _words(series.bias[row])


def _triangles_on(ts: int, stored: Triangles, expected: Triangles) -> dict[str, str]:
    return {"stored": _triangle_words(ts, stored), "expected": _triangle_words(ts, expected)}


def _triangle_words(ts: int, found: Triangles) -> str:
    rows = np.flatnonzero(found.ts == ts)
    if not len(rows):
        return "no triangle"
    return "; ".join(
        f"{DIRECTION_NAMES[found.direction[row]]} at {iso_minute(ts)}: {_words(found.bias[row])}"
        for row in rows.tolist()
    )


def _words(bias: Int8s) -> str:
    return " ".join("?" if code == UNKNOWN else BIAS_NAMES[code] for code in bias.tolist())
