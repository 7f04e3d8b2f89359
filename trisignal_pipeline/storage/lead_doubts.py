"""Stored dates that follow another contract than the raw files now say leads.

A file of an earlier date tells more of who traded the most before: it may change the lead contract
of the date after it, whose bars are then those of the wrong contract. So may another roll rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from trisignal_pipeline.errors import LeadContractError
from trisignal_pipeline.judging import Verdict
from trisignal_pipeline.market.dates import DateRange, contiguous_ranges
from trisignal_pipeline.market.lead_contract import lead_contracts
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.storage.catalogue import coverage, traded
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.verdicts import DateVerdict, record_verdicts

CHECK = "follows_the_lead_contract"
_ASSET = "legacy_bars"


@dataclass(frozen=True, slots=True)
class LeadDoubt:
    """A date whose stored bars are of one contract, though by the files another one leads."""

    day: date
    stored: str
    lead: str

    @property
    def description(self) -> str:
        """What is in doubt, and what becomes of it."""
        return (
            f"its bars are of {self.stored}, but by the files that are there now {self.lead} "
            "leads; the daemon materialises the date again, and so does `trisignal refresh`"
        )


def record_lead_doubts(
    connection: Connection, raw_dir: Path, market: Market, dagster_run_id: str | None
) -> list[LeadDoubt]:
    """Keep which of the market's stored dates are in doubt, and the verdict on each; returns them.

    Called whenever the files or the stored bars may have changed. A date that is in doubt no more
    is taken off, and its verdict says so.
    """
    symbol = str(market.symbol)
    with connection.transaction():
        # Who comes second must see what the first one saw, and not overwrite it with less.
        connection.execute("LOCK TABLE lead_contract_doubts IN SHARE ROW EXCLUSIVE MODE")
        found = _find(connection, raw_dir, market)
        settled = connection.execute(
            "DELETE FROM lead_contract_doubts WHERE symbol = %s AND date <> ALL(%s) RETURNING date",
            (symbol, [doubt.day for doubt in found]),
        ).fetchall()
        connection.execute(
            """
            INSERT INTO lead_contract_doubts (symbol, date, stored_contract, lead_contract)
            SELECT %s, d.* FROM unnest(%s::date[], %s::text[], %s::text[]) AS d
            ON CONFLICT (symbol, date) DO UPDATE SET
                stored_contract = excluded.stored_contract, lead_contract = excluded.lead_contract
            """,
            (
                symbol,
                [doubt.day for doubt in found],
                [doubt.stored for doubt in found],
                [doubt.lead for doubt in found],
            ),
        )
        judged = {day: (Verdict(1, 0), "no file names another lead contract") for (day,) in settled}
        other_lead = Verdict(1, 1, {"ANOTHER_LEAD_CONTRACT": 1})
        judged |= {doubt.day: (other_lead, doubt.description) for doubt in found}
        record_verdicts(
            connection,
            [
                DateVerdict(symbol, day, _ASSET, CHECK, description, verdict, blocking=False)
                for day, (verdict, description) in judged.items()
            ],
            dagster_run_id,
        )
    return found


def dates_of_other_contracts(connection: Connection) -> Mapping[str, list[DateRange]]:
    """By symbol, the dates in doubt, as the fewest ranges that hold exactly them."""
    found = connection.execute(
        "SELECT symbol, array_agg(date ORDER BY date) FROM lead_contract_doubts "
        "GROUP BY symbol ORDER BY symbol"
    )
    return {symbol: contiguous_ranges(days) for symbol, days in found}


def _find(connection: Connection, raw_dir: Path, market: Market) -> list[LeadDoubt]:
    stored = connection.execute(
        """
        SELECT date, contract FROM bar_dates
        WHERE symbol = %s AND layer = 'legacy' AND state = 'complete' AND bar_count > 0
        ORDER BY date
        """,
        (str(market.symbol),),
    ).fetchall()
    if not stored:
        return []
    known = traded(connection, raw_dir, market)
    try:
        leads = lead_contracts(known, market.roll_rule, market.rank)
    except LeadContractError:
        # Materialising says what is wrong; until then no contract leads.
        return []
    files = coverage(connection, raw_dir, market, DateRange(stored[0][0], stored[-1][0]))
    return [
        LeadDoubt(day, contract, leads[day])
        for day, contract in stored
        if leads.get(day, contract) != contract and files.files(day)
    ]
