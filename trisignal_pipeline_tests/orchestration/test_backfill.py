"""A backfill: the same results however it is cut, and the repair of what it puts in doubt."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from trisignal_pipeline.errors import RangeError, SymbolError, UnknownSymbolError
from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration import step_retries
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.storage import catalogue
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.pipeline import (
    ASSETS,
    BIAS,
    CLEAN,
    LEGACY,
    RAW,
    TRIANGLES,
    Pipeline,
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
    changed,
    file_of,
    flat,
    write_day,
    write_days,
)

DATES = DateRange(MONDAY, WEDNESDAY)


def _in_doubt(pipeline: Pipeline, symbol: str = NQ) -> list[date]:
    found = pipeline.query(
        "SELECT date FROM signal_dates_in_doubt WHERE symbol = %s ORDER BY date", symbol
    )
    return [day for (day,) in found]


def _read_from(pipeline: Pipeline) -> dict[date, str]:
    return dict(
        pipeline.query(
            """
            SELECT DISTINCT (ts AT TIME ZONE 'UTC')::date, source_table FROM bias_series_1m_v1
            """
        )
    )


def test_it_says_what_it_did(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DATES)
    done = pipeline.backfill(MONDAY, WEDNESDAY)

    assert done.succeeded
    assert (done.symbol, done.dates) == (NQ, DATES)
    counts = {"read": 3 * BARS, "inserted": 3 * BARS}
    nothing_else = dict.fromkeys(("updated", "unchanged", "rejected", "removed"), 0)
    assert done.counts == {LEGACY: counts | nothing_else, CLEAN: counts | nothing_else}
    assert done.triangles == pipeline.value("SELECT count(*) FROM triangle_events_v1") > 0
    assert (done.failures, done.problems) == ((), ())
    assert [
        run for (run,) in pipeline.query("SELECT DISTINCT dagster_run_id FROM data_ingest_runs")
    ]
    for asset in ASSETS:
        assert set(pipeline.materializations(asset)) == {partition_key(NQ, day) for day in DATES}


def test_any_order_of_dates_gives_what_one_pass_gives(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DATES)
    pipeline.backfill(MONDAY, WEDNESDAY)
    in_one_pass = pipeline.results()

    for order in ((WEDNESDAY, TUESDAY, MONDAY), (WEDNESDAY, MONDAY, TUESDAY)):
        pipeline.query("TRUNCATE market_bars_ohlcv_1m, market_bars_ohlcv_1m_clean")
        pipeline.query("TRUNCATE bias_series_1m_v1, triangle_events_v1, bar_dates, signal_dates")
        for day in order:
            assert pipeline.backfill(day, day).succeeded
        assert pipeline.results() == in_one_pass, order


def test_overlapping_backfills_give_what_one_pass_gives(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DATES)
    pipeline.backfill(TUESDAY, WEDNESDAY)
    pipeline.backfill(MONDAY, TUESDAY)
    overlapping = pipeline.results()
    before = pipeline.rows_as_written()

    pipeline.backfill(MONDAY, WEDNESDAY)

    assert pipeline.results() == overlapping
    assert pipeline.rows_as_written() == before


def test_an_earlier_date_from_the_ui_puts_later_ones_in_doubt_until_a_backfill(
    pipeline: Pipeline,
) -> None:
    write_days(pipeline.raw, DATES)
    pipeline.materialize(TUESDAY, WEDNESDAY)
    assert _in_doubt(pipeline) == []
    shallow = pipeline.results()["bias_series_1m_v1"]

    run = pipeline.materialize(MONDAY, MONDAY)

    assert _in_doubt(pipeline) == [TUESDAY, WEDNESDAY]
    assert any("in doubt" in line and NQ in line for line in pipeline.warnings(run.run_id))

    done = pipeline.backfill(MONDAY, MONDAY)

    assert done.recomputed == (DateRange(TUESDAY, WEDNESDAY),)
    assert _in_doubt(pipeline) == []
    deep = pipeline.results()["bias_series_1m_v1"]
    assert deep.rows == shallow.rows + BARS


def test_another_symbol_s_dates_are_not_in_doubt(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DATES, ("NQ", "ES"))
    pipeline.materialize(TUESDAY, WEDNESDAY, symbol=ES)
    pipeline.materialize(TUESDAY, WEDNESDAY)
    pipeline.materialize(MONDAY, MONDAY)
    assert _in_doubt(pipeline, ES) == []
    assert _in_doubt(pipeline) == [TUESDAY, WEDNESDAY]


def test_a_corrected_file_is_read_again_and_later_dates_are_recomputed(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DATES)
    pipeline.backfill(MONDAY, WEDNESDAY)
    original = pipeline.results()
    of_monday = bars(MONDAY)
    spike = changed(of_monday, 100, high=of_monday["high"][100] + 400 * PRICE_UNIT)
    write_day(pipeline.raw, MONDAY, delivered=spike)

    done = pipeline.backfill(MONDAY, MONDAY)

    assert done.counts[LEGACY] == {
        "read": BARS,
        "inserted": 0,
        "updated": 1,
        "unchanged": BARS - 1,
        "rejected": 0,
        "removed": 0,
    }
    assert done.recomputed
    assert done.recomputed[0].start == TUESDAY
    assert _in_doubt(pipeline) == []
    assert pipeline.results()["bias_series_1m_v1"] != original["bias_series_1m_v1"]

    write_day(pipeline.raw, MONDAY)
    pipeline.backfill(MONDAY, MONDAY)
    assert pipeline.results() == original


def test_bars_no_longer_delivered_are_removed_and_counted_apart(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DATES)
    pipeline.backfill(MONDAY, WEDNESDAY)
    write_day(pipeline.raw, MONDAY, delivered=bars(MONDAY)[:-7])

    done = pipeline.backfill(MONDAY, MONDAY)

    assert done.counts[LEGACY]["removed"] == done.counts[CLEAN]["removed"] == 7
    assert done.counts[LEGACY]["read"] == done.counts[LEGACY]["unchanged"] == BARS - 7
    for table in ("market_bars_ohlcv_1m", "market_bars_ohlcv_1m_clean", "bias_series_1m_v1"):
        assert pipeline.results()[table].rows == 3 * BARS - 7


def test_legacy_bars_stand_in_until_clean_ones_are_there(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, [MONDAY, TUESDAY])
    # A jump that the clean rules let pass, and the rules for legacy bars don't.
    jump = changed(bars(TUESDAY), 100, **flat(15_000 * PRICE_UNIT))
    write_day(pipeline.raw, TUESDAY, delivered=jump)
    pipeline.materialize(MONDAY, TUESDAY, [RAW, LEGACY])
    pipeline.materialize(MONDAY, MONDAY, [CLEAN])

    pipeline.materialize(MONDAY, TUESDAY, [BIAS, TRIANGLES])

    assert _read_from(pipeline) == {
        MONDAY: "market_bars_ohlcv_1m_clean",
        TUESDAY: "market_bars_ohlcv_1m",
    }
    tuesday = partition_key(NQ, TUESDAY)
    metadata = pipeline.materializations(BIAS)[tuesday].metadata
    assert metadata["source_table"].value == "market_bars_ohlcv_1m"
    assert metadata["bars_locked_out"].value == 1
    assert metadata["bars"].value == BARS - 1
    # The legacy table stamps the close, biases the open.
    at_the_jump = f"{TUESDAY} 08:20Z"
    assert (bars(TUESDAY)["ts_event"][100] // 10**9) == pipeline.value(
        "SELECT extract(epoch FROM %s::timestamptz)::bigint", at_the_jump
    )
    on_minute = "SELECT count(*) FROM bias_series_1m_v1 WHERE ts = %s"
    assert pipeline.value(on_minute, at_the_jump) == 0

    pipeline.materialize(TUESDAY, TUESDAY, [CLEAN])
    assert _in_doubt(pipeline) == [TUESDAY]
    pipeline.materialize(TUESDAY, TUESDAY, [BIAS, TRIANGLES])

    assert set(_read_from(pipeline).values()) == {"market_bars_ohlcv_1m_clean"}
    assert pipeline.value(on_minute, at_the_jump) == 1
    assert _in_doubt(pipeline) == []


def test_the_utc_anchor_is_another_signal_and_puts_stored_dates_in_doubt(
    pipeline: Pipeline,
) -> None:
    write_days(pipeline.raw, DATES)
    pipeline.backfill(MONDAY, WEDNESDAY)
    by_session = pipeline.results()

    pipeline.set(higher_timeframe_anchor="utc")
    assert _in_doubt(pipeline) == list(DATES)
    done = pipeline.backfill(WEDNESDAY, WEDNESDAY)

    assert done.recomputed == (DateRange(MONDAY, TUESDAY),)
    assert _in_doubt(pipeline) == []
    by_clock = pipeline.results()
    assert by_clock["bias_series_1m_v1"] != by_session["bias_series_1m_v1"]
    assert by_clock["bias_series_1m_v1"].rows == by_session["bias_series_1m_v1"].rows
    assert by_clock["market_bars_ohlcv_1m_clean"] == by_session["market_bars_ohlcv_1m_clean"]

    pipeline.set(higher_timeframe_anchor="session")
    pipeline.backfill(MONDAY, WEDNESDAY)
    assert pipeline.results() == by_session


def test_a_range_over_new_year_is_a_run_for_each_year(pipeline: Pipeline) -> None:
    last, first = date(2024, 12, 31), date(2025, 1, 2)
    write_days(pipeline.raw, [last, first])

    done = pipeline.backfill(last, first)

    assert len(done.run_ids) == 2
    assert done.succeeded
    years = pipeline.query("SELECT DISTINCT date_part('year', ts) FROM bias_series_1m_v1")
    assert sorted(int(year) for (year,) in years) == [2024, 2025]
    assert _in_doubt(pipeline) == []


def test_neighbouring_dates_without_files_are_one_problem(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, [WEDNESDAY])

    done = pipeline.backfill(MONDAY, WEDNESDAY)

    assert done.succeeded, "a date that no file covers is a warning"
    [problem] = done.problems
    assert problem.dates == DateRange(MONDAY, TUESDAY)
    assert not problem.refused


def test_a_closed_day_is_no_problem(pipeline: Pipeline) -> None:
    done = pipeline.backfill(SATURDAY, SATURDAY)
    assert done.succeeded
    assert (done.problems, done.triangles, done.counts) == ((), 0, {})


def _once_catalogued(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something after the next look at the raw folder, before any bar is read."""

    def refresh(database: Database, raw_dir: Path) -> catalogue.Refreshed:
        monkeypatch.setattr(catalogue, "refresh", original)
        found = original(database, raw_dir)
        act()
        return found

    original = catalogue.refresh
    monkeypatch.setattr(catalogue, "refresh", refresh)


def test_a_file_that_vanishes_after_it_was_catalogued_fails_the_run_by_name(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_days(pipeline.raw, [MONDAY, TUESDAY])
    gone = file_of(pipeline.raw, TUESDAY)

    _once_catalogued(monkeypatch, gone.unlink)

    done = pipeline.backfill(MONDAY, TUESDAY)

    assert not done.succeeded
    [failure] = done.failures
    assert (failure.step, failure.error_class) == (LEGACY, "MissingFileError")
    assert gone.name in failure.message
    assert all(stored.rows == 0 for stored in pipeline.results().values())
    assert not pipeline.query("SELECT id FROM data_ingest_runs WHERE status <> 'failed'")

    assert pipeline.backfill(MONDAY, MONDAY).succeeded
    write_day(pipeline.raw, TUESDAY)
    assert pipeline.backfill(TUESDAY, TUESDAY).succeeded


def test_a_file_that_is_replaced_while_it_is_used_fails_the_run_by_name(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_days(pipeline.raw, [MONDAY])

    def replace() -> None:
        write_day(pipeline.raw, MONDAY, delivered=bars(MONDAY, seed=2))

    _once_catalogued(monkeypatch, replace)
    with monkeypatch.context() as settings:
        settings.setenv("TRISIGNAL_RETRIES", "0")
        done = pipeline.backfill(MONDAY, MONDAY)

    [failure] = done.failures
    assert failure.error_class == "FileChangedError"
    assert file_of(pipeline.raw, MONDAY).name in failure.message
    assert pipeline.backfill(MONDAY, MONDAY).succeeded


def test_a_file_that_is_replaced_while_it_is_used_is_read_anew_by_the_next_attempt(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_days(pipeline.raw, [MONDAY])
    monkeypatch.setattr(step_retries, "FIRST_WAIT_SECONDS", 0.01)
    newer = changed(bars(MONDAY), 7, volume=12_345)
    _once_catalogued(monkeypatch, lambda: write_day(pipeline.raw, MONDAY, delivered=newer))

    assert pipeline.backfill(MONDAY, MONDAY).succeeded

    assert pipeline.value("SELECT max(volume) FROM market_bars_ohlcv_1m") == 12_345


@pytest.mark.parametrize(
    ("symbol", "error"),
    [("GLBX.MDP3:MGC", UnknownSymbolError), ("NQ", SymbolError), ("NQ.v.0", SymbolError)],
)
def test_a_symbol_that_is_not_in_the_registry_is_refused_before_anything_runs(
    pipeline: Pipeline, symbol: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match=symbol.replace(".", r"\.")):
        pipeline.backfill(MONDAY, MONDAY, symbol=symbol)


def test_dates_that_are_not_over_are_refused(pipeline: Pipeline) -> None:
    tomorrow = date.today() + timedelta(days=2)  # noqa: DTZ011 two days ahead of any timezone's
    with pytest.raises(RangeError, match="newest UTC date that is over"):
        pipeline.backfill(tomorrow, tomorrow)
