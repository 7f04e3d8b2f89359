"""What new files say of stored dates: degraded days, and lead contracts that are no more."""

from __future__ import annotations

import dagster as dg
import pytest

from trisignal_pipeline.orchestration.definitions import build_defs
from trisignal_pipeline.orchestration.doubt_sensor import (
    follow_lead_contract,
    signals_follow_the_bars,
)
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.orchestration.refresh import refresh_symbol
from trisignal_pipeline.orchestration.resources import PostgresResource
from trisignal_pipeline.orchestration.unasked_runs import REFRESH_TAG
from trisignal_pipeline.query.operations import symbol_states
from trisignal_pipeline_tests.pipeline import LEGACY, RAW, Pipeline
from trisignal_pipeline_tests.sources.job_files import write_conditions, write_metadata
from trisignal_pipeline_tests.tiny_market import MONDAY, NQ, TUESDAY, bars, write_day, write_days

DOUBTS = "SELECT symbol, date, stored_contract, lead_contract FROM lead_contract_doubts"
VERDICT = (
    "SELECT passed, severity, description FROM data_quality_results "
    "WHERE check_name = 'follows_the_lead_contract' AND date = %s"
)
CONTRACT = "SELECT contract FROM bar_dates WHERE layer = 'legacy' AND date = %s"


@pytest.fixture
def rolled(pipeline: Pipeline) -> Pipeline:
    """One in which a new file of Monday makes another contract lead on Tuesday."""
    write_day(pipeline.raw / "u4", TUESDAY, month="U4")
    busy = bars(TUESDAY, seed=2)
    busy["volume"] = 10_000
    write_day(pipeline.raw / "z4", TUESDAY, month="Z4", delivered=busy)
    assert pipeline.materialize(TUESDAY, TUESDAY).success
    assert pipeline.value(CONTRACT, TUESDAY) == "NQZ4"
    write_day(pipeline.raw / "u4", MONDAY, month="U4")
    # As the daemon or the UI would: the date before, and no thought of Tuesday.
    assert pipeline.materialize_one(MONDAY, (RAW,)).success
    return pipeline


def _states(pipeline: Pipeline) -> dict[str, object]:
    with pipeline.database.connect("tests") as connection:
        table = symbol_states(connection)
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return {str(row["symbol"]): row["dates_of_another_contract"] for row in rows}


def test_a_new_file_puts_the_date_it_moves_in_doubt_and_says_so(rolled: Pipeline) -> None:
    assert rolled.query(DOUBTS) == [(NQ, TUESDAY, "NQZ4", "NQU4")]
    [(passed, severity, description)] = rolled.query(VERDICT, TUESDAY)
    assert (passed, severity) == (False, "WARN")
    assert "its bars are of NQZ4, but by the files that are there now NQU4 leads" in description
    assert _states(rolled)[NQ] == 1
    with rolled.instance() as instance:
        [record] = instance.fetch_observations(dg.AssetKey(LEGACY), limit=10).records
    observed = record.asset_observation
    assert observed is not None
    assert (observed.partition, observed.description) == (
        partition_key(NQ, TUESDAY),
        description,
    )


def test_refreshing_makes_the_date_again_and_takes_the_doubt_away(rolled: Pipeline) -> None:
    with rolled.instance() as instance:
        done = refresh_symbol(build_defs(), instance, rolled.database, NQ)

    assert [(day.start, day.end) for day in done.rolled] == [(TUESDAY, TUESDAY)]
    assert all(run.success for run in done.runs)
    assert rolled.value(CONTRACT, TUESDAY) == "NQU4"
    assert rolled.query("SELECT DISTINCT contract FROM market_bars_ohlcv_1m") == [("NQU4",)]
    assert rolled.query(DOUBTS) == []
    assert rolled.value("SELECT count(*) FROM signal_dates_in_doubt") == 0
    assert rolled.query(VERDICT, TUESDAY) == [(True, "WARN", "no file names another lead contract")]
    assert _states(rolled)[NQ] == 0


def test_the_sensor_asks_for_bars_and_signals_of_the_date(rolled: Pipeline) -> None:
    with rolled.instance() as instance:
        context = dg.build_sensor_context(
            instance=instance, resources={"postgres": PostgresResource()}, definitions=build_defs()
        )
        result = signals_follow_the_bars(context)
    assert isinstance(result, dg.SensorResult)
    [request] = result.run_requests or ()
    assert request.job_name == follow_lead_contract.name
    assert request.tags[REFRESH_TAG] == NQ
    assert {str(TUESDAY) in value for name, value in request.tags.items() if "range" in name} == {
        True
    }


def test_a_rule_that_is_set_back_takes_the_doubt_away_unwritten(rolled: Pipeline) -> None:
    rolled.set(roll_rule="n")
    rolled.materialize_one(MONDAY, (RAW,))
    assert rolled.query(DOUBTS) == []

    rolled.set(roll_rule="v")
    rolled.materialize_one(MONDAY, (RAW,))
    assert rolled.query(DOUBTS) == [(NQ, TUESDAY, "NQZ4", "NQU4")]


def test_a_day_the_vendor_calls_degraded_or_pending_is_a_warning(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, [MONDAY, TUESDAY])
    write_metadata(pipeline.raw)
    write_conditions(pipeline.raw, d2024_06_24="degraded", d2024_06_25="available")

    assert pipeline.materialize(MONDAY, TUESDAY, (RAW, LEGACY)).success

    monday, tuesday = (one for _, one in sorted(pipeline.evaluations(RAW).items()))
    assert (monday.passed, monday.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "Databento calls it degraded (as of 2024-09-01)" in str(monday.description)
    assert tuesday.passed
    materialized = sorted(pipeline.materializations(RAW).items())
    shown = [one.metadata["condition"].value for _, one in materialized]
    assert shown == ["degraded", "available"]
    assert pipeline.value("SELECT count(*) FROM bar_dates") == 2, "its bars are used all the same"
