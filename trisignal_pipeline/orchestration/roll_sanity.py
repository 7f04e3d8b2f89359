"""Whether each date of legacy bars is of one contract, and what a roll does to the price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import numpy as np

from trisignal_pipeline.judging import MOST_FAILURE_CASES, Verdict, minute_verdicts
from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.prices import points
from trisignal_pipeline.market.rolls import Roll, of_another_contract, rolls
from trisignal_pipeline.orchestration.partition_metadata import MetadataOfOne
from trisignal_pipeline.orchestration.partition_report import PartitionReport
from trisignal_pipeline.screening import Screened
from trisignal_pipeline.storage.last_bar import last_legacy_bar
from trisignal_pipeline.storage.locks import HeldSymbol

CHECK = "roll_sanity"
DESCRIPTION = (
    "All bars of a date are of one contract, or nothing downstream reads it. Where the stored date "
    "before has another one, the gap between its last close and the first open is told; a roll "
    "back to a contract that expires earlier is a warning."
)


def judge_rolls(
    held: HeldSymbol,
    dates: DateRange,
    stored: Bars,
    _delivered: Screened,
    *,
    report: PartitionReport,
) -> Mapping[date, MetadataOfOne]:
    """Put the verdict on each of `dates` into `report`, given all bars stored of them.

    Returns:
        What there is to say with the partitions on which the contract changed.
    """
    before = held.repeat(last_legacy_bar, held.symbol, dates.start)
    rolled = {roll.date: roll for roll in rolls(stored, before)}
    odd = of_another_contract(stored)

    def contract(ts: int) -> dict[str, str]:
        row = int(np.searchsorted(stored.ts, ts))
        return {"contract": stored.contracts[stored.contract[row]]}

    broken = {"SEVERAL_CONTRACTS": stored.ts[odd]} if odd.any() else {}
    verdicts = minute_verdicts(stored.ts, broken, dates, contract)
    said: dict[date, MetadataOfOne] = {}
    for day, verdict in verdicts.items():
        roll = rolled.get(day)
        if roll is not None:
            said[day] = _metadata(roll)
        report.add(
            held.symbol,
            day,
            _with_direction(verdict, roll),
            blocking=not verdict.passed,
            description=_in_words(verdict, roll),
            metadata=said.get(day, {}),
        )
    return said


def _with_direction(verdict: Verdict, roll: Roll | None) -> Verdict:
    if roll is None or not roll.backwards:
        return verdict
    case = {name: str(value) for name, value in _metadata(roll).items()}
    return replace(
        verdict,
        by_check={**verdict.by_check, "ROLL_BACK": 1},
        cases=(case, *verdict.cases)[:MOST_FAILURE_CASES],
    )


def _in_words(verdict: Verdict, roll: Roll | None) -> str:
    if not verdict.rows:
        return "no bars"
    said = [f"all {verdict.rows} bars are of one contract"]
    if not verdict.passed:
        odd = f"{verdict.failed} of {verdict.rows} bars are of another contract than the others"
        said = [f"{odd}: the date is not used"]
    if roll is not None:
        what = "a roll back" if roll.backwards else "a roll"
        said.append(
            f"{what} from {roll.before.contract}, whose last close on {roll.before.date} was "
            f"{points(roll.before.close)}, to {roll.contract}, whose first open is "
            f"{points(roll.first_open)}: a gap of {points(roll.gap)} points"
        )
    return "; ".join(said)


def _metadata(roll: Roll) -> MetadataOfOne:
    return {
        "rolled_from": roll.before.contract,
        "rolled_to": roll.contract,
        "last_close": points(roll.before.close),
        "first_open": points(roll.first_open),
        "roll_gap_points": roll.gap_points,
    }
