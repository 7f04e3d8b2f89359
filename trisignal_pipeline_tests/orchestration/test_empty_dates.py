"""Dates that end up without bars: closed markets, empty files, and no contract to stand for one."""

from __future__ import annotations

from trisignal_pipeline_tests.pipeline import ASSETS, CLEAN, LEGACY, RAW, Pipeline
from trisignal_pipeline_tests.tiny_market import (
    BARS,
    MONDAY,
    SATURDAY,
    TUESDAY,
    bars,
    write_day,
)


def test_a_closed_day_that_no_file_covers_passes_every_check(pipeline: Pipeline) -> None:
    write_day(pipeline.raw, MONDAY)
    done = pipeline.backfill(SATURDAY, SATURDAY)

    assert done.succeeded
    assert done.problems == ()
    for asset in ASSETS:
        [evaluation] = pipeline.evaluations(asset).values()
        assert evaluation.passed, asset
        assert evaluation.description == "the market was closed all day"


def test_an_empty_file_of_a_trading_day_is_a_warning(pipeline: Pipeline) -> None:
    write_day(pipeline.raw, MONDAY, delivered=bars(MONDAY)[:0])
    pipeline.backfill(MONDAY, MONDAY)

    assert [e.passed for e in pipeline.evaluations(RAW).values()] == [True]
    for asset in (LEGACY, CLEAN):
        [evaluation] = pipeline.evaluations(asset).values()
        assert not evaluation.passed
        assert evaluation.severity.value == "WARN"
        assert evaluation.description == "no bars, though the market was open for 1380 minutes"


def test_stored_bars_stay_where_no_contract_stands_for_the_market(pipeline: Pipeline) -> None:
    write_day(pipeline.raw, MONDAY)
    pipeline.backfill(MONDAY, MONDAY)
    pipeline.set(rank=5)
    done = pipeline.backfill(MONDAY, MONDAY)

    assert done.counts == {
        CLEAN: {
            "read": BARS,
            "inserted": 0,
            "updated": 0,
            "unchanged": BARS,
            "rejected": 0,
            "removed": 0,
        }
    }
    [evaluation] = pipeline.evaluations(LEGACY).values()
    assert not evaluation.passed
    assert "fewer than 6 traded (roll rule v, rank 5)" in str(evaluation.description)


def test_files_of_an_earlier_date_move_the_lead_contract_of_the_next(pipeline: Pipeline) -> None:
    write_day(pipeline.raw / "u4", TUESDAY, month="U4")
    busy = bars(TUESDAY, seed=2)
    busy["volume"] = 10_000
    write_day(pipeline.raw / "z4", TUESDAY, month="Z4", delivered=busy)
    pipeline.backfill(TUESDAY, TUESDAY)
    contract = "SELECT contract FROM bar_dates WHERE layer = 'legacy' AND date = %s"
    assert pipeline.value(contract, TUESDAY) == "NQZ4"

    write_day(pipeline.raw / "u4", MONDAY, month="U4")
    done = pipeline.backfill(MONDAY, MONDAY)
    assert [day for part in done.rolled for day in part] == [TUESDAY]
    assert pipeline.value(contract, TUESDAY) == "NQU4"
    assert pipeline.value("SELECT count(*) FROM signal_dates_in_doubt") == 0
    assert pipeline.backfill(MONDAY, MONDAY).rolled == ()


def test_every_refused_file_is_named_whatever_dates_are_asked_for(pipeline: Pipeline) -> None:
    good = write_day(pipeline.raw, MONDAY)
    for name in ("first.dbn.zst", "second.dbn"):
        (pipeline.raw / name).write_bytes(good.read_bytes()[:40])
    done = pipeline.backfill(MONDAY, MONDAY)

    assert done.succeeded
    assert [name for name, _ in done.refused] == ["first.dbn.zst", "second.dbn"]
    assert all(reason for _, reason in done.refused)


def test_a_start_closes_the_runs_of_dead_processes_though_it_writes_nothing(
    pipeline: Pipeline,
) -> None:
    write_day(pipeline.raw, MONDAY)
    pipeline.query(
        """
        INSERT INTO data_ingest_runs (asset, symbol, status, row_count, inserted_count,
            updated_count, batch_count)
        VALUES ('legacy_bars', 'GLBX.MDP3:NQ', 'running', 7, 7, 0, 1)
        """
    )
    pipeline.materialize_one(MONDAY, (RAW,))
    [(status, error, rows)] = pipeline.query(
        "SELECT status, error, row_count FROM data_ingest_runs"
    )
    assert (status, rows) == ("failed", 7)
    assert error.startswith("stale")
