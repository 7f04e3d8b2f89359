"""Which contract stands for a market on each date.

`GLBX.MDP3:NQ` with roll rule `v` and rank 0 means what Databento calls `NQ.v.0`: on each UTC date,
the outright with the highest volume on the previous date that has bars. The answer comes from what
the catalogue knows of all files, never from stored bars, so that it can't depend on what happens to
be materialised already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from trisignal_pipeline.errors import LeadContractError
from trisignal_pipeline.market.contracts import delivery_month, root_of
from trisignal_pipeline.market.symbols import RollRule, parse_continuous


@dataclass(frozen=True, slots=True)
class Traded:
    """What one file holds of one instrument on one UTC date.

    contract             raw symbol of an outright, or `#instrument_id` where the file only names a
                         continuous symbol
    volume               contracts, summed over the date's bars
    first_ns, last_ns    open of the first and of the last bar, nanoseconds since the epoch, UTC
    continuous           the continuous symbol (`NQ.v.0`) of a `#instrument_id`, else None
    """

    date: date
    contract: str
    volume: int
    first_ns: int
    last_ns: int
    continuous: str | None = None


def lead_contracts(
    traded: Iterable[Traded], rule: RollRule | str, rank: int = 0
) -> dict[date, str]:
    """The contract that stands for the market on each date, in order of date.

    `traded` holds one root's instruments, of any number of files. Files that overlap in time are
    copies of the same trading and don't add up (see `volumes_by_date`). With rule

    v   contracts are ordered by their volume on the previous date that has outright bars (Sundays
        count). If the one in place `rank` has no bar on the date itself, or there is no earlier
        date, the date's own volumes order them. Ties go to the nearest delivery month.
    c   contracts with a bar on the date are ordered by delivery month.
    n   needs the open interest of each contract, which bars don't carry: only a file of the
        continuous symbol itself can tell.

    Named contracts take precedence. Where a date has no outright bars at all, but bars of a
    continuous file of exactly this rule and rank, that file's instrument is the answer, as
    `#instrument_id`. A date that has fewer than `rank + 1` contracts is left out.

    Raises:
        LeadContractError: rule n for a date whose bars come from outrights; a root mixed with
            another one; a rule that doesn't exist; a negative rank.
    """
    rule = _checked(rule, rank)
    rows = list(traded)
    _require_one_root(rows)
    continuous = _continuous_contracts(rows, rule, rank)
    named = volumes_by_date(row for row in rows if row.continuous is None)
    if rule is RollRule.OPEN_INTEREST:
        _require_no_open_interest(named, continuous)
        named = {}

    leads = dict(continuous)
    previous: list[str] = []
    for day in sorted(named):
        leads.pop(day, None)
        today = named[day]
        if rule is RollRule.CALENDAR:
            order = _by_delivery(today, day)
        else:
            own_order = _by_volume(today, day)
            order = previous if rank < len(previous) and previous[rank] in today else own_order
            previous = own_order
        if rank < len(order):
            leads[day] = order[rank]
    return dict(sorted(leads.items()))


def volumes_by_date(traded: Iterable[Traded]) -> dict[date, dict[str, int]]:
    """Volume of each contract on each date, over all files.

    Files whose spans of time are disjoint hold different trading: their volumes add up. Files whose
    spans overlap, directly or through a third one, hold the same trading more than once: the
    largest volume among them counts.
    """
    spans: defaultdict[date, defaultdict[str, list[tuple[int, int, int]]]]
    spans = defaultdict(lambda: defaultdict(list))
    for row in traded:
        spans[row.date][row.contract].append((row.first_ns, row.last_ns, row.volume))
    return {
        day: {contract: _volume(parts) for contract, parts in contracts.items()}
        for day, contracts in spans.items()
    }


def _volume(spans: list[tuple[int, int, int]]) -> int:
    total = largest = 0
    reached: int | None = None
    for first_ns, last_ns, volume in sorted(spans):
        if reached is None or first_ns > reached:
            total += largest
            largest, reached = volume, last_ns
        else:
            largest, reached = max(largest, volume), max(reached, last_ns)
    return total + largest


def _by_volume(volumes: Mapping[str, int], day: date) -> list[str]:
    return sorted(volumes, key=lambda name: (-volumes[name], delivery_month(name, day), name))


def _by_delivery(volumes: Mapping[str, int], day: date) -> list[str]:
    return sorted(volumes, key=lambda name: (delivery_month(name, day), name))


def _continuous_contracts(rows: Sequence[Traded], rule: RollRule, rank: int) -> dict[date, str]:
    """The instrument a continuous file of this rule and rank names on each date.

    A continuous symbol is one instrument a day; should files disagree, the busier one counts.
    """
    matching = []
    for row in rows:
        parts = None if row.continuous is None else parse_continuous(row.continuous)
        if parts is not None and parts[1:] == (rule, rank):
            matching.append(row)
    return {
        day: min(volumes, key=lambda name: (-volumes[name], name))
        for day, volumes in volumes_by_date(matching).items()
    }


def _require_no_open_interest(named: Iterable[date], continuous: Iterable[date]) -> None:
    undecided = sorted(set(named) - set(continuous))
    if undecided:
        raise LeadContractError(
            f"roll rule n follows the highest open interest, which OHLCV files don't carry: the "
            f"lead contract of {undecided[0]} ({len(undecided)} dates in all) can't be told from "
            "single contracts; set the symbol's roll_rule to v or c, or add a file of the "
            "continuous symbol itself (stype_in continuous, for instance NQ.n.0)"
        )


def _require_one_root(rows: Sequence[Traded]) -> None:
    roots = {root_of(row.continuous or row.contract) for row in rows}
    if len(roots) > 1 or None in roots:
        names = sorted({row.continuous or row.contract for row in rows})
        raise LeadContractError(
            "a lead contract is chosen among the outrights of one root, but these were given: "
            f"{', '.join(names[:6])}; pass the rows of one root at a time, without spreads"
        )


def _checked(rule: RollRule | str, rank: int) -> RollRule:
    if rule not in set(RollRule):
        raise LeadContractError(f"roll rule {rule!r} is not one of c, n, v")
    if rank < 0:
        raise LeadContractError(f"rank {rank} is negative; the lead contract itself has rank 0")
    return RollRule(rule)
