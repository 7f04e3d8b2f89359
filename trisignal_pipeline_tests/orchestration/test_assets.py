"""The five assets in real runs: what they store, and what Dagster knows of each partition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import dagster as dg
import pytest

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.partitions import DAILY_BY_SYMBOL, partition_key
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.pipeline import (
    ASSETS,
    BIAS,
    CLEAN,
    LEGACY,
    RAW,
    TRIANGLES,
    Pipeline,
    open_pipeline,
)
from trisignal_pipeline_tests.tiny_market import (
    BARS,
    ES,
    MONDAY,
    NQ,
    SATURDAY,
    TUESDAY,
    WEDNESDAY,
    bars,
    file_of,
    write_days,
)

DATES = DateRange(MONDAY, WEDNESDAY)

Metadata = Mapping[str, Any]


def _metadata(pipeline: Pipeline, asset: str) -> dict[str, Metadata]:
    return {
        key: {
            name: entry.value
            for name, entry in materialization.metadata.items()
            if not name.startswith("dagster/")
        }
        for key, materialization in pipeline.materializations(asset).items()
    }


def _without_times(metadata: Metadata) -> Metadata:
    return {name: value for name, value in metadata.items() if name != "seconds"}


def _without_picture(metadata: Metadata) -> Metadata:
    return {name: value for name, value in metadata.items() if name != "session"}


@pytest.fixture(scope="module")
def after_a_range_run(
    server: EmbeddedServer,
    migrated_template: str,
    dagster_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pipeline]:
    """Three days of NQ in one run. Tests only read."""
    folder = tmp_path_factory.mktemp("range")
    with open_pipeline(server, migrated_template, dagster_template, folder) as pipeline:
        write_days(pipeline.raw, DATES)
        pipeline.materialize(MONDAY, WEDNESDAY)
        yield pipeline


@pytest.fixture(scope="module")
def metadata_of_a_range_run(after_a_range_run: Pipeline) -> dict[str, dict[str, Metadata]]:
    """What Dagster has of it: read before another pipeline's databases take the environment."""
    return {asset: _metadata(after_a_range_run, asset) for asset in ASSETS}


@pytest.mark.parametrize("asset", ASSETS)
def test_dagster_shows_exactly_the_partitions_of_a_range_run_as_materialised(
    after_a_range_run: Pipeline, asset: str
) -> None:
    with after_a_range_run.instance() as instance:
        done = instance.get_materialized_partitions(dg.AssetKey(asset))
        status = instance.get_status_by_partition(
            dg.AssetKey(asset),
            [partition_key(symbol, day) for symbol in (NQ, ES) for day in DATES],
            DAILY_BY_SYMBOL,
        )
    assert done == {partition_key(NQ, day) for day in DATES}
    assert status is not None
    assert {key for key, state in status.items() if state is not None} == done


def test_each_date_of_a_range_run_names_its_own_files(after_a_range_run: Pipeline) -> None:
    found = _metadata(after_a_range_run, RAW)
    assert all(metadata["seconds"] > 0 for metadata in found.values())
    assert {key: _without_times(metadata) for key, metadata in found.items()} == {
        partition_key(NQ, day): {
            "files": 1,
            "file_names": f"nq-{day:%Y%m%d}.ohlcv-1m.dbn.zst",
            "market_closed": False,
            "volume_by_contract": {"NQU4": int(bars(day)["volume"].sum())},
            "first_minute": f"{day}T00:00:00Z",
            "last_minute": f"{day}T23:55:00Z",
        }
        for day in DATES
    }


@pytest.mark.parametrize("asset", [LEGACY, CLEAN])
def test_each_date_of_a_range_run_has_its_own_bars(after_a_range_run: Pipeline, asset: str) -> None:
    found = _metadata(after_a_range_run, asset)
    assert set(found) == {partition_key(NQ, day) for day in DATES}
    for day in DATES:
        metadata = dict(found[partition_key(NQ, day)])
        assert metadata.pop("seconds") >= 0
        assert metadata == {
            "bars": BARS,
            "rejected": 0,
            "contract": "NQU4",
            "first_minute": f"{day}T00:00:00Z",
            "last_minute": f"{day}T23:55:00Z",
            "expected_minutes": 1380,
            "coverage": 0.2,
            "source": "dbn_files" if asset == LEGACY else "legacy",
            **(
                {"file_names": file_of(after_a_range_run.raw, day).name}
                if asset == LEGACY
                else {
                    "found_minutes": BARS,
                    "no_trade_minutes": 1380 - BARS,
                    "rejected_minutes": 0,
                    "halt_minutes": 0,
                    "suspicious_minutes": 0,
                    "longest_gap": 4,
                    "bars_outside_of_sessions": 0,
                    "off_tick": 0,
                }
            ),
        }


@pytest.mark.parametrize("asset", [BIAS, TRIANGLES])
def test_each_date_of_a_range_run_has_its_own_signals(
    after_a_range_run: Pipeline, asset: str
) -> None:
    stored = {
        day: {"triangles": bull + bear, "bull": bull, "bear": bear}
        for day, bull, bear in after_a_range_run.query(
            """
            SELECT (ts AT TIME ZONE 'UTC')::date, count(*) FILTER (WHERE direction = 'BULL'),
                   count(*) FILTER (WHERE direction = 'BEAR')
            FROM triangle_events_v1 GROUP BY 1
            """
        )
    }
    assert set(stored) == set(DATES)
    assert len({counts["bull"] for counts in stored.values()}) > 1, "dates must not be alike"
    counts = stored if asset == TRIANGLES else {}
    found = _metadata(after_a_range_run, asset)
    assert all(metadata["seconds"] > 0 for metadata in found.values())
    assert {key: _without_times(metadata) for key, metadata in found.items()} == {
        partition_key(NQ, day): {
            "bars": BARS,
            "expected_minutes": 1380,
            "coverage": 0.2,
            "source_table": "market_bars_ohlcv_1m_clean",
            "bars_locked_out": 0,
            "calendar_verified": True,
            **counts.get(day, {}),
        }
        for day in DATES
    }


def test_a_single_partition_says_the_same_of_itself_as_in_a_range(
    after_a_range_run: Pipeline,
    metadata_of_a_range_run: dict[str, dict[str, Metadata]],
    pipeline: Pipeline,
) -> None:
    write_days(pipeline.raw, DATES)
    for day in DATES:
        assert pipeline.materialize_one(day).success

    assert pipeline.results() == after_a_range_run.results()
    for asset in ASSETS:
        one_by_one, as_range = _metadata(pipeline, asset), metadata_of_a_range_run[asset]
        pictures = {key for key, value in one_by_one.items() if "session" in value}
        assert pictures == (set(one_by_one) if asset == TRIANGLES else set())
        assert {
            key: _without_times(_without_picture(value)) for key, value in one_by_one.items()
        } == {key: _without_times(value) for key, value in as_range.items()}


def test_asset_by_asset_gives_the_same_as_all_at_once(
    after_a_range_run: Pipeline, pipeline: Pipeline
) -> None:
    write_days(pipeline.raw, DATES)
    for asset in ASSETS:
        pipeline.materialize(MONDAY, WEDNESDAY, [asset])

    assert pipeline.results() == after_a_range_run.results()


def test_a_bar_is_stamped_by_its_close_then_by_its_open(after_a_range_run: Pipeline) -> None:
    [(legacy,)] = after_a_range_run.query("SELECT min(ts)::text FROM market_bars_ohlcv_1m")
    assert legacy == f"{MONDAY} 00:01:00+00"
    for table in ("market_bars_ohlcv_1m_clean", "bias_series_1m_v1"):
        assert after_a_range_run.results()[table].rows == 3 * BARS
    [(clean,)] = after_a_range_run.query("SELECT min(ts)::text FROM market_bars_ohlcv_1m_clean")
    [(bias,)] = after_a_range_run.query("SELECT min(ts)::text FROM bias_series_1m_v1")
    assert clean == bias == f"{MONDAY} 00:00:00+00"


def test_every_row_of_a_signal_says_where_it_comes_from(after_a_range_run: Pipeline) -> None:
    origins = after_a_range_run.query(
        """
        SELECT source_table, logic_version FROM bias_series_1m_v1
        UNION SELECT source_table, logic_version FROM triangle_events_v1
        """
    )
    assert origins == [("market_bars_ohlcv_1m_clean", "1")]


def test_materialising_again_writes_nothing_again(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DATES)
    pipeline.materialize(MONDAY, WEDNESDAY)
    before = pipeline.rows_as_written()
    assert all(stored.rows for stored in before.values())

    pipeline.materialize(MONDAY, WEDNESDAY)
    assert pipeline.materialize_one(TUESDAY).success

    assert pipeline.rows_as_written() == before
    latest = pipeline.query(
        """
        SELECT DISTINCT asset, row_count = unchanged_count, inserted_count, updated_count,
               removed_count, rejected_count
        FROM data_ingest_runs WHERE id > 2
        """
    )
    assert sorted(latest) == [(CLEAN, True, 0, 0, 0, 0), (LEGACY, True, 0, 0, 0, 0)]


@pytest.mark.parametrize(("asked_for", "other"), [(TRIANGLES, BIAS), (BIAS, TRIANGLES)])
def test_one_half_of_the_signals_can_be_asked_for_alone(
    pipeline: Pipeline, after_a_range_run: Pipeline, asked_for: str, other: str
) -> None:
    write_days(pipeline.raw, DATES)
    pipeline.materialize(MONDAY, WEDNESDAY, [RAW, LEGACY, CLEAN])

    pipeline.materialize(MONDAY, WEDNESDAY, [asked_for])

    assert set(pipeline.materializations(asked_for)) == {partition_key(NQ, day) for day in DATES}
    assert pipeline.materializations(other) == {}
    assert pipeline.evaluations(other) == {}
    # Both tables are written all the same: one without the other could disagree with it.
    assert pipeline.results() == after_a_range_run.results()


def test_two_symbols_in_one_run_are_both_done(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DATES, ("NQ", "ES"))
    with pipeline.instance() as instance:
        assert instance.get_dynamic_partitions("symbol")[:2] == [ES, NQ]
        run = pipeline.launch(
            instance,
            tags={
                "dagster/asset_partition_range_start": partition_key(ES, MONDAY),
                "dagster/asset_partition_range_end": partition_key(NQ, WEDNESDAY),
            },
        )
    assert run.success
    wanted = {partition_key(symbol, day) for symbol in (NQ, ES) for day in DATES}
    for asset in ASSETS:
        metadata = _metadata(pipeline, asset)
        assert set(metadata) == wanted
    contracts = {key: entry["contract"] for key, entry in _metadata(pipeline, LEGACY).items()}
    assert {key for key, contract in contracts.items() if contract == "ESU4"} == {
        partition_key(ES, day) for day in DATES
    }
    together = pipeline.results()
    pipeline.materialize(MONDAY, WEDNESDAY, symbol=ES)
    pipeline.materialize(MONDAY, WEDNESDAY, symbol=NQ)
    assert pipeline.results() == together


def test_a_closed_day_is_a_success_with_no_rows(pipeline: Pipeline) -> None:
    run = pipeline.materialize(SATURDAY, SATURDAY)

    assert run.success
    key = partition_key(NQ, SATURDAY)
    of_files = _without_times(_metadata(pipeline, RAW)[key])
    assert of_files == {"files": 0, "file_names": "", "market_closed": True}
    assert _metadata(pipeline, LEGACY)[key]["passed_over"] == "the market was closed all day"
    for asset in (RAW, LEGACY, CLEAN):
        assert pipeline.evaluations(asset)[key].passed
    assert all(stored.rows == 0 for stored in pipeline.results().values())
    assert pipeline.query("SELECT * FROM data_ingest_runs") == []


def test_a_date_that_no_file_covers_is_a_warning_and_the_others_are_done(
    pipeline: Pipeline,
) -> None:
    write_days(pipeline.raw, [MONDAY, WEDNESDAY])

    assert pipeline.materialize(MONDAY, WEDNESDAY).success

    missing = partition_key(NQ, TUESDAY)
    for asset in ASSETS:
        verdicts = pipeline.evaluations(asset)
        assert [key for key, verdict in verdicts.items() if not verdict.passed] == [missing]
        assert verdicts[missing].severity == dg.AssetCheckSeverity.WARN
    assert "no file of the raw folder covers the date" in str(
        pipeline.evaluations(RAW)[missing].description
    )
    dates = pipeline.query("SELECT DISTINCT date FROM signal_dates ORDER BY date")
    assert dates == [(MONDAY,), (WEDNESDAY,)]


def test_a_run_writes_one_audit_row_for_each_symbol_and_range(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, [MONDAY, WEDNESDAY])
    run = pipeline.materialize(MONDAY, WEDNESDAY)

    rows = pipeline.query(
        """
        SELECT asset, symbol, start_date, end_date, status, row_count, inserted_count,
               min_ts::text, max_ts::text, dagster_run_id, file_name
        FROM data_ingest_runs ORDER BY id
        """
    )

    def row(asset: str, day: date, first: str, last: str, file: str | None) -> tuple[object, ...]:
        at = (f"{day} {first}+00", last)
        return (asset, NQ, day, day, "success", BARS, BARS, *at, run.run_id, file)

    name = "nq-{:%Y%m%d}.ohlcv-1m.dbn.zst".format
    assert rows == [
        row(LEGACY, MONDAY, "00:01:00", f"{MONDAY} 23:56:00+00", name(MONDAY)),
        row(LEGACY, WEDNESDAY, "00:01:00", f"{WEDNESDAY} 23:56:00+00", name(WEDNESDAY)),
        row(CLEAN, MONDAY, "00:00:00", f"{MONDAY} 23:55:00+00", None),
        row(CLEAN, WEDNESDAY, "00:00:00", f"{WEDNESDAY} 23:55:00+00", None),
    ]
