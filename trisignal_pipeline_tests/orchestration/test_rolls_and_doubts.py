"""What checks tell that is no fault: rolls, and what later dates rest on."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.prices import points
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.storage.doubts import doubts
from trisignal_pipeline.storage.stale_dates import stale_clean_dates
from trisignal_pipeline_tests.pipeline import BIAS, CLEAN, LEGACY, RAW, TRIANGLES, Pipeline
from trisignal_pipeline_tests.tiny_market import (
    BARS,
    MONDAY,
    NQ,
    TUESDAY,
    WEDNESDAY,
    bars,
    changed,
    write_day,
    write_days,
)

DATES = DateRange(MONDAY, WEDNESDAY)


def _rolls(pipeline: Pipeline) -> dict[str, dg.AssetCheckEvaluation]:
    return pipeline.evaluations(LEGACY, "roll_sanity")


def test_a_roll_is_told_and_a_roll_back_is_a_warning(pipeline: Pipeline) -> None:
    for day, month in zip(DATES, ("U4", "Z4", "U4"), strict=True):
        write_day(pipeline.raw, day, month=month)

    pipeline.materialize(MONDAY, WEDNESDAY)

    found = _rolls(pipeline)
    monday, tuesday, wednesday = (found[partition_key(NQ, day)] for day in DATES)
    assert (monday.passed, monday.description) == (True, f"all {BARS} bars are of one contract")
    last, first = int(bars(MONDAY)["close"][-1]), int(bars(TUESDAY)["open"][0])
    assert tuesday.passed
    assert tuesday.description == (
        f"all {BARS} bars are of one contract; a roll from NQU4, whose last close on {MONDAY} was "
        f"{points(last)}, to NQZ4, whose first open is {points(first)}: a gap of "
        f"{points(first - last)} points"
    )
    assert tuesday.metadata["rolled_from"].value == "NQU4"
    assert tuesday.metadata["rolled_to"].value == "NQZ4"
    assert tuesday.metadata["last_close"].value == points(last)
    assert tuesday.metadata["first_open"].value == points(first)
    of_partition = pipeline.materializations(LEGACY)[partition_key(NQ, TUESDAY)].metadata
    assert of_partition["roll_gap_points"].value == (first - last) / 1e9
    assert (wednesday.passed, wednesday.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "a roll back from NQZ4" in str(wednesday.description)
    assert wednesday.metadata["failed_by_rule"].value == {"ROLL_BACK": 1}
    cases = wednesday.metadata["failure_cases"]
    assert isinstance(cases, dg.TableMetadataValue)
    assert [(case.data["rolled_from"], case.data["rolled_to"]) for case in cases.records] == [
        ("NQZ4", "NQU4")
    ]
    assert pipeline.value("SELECT count(*) FROM bias_series_1m_v1") == 3 * BARS

    pipeline.materialize_one(WEDNESDAY, [RAW, LEGACY])

    again = _rolls(pipeline)[partition_key(NQ, WEDNESDAY)]
    assert again.description == wednesday.description, "told from the date stored before it"


def _upstream(pipeline: Pipeline) -> dict[str, dg.AssetCheckEvaluation]:
    return pipeline.evaluations(BIAS, "nothing_in_doubt_upstream")


def test_clean_bars_of_an_older_legacy_version_are_a_doubt_of_all_later_dates(
    pipeline: Pipeline,
) -> None:
    last = WEDNESDAY + timedelta(days=1)
    write_days(pipeline.raw, DateRange(MONDAY, last))
    pipeline.materialize(MONDAY, last)
    assert all(found.passed for found in _upstream(pipeline).values())
    write_day(pipeline.raw, TUESDAY, delivered=changed(bars(TUESDAY), 10, volume=77))

    pipeline.materialize_one(TUESDAY, [RAW, LEGACY])
    with pipeline.database.connect("tests") as connection:
        assert stale_clean_dates(connection) == {NQ: [DateRange(TUESDAY, TUESDAY)]}
    pipeline.materialize(MONDAY, last, [BIAS, TRIANGLES])

    found = _upstream(pipeline)
    assert found[partition_key(NQ, MONDAY)].passed
    for day in DateRange(TUESDAY, last):
        verdict = found[partition_key(NQ, day)]
        assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert verdict.description == (
            f"1 date is in doubt up to this one, the first {TUESDAY}: its clean bars were made "
            f"from an older version of its legacy bars; mend it with: trisignal refresh {NQ}"
        )
        assert verdict.metadata["failed_by_rule"].value == {"OLDER_LEGACY_VERSION": 1}

    pipeline.materialize_one(TUESDAY, [CLEAN])
    with pipeline.database.connect("tests") as connection:
        assert stale_clean_dates(connection) == {}
        assert doubts(connection) == [], "a volume is nothing the signal reads"
    pipeline.materialize(MONDAY, last, [BIAS, TRIANGLES])
    assert all(verdict.passed for verdict in _upstream(pipeline).values())
