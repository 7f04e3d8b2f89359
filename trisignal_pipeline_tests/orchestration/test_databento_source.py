"""Assets that buy what they miss, and clean bars that come straight from the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from trisignal_pipeline.errors import BudgetError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.backfill import FROM_CLEAN_BARS_ON, Backfilled, Buying
from trisignal_pipeline.orchestration.backfill import backfill as run_backfill
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline_tests import tiny_market
from trisignal_pipeline_tests.pipeline import (
    ASSETS,
    BIAS,
    CLEAN,
    LEGACY,
    RAW,
    TRIANGLES,
    Pipeline,
)
from trisignal_pipeline_tests.sources.databento_server import KEY, DatabentoServer
from trisignal_pipeline_tests.sources.dbn_encoder import RecordArray
from trisignal_pipeline_tests.tiny_market import (
    BARS,
    MONDAY,
    NQ,
    TUESDAY,
    WEDNESDAY,
    changed,
    flat,
    write_day,
    write_days,
)

DATES = DateRange(MONDAY, WEDNESDAY)
FROM_API = {"source": "databento_api"}
TICK = tiny_market.TICK


@pytest.fixture
def shopping(pipeline: Pipeline, databento: DatabentoServer) -> Pipeline:
    """The whole product with a key."""
    settings = replace(
        pipeline.settings,
        api_dir=pipeline.raw.with_name("api"),
        api_gateway=databento.gateway,
        api_key=KEY,
    )
    return Pipeline(settings)


def run(
    pipeline: Pipeline,
    assets: tuple[str, ...] = ASSETS,
    dates: DateRange = DATES,
    **configs: Mapping[str, Any],
) -> dg.ExecuteInProcessResult:
    """A run over a range with config, as the launchpad of the UI starts it."""
    with pipeline.instance() as instance:
        return pipeline.launch(
            instance,
            assets,
            tags={
                ASSET_PARTITION_RANGE_START_TAG: partition_key(NQ, dates.start),
                ASSET_PARTITION_RANGE_END_TAG: partition_key(NQ, dates.end),
            },
            ops={name: {"config": dict(config)} for name, config in configs.items()},
        )


def sources(pipeline: Pipeline) -> dict[date, str]:
    found = pipeline.query("SELECT date, source FROM bar_dates WHERE layer = 'clean' ORDER BY date")
    return dict(found)


def reingest(pipeline: Pipeline, dates: DateRange = DATES, budget: str = "5") -> Backfilled:
    return run_backfill(
        pipeline.settings,
        NQ,
        dates,
        assets=FROM_CLEAN_BARS_ON,
        buying=Buying(Decimal(budget)),
    )


def corrected(day: date, root: str = "NQ") -> RecordArray:
    """The API's bars differ from the files' in one bar of each date."""
    return changed(tiny_market.bars(day, root), 7, **flat(80_000 * TICK))


def test_files_that_are_missing_are_bought_and_all_follows(
    shopping: Pipeline, databento: DatabentoServer
) -> None:
    write_day(shopping.raw, MONDAY)

    assert run(shopping, raw_dbn_files=FROM_API).success

    assert databento.bought == [DateRange(TUESDAY, WEDNESDAY)]
    for layer in ("legacy", "clean"):
        assert (
            shopping.value(
                "SELECT sum(bar_count) FROM bar_dates WHERE layer = %s AND state = 'complete'",
                layer,
            )
            == 3 * BARS
        )
    [(cost, file_name, dagster_run)] = shopping.query(
        "SELECT cost_usd, file_name, dagster_run_id FROM data_ingest_runs WHERE asset = %s", RAW
    )
    assert (cost, dagster_run is None) == (Decimal("0.25"), False)
    assert file_name.startswith("glbx-mdp3-nq-v-0-20240625")
    assert sources(shopping) == dict.fromkeys(DATES, "legacy")


def test_without_being_told_nothing_is_bought(
    shopping: Pipeline, databento: DatabentoServer
) -> None:
    write_day(shopping.raw, MONDAY)

    run(shopping)

    assert not databento.asked


def test_a_run_s_budget_is_one_for_all_its_assets(
    shopping: Pipeline, databento: DatabentoServer
) -> None:
    config = {**FROM_API, "budget_usd": 0.6}

    with pytest.raises(BudgetError, match=r"0\.375 USD, but of the budget of 0\.6 USD 0\.375 USD"):
        # Corrected data is wanted for clean bars: what was bought for the raw folder won't do.
        run(shopping, raw_dbn_files=config, clean_bars={**config, "buy_again": True})

    assert databento.bought == [DATES]


def test_a_date_that_is_not_sold_says_why(shopping: Pipeline, databento: DatabentoServer) -> None:
    databento.conditions = {TUESDAY: "pending", WEDNESDAY: "degraded"}

    run(shopping, (RAW, LEGACY), raw_dbn_files=FROM_API)

    told = shopping.evaluations(RAW)[partition_key(NQ, TUESDAY)]
    assert not told.passed
    assert "not bought: Databento calls them pending" in (told.description or "")
    assert shopping.evaluations(RAW)[partition_key(NQ, MONDAY)].passed
    assert databento.bought == [DateRange(MONDAY, MONDAY), DateRange(WEDNESDAY, WEDNESDAY)]


def test_clean_bars_come_straight_from_the_api(
    shopping: Pipeline, databento: DatabentoServer
) -> None:
    done = reingest(shopping)

    assert done.succeeded
    assert not done.problems
    assert done.bought is not None
    assert done.bought.spent_usd == Decimal("0.375")
    assert databento.bought == [DATES]
    assert sources(shopping) == dict.fromkeys(DATES, "databento_api")
    assert shopping.query("SELECT DISTINCT source, contract FROM market_bars_ohlcv_1m_clean") == [
        ("databento_api", "#1")
    ]
    assert shopping.value("SELECT count(*) FROM market_bars_ohlcv_1m") == 0
    assert shopping.value("SELECT count(*) FROM bias_series_1m_v1") == 3 * BARS
    assert shopping.query(
        """
        SELECT asset, source, status, row_count, cost_usd, file_sha256 IS NOT NULL
        FROM data_ingest_runs ORDER BY id
        """
    ) == [
        (CLEAN, "databento_api", "success", 0, Decimal("0.375"), True),
        (CLEAN, "databento_api", "success", 3 * BARS, None, True),
    ]
    assert shopping.materializations(CLEAN)[partition_key(NQ, MONDAY)].metadata["source"] == (
        dg.MetadataValue.text("databento_api")
    )


def test_a_legacy_run_leaves_dates_of_the_api_alone_unless_told(
    shopping: Pipeline, databento: DatabentoServer
) -> None:
    databento.sold = corrected
    write_days(shopping.raw, DATES)
    shopping.backfill(MONDAY, WEDNESDAY)
    from_files = shopping.results()
    done = reingest(shopping, DateRange(TUESDAY, TUESDAY))
    from_api = shopping.results()
    assert done.succeeded
    assert from_api["market_bars_ohlcv_1m"] == from_files["market_bars_ohlcv_1m"]
    assert from_api["market_bars_ohlcv_1m_clean"] != from_files["market_bars_ohlcv_1m_clean"]
    compared = shopping.evaluations(CLEAN, "agrees_with_legacy")[partition_key(NQ, TUESDAY)]
    assert (compared.passed, compared.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert compared.description == (
        f"on 1 of {BARS} minutes that both have the bars of the API are not the legacy ones"
    )
    assert shopping.query("SELECT layer FROM selected_bar_dates WHERE date = %s", TUESDAY) == [
        ("clean",)
    ]

    again = shopping.backfill(MONDAY, WEDNESDAY)

    assert again.succeeded
    assert shopping.results() == from_api
    assert sources(shopping)[TUESDAY] == "databento_api"
    told = shopping.evaluations(CLEAN)[partition_key(NQ, TUESDAY)]
    assert told.passed
    assert "replace_api_dates" in (told.description or "")

    # What a run that is killed while it changes them leaves.
    shopping.query(
        "UPDATE bar_dates SET state = 'writing', completed_at = NULL "
        "WHERE layer = 'clean' AND date = %s",
        TUESDAY,
    )
    shopping.backfill(MONDAY, WEDNESDAY)

    told = shopping.evaluations(CLEAN)[partition_key(NQ, TUESDAY)]
    assert not told.passed
    assert "did not come to its end" in (told.description or "")

    replaced = run_backfill(shopping.settings, NQ, DATES, replace_api_dates=True)

    assert replaced.succeeded
    assert shopping.results() == from_files


def test_broken_legacy_bars_do_not_hide_bars_of_the_api(
    shopping: Pipeline, databento: DatabentoServer
) -> None:
    shopping.settings.raw_dir.mkdir(exist_ok=True)
    reingest(shopping)
    shopping.query(
        """
        INSERT INTO data_quality_results (symbol, date, asset, check_name, severity, passed)
        VALUES (%s, %s, 'legacy_bars', 'legacy_bar_schema', 'ERROR', false)
        """,
        NQ,
        TUESDAY,
    )

    selected = shopping.query("SELECT date, layer FROM selected_bar_dates ORDER BY date")

    assert selected == [(day, "clean") for day in DATES]


def test_what_was_bought_is_there_without_the_api(
    shopping: Pipeline, databento: DatabentoServer
) -> None:
    reingest(shopping)
    before = shopping.rows_as_written()
    databento.asked.clear()

    offline = Pipeline(replace(shopping.settings, api_key=None))
    reingest(offline, budget="0")
    run(offline, (CLEAN, BIAS, TRIANGLES), clean_bars=FROM_API)

    assert not databento.asked
    assert shopping.rows_as_written() == before


def test_a_year_too_dear_stops_all_years(shopping: Pipeline, databento: DatabentoServer) -> None:
    databento.available = DateRange(date(2023, 1, 1), date(2024, 12, 31))

    with pytest.raises(BudgetError):
        reingest(shopping, DateRange(date(2023, 12, 28), date(2024, 1, 10)), budget="1")

    assert not databento.bought
    assert shopping.value("SELECT count(*) FROM data_ingest_runs") == 0
