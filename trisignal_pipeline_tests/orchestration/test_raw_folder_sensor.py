"""New and changed files are read by a run of their own, and what they cover is materialised."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.definitions import defs
from trisignal_pipeline.orchestration.raw_folder_sensor import (
    bars_follow_the_raw_folder,
    follows_raw_dir,
)
from trisignal_pipeline.storage import catalogue
from trisignal_pipeline_tests.orchestration.ticks import Tick, start, tick
from trisignal_pipeline_tests.pipeline import Pipeline
from trisignal_pipeline_tests.tiny_market import (
    ES,
    MONDAY,
    NQ,
    SATURDAY,
    TICK,
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
FOLLOW, READ = "follow_raw_folder", "read_new_files"
NOTHING_LEFT = "everything that verified files cover is made"


def _long_ago(paths: Iterable[Path]) -> None:
    """Files that nobody has written to for ten minutes."""
    then = time.time_ns() - 600 * 10**9
    for path in paths:
        os.utime(path, ns=(then, then))


def _look(instance: dg.DagsterInstance, cursor: str | None = None) -> Tick:
    return tick(bars_follow_the_raw_folder, instance, cursor)


def _about(symbol: str, first: date, last: date) -> tuple[str, str, str, str]:
    return (FOLLOW, symbol, str(first), str(last))


def _read(pipeline: Pipeline, instance: dg.DagsterInstance, cursor: str | None = None) -> Tick:
    """A look that finds unread files, the run that reads them, and the look after it."""
    found = _look(instance, cursor)
    assert [request.job_name for request in found.requests] == [READ], found.skipped
    assert start(instance, found.requests[0]).success
    return _look(instance, found.cursor)


def test_new_files_are_read_and_what_they_cover_is_made(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two files of one date are still one run.
    again = write_day(pipeline.raw / "again", TUESDAY)
    _long_ago([*write_days(pipeline.raw, DATES, ("NQ", "ES")), again])
    with pipeline.instance() as instance:
        with monkeypatch.context() as patch:
            # A look opens no file.
            patch.setattr(catalogue, "verify", _never)
            first = _look(instance)
            assert [request.job_name for request in first.requests] == [READ]
        assert start(instance, first.requests[0]).success

        found = _look(instance, first.cursor)

        assert found.about == [_about(symbol, MONDAY, WEDNESDAY) for symbol in (ES, NQ)]
        for request in found.requests:
            assert start(instance, request).success
        done = _look(instance, found.cursor)
        assert (done.requests, done.skipped) == ((), NOTHING_LEFT)
    assert pipeline.query(
        "SELECT DISTINCT symbol, date FROM signal_dates WHERE bar_count > 0 ORDER BY 1, 2"
    ) == [(symbol, day) for symbol in (ES, NQ) for day in DATES]


def _never(*_arguments: object) -> None:
    raise AssertionError


def test_what_was_made_by_other_means_causes_no_run(pipeline: Pipeline) -> None:
    _long_ago(write_days(pipeline.raw, [MONDAY, TUESDAY]))
    pipeline.materialize(MONDAY, TUESDAY)
    # Catalogued and made on another day than the others.
    _long_ago(write_days(pipeline.raw, [WEDNESDAY]))
    pipeline.materialize(WEDNESDAY, WEDNESDAY)
    with pipeline.instance() as instance:
        found = _look(instance)
    assert (found.requests, found.skipped) == ((), NOTHING_LEFT)


def test_a_changed_file_has_its_own_dates_made_again(pipeline: Pipeline) -> None:
    _long_ago(write_days(pipeline.raw, DATES))
    pipeline.materialize(MONDAY, WEDNESDAY)
    with pipeline.instance() as instance:
        cursor = _look(instance).cursor
        other = changed(bars(TUESDAY), 7, **flat(80_000 * TICK))
        _long_ago([write_day(pipeline.raw, TUESDAY, delivered=other)])

        found = _read(pipeline, instance, cursor)

        assert found.about == [_about(NQ, TUESDAY, TUESDAY)]
        assert start(instance, found.requests[0]).success
        assert _look(instance, found.cursor).skipped == NOTHING_LEFT
    assert pipeline.value("SELECT count(*) FROM market_bars_revisions") > 0


def test_a_file_that_is_being_written_is_left_alone(pipeline: Pipeline) -> None:
    for path in write_days(pipeline.raw, [MONDAY]):
        os.utime(path)
    with pipeline.instance() as instance:
        found = _look(instance)
    assert found.requests == ()
    assert "one was written to less than 60 s ago" in found.skipped


def test_a_refused_file_causes_no_run_and_its_reason_is_told(pipeline: Pipeline) -> None:
    path = write_day(pipeline.raw, MONDAY)
    path.write_bytes(path.read_bytes()[:-20])
    _long_ago([path])
    with pipeline.instance() as instance:
        found = _read(pipeline, instance)
    assert found.requests == ()
    assert f"refused: {path.name}: " in found.skipped


def test_a_folder_that_is_not_there_is_told_and_nothing_forgotten(pipeline: Pipeline) -> None:
    _long_ago(write_days(pipeline.raw, [MONDAY]))
    with pipeline.instance() as instance:
        found = _read(pipeline, instance)
        pipeline.raw.rename(pipeline.raw.with_name("elsewhere"))
        lost = _look(instance, found.cursor)
        assert lost.requests == ()
        assert "can't be read" in lost.skipped
        assert lost.cursor == found.cursor


def test_dates_that_are_not_over_and_symbols_that_are_not_active_are_left_out(
    pipeline: Pipeline,
) -> None:
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=1), today]
    _long_ago(write_days(pipeline.raw, days, ("NQ", "ES")))
    pipeline.set(ES, is_active=False)
    with pipeline.instance() as instance:
        found = _read(pipeline, instance)
        assert found.about == [_about(NQ, days[0], days[0])]


def test_a_run_takes_a_year_at_most_and_a_symbol_has_one_at_a_time(pipeline: Pipeline) -> None:
    days = [date(2024, 12, 30), date(2024, 12, 31), date(2025, 1, 2)]
    _long_ago(write_days(pipeline.raw, days))
    with pipeline.instance() as instance:
        found = _read(pipeline, instance)
        assert found.about == [_about(NQ, *days[:2])]
        waiting = instance.add_run(
            dg.DagsterRun(job_name=FOLLOW, tags=dict(found.requests[0].tags))
        )
        assert _look(instance, found.cursor).skipped == f"{NQ} has a run under way"
        instance.delete_run(waiting.run_id)

        assert start(instance, found.requests[0]).success
        after = _look(instance, found.cursor)
        assert after.about == [_about(NQ, days[2], days[2])]


def test_a_weekend_on_which_the_market_was_closed_makes_no_two_runs_of_one(
    pipeline: Pipeline,
) -> None:
    friday, sunday = SATURDAY - timedelta(days=1), SATURDAY + timedelta(days=1)
    _long_ago(write_days(pipeline.raw, [MONDAY, friday, sunday]))
    with pipeline.instance() as instance:
        found = _read(pipeline, instance)
        assert found.about == [_about(NQ, MONDAY, MONDAY)], "no file covers what lies between"
        assert start(instance, found.requests[0]).success
        found = _look(instance, found.cursor)
        assert found.about == [_about(NQ, friday, sunday)]
        assert start(instance, found.requests[0]).success
        assert _look(instance, found.cursor).skipped == NOTHING_LEFT


def test_a_date_that_its_run_passed_over_is_not_asked_for_again(pipeline: Pipeline) -> None:
    # The second contract by volume, where only one traded.
    pipeline.set(rank=1)
    _long_ago(write_days(pipeline.raw, [MONDAY]))
    with pipeline.instance() as instance:
        found = _read(pipeline, instance)
        assert found.about == [_about(NQ, MONDAY, MONDAY)]
        assert start(instance, found.requests[0]).success
        assert pipeline.value("SELECT count(*) FROM bar_dates") == 0

        assert _look(instance, found.cursor).skipped == NOTHING_LEFT


def test_what_can_t_be_read_is_not_read_every_minute(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    _long_ago(write_days(pipeline.raw, [MONDAY]))
    with pipeline.instance() as instance:
        first = _look(instance)
        with monkeypatch.context() as patch:
            # As if the file couldn't be opened: it stays as unread as it was.
            patch.setattr(catalogue, "verify", lambda *_: iter(()))
            assert start(instance, first.requests[0]).success

        again = _look(instance, first.cursor)

        assert again.requests == ()
        assert f"1 new or changed files ({file_of(pipeline.raw, MONDAY).name})" in again.skipped
        assert "couldn't be read less than 1:00:00 ago" in again.skipped


def test_it_is_off_unless_the_environment_says_otherwise() -> None:
    sensor = defs.resolve_sensor_def(bars_follow_the_raw_folder.name)
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED


@pytest.mark.parametrize(
    ("named", "follows"), [("", False), ("no", False), ("0", False), ("yes", True), ("True", True)]
)
def test_whether_it_follows_is_a_setting(named: str, follows: bool) -> None:
    assert follows_raw_dir({"TRISIGNAL_FOLLOW_RAW_DIR": named}) is follows


def test_a_setting_that_says_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="TRISIGNAL_FOLLOW_RAW_DIR"):
        follows_raw_dir({"TRISIGNAL_FOLLOW_RAW_DIR": "maybe"})
