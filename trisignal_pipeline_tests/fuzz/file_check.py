"""One file's bytes through the product, up to the rows that would be written, held against the
plain reading of the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from pathlib import Path

from trisignal_pipeline.market.bars import Bars, concatenate
from trisignal_pipeline.market.dates import midnight_ns
from trisignal_pipeline.market.deliveries import Delivered, merge_deliveries
from trisignal_pipeline.market.hygiene import INDEX_FUTURE
from trisignal_pipeline.schemas import clean_bar, legacy_bar
from trisignal_pipeline.screening import Screened, screen
from trisignal_pipeline.sources.dbn_file import DbnFile, inspect, read_bars
from trisignal_pipeline_tests.fuzz import plain_file
from trisignal_pipeline_tests.fuzz.plain_file import PlainFile, Row, Told, Unusable

FLOOR = 1000 * 10**9
_LONGEST_REASON = 500
_LEGACY, _CLEAN = legacy_bar(INDEX_FUTURE), clean_bar(INDEX_FUTURE)


class Outcome(StrEnum):
    """How a case ended well."""

    LOADED = "loaded"
    QUARANTINED = "quarantined"
    REFUSED = "refused"


class Disagreement(Exception):  # noqa: N818 not an error of the campaign, but what it looks for
    """The product says otherwise than the plain reading."""


def check_file(path: Path) -> Outcome:
    """How the product takes the file at `path`.

    Raises:
        Disagreement: it believes what can't be believed, refuses what can, or has a wrong row.
    """
    verdict = inspect(path)
    plain = read_plainly(path.read_bytes())
    if not isinstance(verdict, DbnFile):
        require_plain_words(verdict.reason)
        if isinstance(plain, PlainFile):
            raise Disagreement(f"refused ({verdict.reason}), though nothing is wrong with it")
        return Outcome.REFUSED
    if not isinstance(plain, PlainFile):
        raise Disagreement(f"verified, though: {plain}")
    require("records", verdict.record_count, plain.record_count)
    require(
        "contracts by date",
        sorted(
            (d.date, d.root, d.contract, d.continuous, d.bar_count, d.volume, d.first_ns, d.last_ns)
            for d in verdict.days
        ),
        sorted(
            (
                day,
                *contract,
                len(rows),
                sum(row.volume for row in rows),
                min(row.ts for row in rows),
                max(row.ts for row in rows),
            )
            for (day, contract), rows in plain.bars.items()
        ),
    )
    rejected = 0
    for wanted in _one_contract_a_date(plain):
        rejected += _check_bars(verdict, plain, wanted)
    return Outcome.QUARANTINED if rejected else Outcome.LOADED


def read_plainly(content: bytes) -> PlainFile | str:
    """What the plain reading makes of `content`; where it is unusable, why."""
    try:
        return plain_file.read(content)
    except Unusable as unusable:
        return str(unusable)


def require_plain_words(reason: str) -> None:
    """Raise `Disagreement` unless `reason` is a line that a user can read."""
    if not reason.isprintable() or not 10 <= len(reason) <= _LONGEST_REASON:
        raise Disagreement(f"the reason for refusing it is no line for a user: {reason!r}")


def _check_bars(file: DbnFile, plain: PlainFile, wanted: dict[date, str]) -> int:
    """Compare the bars of one contract a date; how many were rejected."""
    start_ns, end_ns = midnight_ns(min(wanted)), midnight_ns(max(wanted)) + 86_400 * 10**9
    read = concatenate(read_bars(file, wanted, start_ns, end_ns))
    names = {(day, contract.name): rows for (day, contract), rows in plain.bars.items()}
    expected = {day: names[day, contract] for day, contract in wanted.items()}
    by_date: defaultdict[date, list[Row]] = defaultdict(list)
    for row, contract in _rows_of(read):
        day = plain_file.moment(row.ts).date()
        require("contract", contract, wanted[day])
        by_date[day].append(row)
    require("bars as delivered", dict(by_date), expected)

    of_legacy = screen(_LEGACY, merge_deliveries([read]))
    of_clean = screen(_CLEAN, Delivered.of_one(of_legacy.accepted))
    told = [plain_file.legacy(rows) for _, rows in sorted(expected.items())]
    _require_told("legacy", of_legacy, told)
    _require_told("clean", of_clean, [plain_file.clean(one.accepted, FLOOR) for one in told])
    return len(of_legacy.rejected) + len(of_clean.rejected)


def _require_told(layer: str, screened: Screened, told: list[Told]) -> None:
    require(
        f"{layer} bars",
        [row for row, _ in _rows_of(screened.accepted)],
        [row for one in told for row in one.accepted],
    )
    require(
        f"rejected {layer} bars",
        [
            (row, frozenset(rule for rule, mask in screened.broken.items() if mask[at]))
            for at, (row, _) in enumerate(_rows_of(screened.rejected))
        ],
        [row for one in told for row in one.rejected],
    )


def _rows_of(bars: Bars) -> Iterator[tuple[Row, str]]:
    """Each bar as a row, with its contract."""
    columns = (bars.ts, bars.open, bars.high, bars.low, bars.close, bars.volume)
    for *values, contract in zip(*(c.tolist() for c in (*columns, bars.contract)), strict=True):
        yield Row(*values), bars.contracts[contract]


def _one_contract_a_date(plain: PlainFile) -> Iterator[dict[date, str]]:
    """As many selections as it takes to have every contract of every date in one of them."""
    by_date: defaultdict[date, list[str]] = defaultdict(list)
    for day, contract in sorted(plain.bars):
        by_date[day].append(contract.name)
    while by_date:
        yield {day: names.pop() for day, names in by_date.items()}
        by_date = defaultdict(list, {day: names for day, names in by_date.items() if names})


def require(what: str, found: object, expected: object) -> None:
    """Raise `Disagreement` unless what was found is what was expected."""
    if found == expected:
        return
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in {**found, **expected}:
            require(f"{what}, {key}", found.get(key), expected.get(key))
    raise Disagreement(f"{what}: {_short(found)} instead of {_short(expected)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 1500 else f"{text[:1500]}..."
