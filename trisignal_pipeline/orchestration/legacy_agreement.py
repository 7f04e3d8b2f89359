"""Whether the clean bars of each date say the same as its legacy bars."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np

from trisignal_pipeline.judging import Verdict, minute_verdicts
from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import NS_PER_DAY, DateRange, day_number
from trisignal_pipeline.market.differences import bar_in_words, differences, positions
from trisignal_pipeline.orchestration.partition_metadata import MetadataOfOne
from trisignal_pipeline.orchestration.partition_report import PartitionReport
from trisignal_pipeline.screening import Screened
from trisignal_pipeline.storage.bar_dates import complete_dates
from trisignal_pipeline.storage.bars import LEGACY, read_bars
from trisignal_pipeline.storage.locks import HeldSymbol

CHECK = "agrees_with_legacy"
DESCRIPTION = (
    "Clean bars made from legacy ones have the same minutes, shifted by one from the close to the "
    "open, without those that the rules rejected, and the same prices, volumes and contracts; or "
    "nothing downstream reads them. Bars of the API are compared as far as there are legacy ones, "
    "and a difference is a warning."
)


def judge_agreement(
    held: HeldSymbol,
    dates: DateRange,
    stored: Bars,
    delivered: Screened,
    *,
    report: PartitionReport,
    from_api: bool,
) -> Mapping[date, MetadataOfOne]:
    """Put the verdict on each of `dates` into `report`.

    Args:
        held: the symbol, whose clean bars of `dates` have just been written.
        dates: the UTC dates.
        stored: all clean bars stored of them.
        delivered: what they were made from, and what of it was rejected.
        report: of the check of this name.
        from_api: whether they are of the API.

    Returns:
        Nothing: what there is to say is in the verdicts.
    """
    legacy = held.repeat(read_bars, LEGACY, held.symbol, dates.start_ns, dates.end_ns)
    if from_api:
        finished = held.repeat(complete_dates, held.symbol, LEGACY.layer, dates)
        compared, legacy = _in_both(stored, _of_days(legacy, finished))
    else:
        compared, legacy = stored, _without(legacy, delivered.rejected)
    broken = differences(compared, legacy)

    def quote(ts: int) -> dict[str, str]:
        return {"clean": bar_in_words(compared, ts), "legacy": bar_in_words(legacy, ts)}

    for day, verdict in minute_verdicts(compared.ts, broken, dates, quote).items():
        report.add(
            held.symbol,
            day,
            verdict,
            blocking=not from_api and not verdict.passed,
            description=_in_words(verdict, from_api=from_api),
            metadata={},
        )
    return {}


def _in_both(clean: Bars, legacy: Bars) -> tuple[Bars, Bars]:
    """The bars of both on the minutes that both have."""
    _, in_legacy = positions(clean.ts, legacy.ts)
    _, in_clean = positions(legacy.ts, clean.ts)
    return clean.take(in_legacy), legacy.take(in_clean)


def _of_days(bars: Bars, days: Mapping[date, object]) -> Bars:
    return bars.take(np.isin(bars.ts // NS_PER_DAY, [day_number(day) for day in days]))


def _without(legacy: Bars, rejected: Bars) -> Bars:
    _, out = positions(legacy.ts, np.unique(rejected.ts))
    return legacy.take(~out)


def _in_words(verdict: Verdict, *, from_api: bool) -> str:
    if from_api and not verdict.rows:
        return "bars of the API, and no finished legacy ones to compare with"
    if verdict.passed:
        both = "minutes that both have" if from_api else "bars"
        return f"all {verdict.rows} {both} agree with the legacy bars"
    if from_api:
        return (
            f"on {verdict.failed} of {verdict.rows} minutes that both have the bars of the API "
            "are not the legacy ones"
        )
    return (
        f"on {verdict.failed} minutes the clean bars are not the legacy ones they were made from: "
        "they are not used"
    )
