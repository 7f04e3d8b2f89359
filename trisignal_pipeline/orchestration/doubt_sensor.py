"""Signals follow the bars, clean bars the legacy ones, and those the lead contract, unasked."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import json

import dagster as dg

from trisignal_pipeline.market.dates import DateRange, by_year
from trisignal_pipeline.orchestration.assets.signal_reports import history_verdict
from trisignal_pipeline.orchestration.circumstances import circumstances
from trisignal_pipeline.orchestration.partitions import SYMBOL_DIMENSION
from trisignal_pipeline.orchestration.refresh import (
    BARS_AND_SIGNALS,
    CLEAN_BARS_AND_SIGNALS,
    ONLY_IN_DOUBT,
    SIGNAL_ASSETS,
)
from trisignal_pipeline.orchestration.resources import PostgresResource
from trisignal_pipeline.orchestration.unasked_runs import REFRESH_TAG, run_request, why_not_now
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.doubts import doubts
from trisignal_pipeline.storage.lead_doubts import dates_of_other_contracts
from trisignal_pipeline.storage.stale_dates import stale_clean_dates

refresh_signals = dg.define_asset_job(
    "refresh_signals",
    selection=dg.AssetSelection.assets(*SIGNAL_ASSETS),
    description=(
        "Computes again the signals that are in doubt. Launched by the sensor, with a range of "
        "dates; to do so by hand run `trisignal refresh`."
    ),
)

follow_legacy_bars = dg.define_asset_job(
    "follow_legacy_bars",
    selection=dg.AssetSelection.assets(*CLEAN_BARS_AND_SIGNALS),
    description=(
        "Makes clean bars and signals of dates again whose legacy bars have become other bars. "
        "Launched by the sensor; to do so by hand run `trisignal refresh`."
    ),
)

follow_lead_contract = dg.define_asset_job(
    "follow_lead_contract",
    selection=dg.AssetSelection.assets(*BARS_AND_SIGNALS),
    description=(
        "Makes bars and signals of dates again of which the files name another lead contract now. "
        "Launched by the sensor; to do so by hand run `trisignal refresh`."
    ),
)


@dg.sensor(
    jobs=[refresh_signals, follow_legacy_bars, follow_lead_contract],
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Looks for stored dates of which the files name another lead contract now, and makes them "
        "again; then for clean bars whose legacy bars have changed since; then for stored signals "
        "whose bars or rules have: one run over a range of dates for each symbol."
    ),
)
def signals_follow_the_bars(
    context: dg.SensorEvaluationContext, postgres: PostgresResource
) -> dg.SensorResult | dg.SkipReason:
    """Request a run for every symbol in doubt that has none under way, nor has to wait."""
    with postgres.database().reading().connect("doubt sensor") as connection:
        found = doubts(connection)
        stale = stale_clean_dates(connection)
        rolled = dates_of_other_contracts(connection)
        verdict = history_verdict(connection)
        if not (found or stale or rolled):
            now = ""
        else:
            now = circumstances(connection, Settings.from_environment())
    seen = json.dumps([[doubt.symbol, doubt.from_ns, doubt.dates] for doubt in found])
    if seen != (context.cursor or "[]"):
        # The check shows in the UI at once, not only when the next run ends.
        context.instance.report_runless_asset_event(verdict)
    context.update_cursor(seen)

    def bars(job: str, symbol: str, spans: list[DateRange]) -> dg.RunRequest:
        return run_request(job, symbol, by_year(spans[0])[0], now)

    # Bars first: new ones would put signals that were just computed in doubt again.
    wanted = (
        {
            doubt.symbol: run_request(
                refresh_signals.name,
                doubt.symbol,
                DateRange(doubt.first, doubt.last),
                now,
                run_config=ONLY_IN_DOUBT,
            )
            for doubt in found
        }
        | {symbol: bars(follow_legacy_bars.name, symbol, spans) for symbol, spans in stale.items()}
        | {
            symbol: bars(follow_lead_contract.name, symbol, spans)
            for symbol, spans in rolled.items()
        }
    )
    waiting = {symbol: _why_not_now(context.instance, wanted[symbol]) for symbol in wanted}
    requests = [request for symbol, request in wanted.items() if waiting[symbol] is None]
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SkipReason(
        "; ".join(f"{symbol} {reason}" for symbol, reason in waiting.items())
        or "every stored signal is current"
    )


def _why_not_now(instance: dg.DagsterInstance, request: dg.RunRequest) -> str | None:
    if not instance.has_dynamic_partition(SYMBOL_DIMENSION, request.tags[REFRESH_TAG]):
        return "is in doubt, but not active"
    return why_not_now(instance, request)
