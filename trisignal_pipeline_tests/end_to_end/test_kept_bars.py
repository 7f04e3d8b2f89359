"""Nothing that was delivered disappears: what the partition says, and what the commands list."""

from __future__ import annotations

import itertools
from pathlib import Path

import dagster as dg
import pytest

from trisignal_pipeline.market.bars import UNDEFINED_PRICE
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline_tests.end_to_end.command_line import Answer, QuickCommandLine
from trisignal_pipeline_tests.pipeline import LEGACY, RAW, Pipeline
from trisignal_pipeline_tests.sources.dbn_encoder import RecordArray
from trisignal_pipeline_tests.tiny_market import (
    BARS,
    MONDAY,
    NQ,
    bars,
    changed,
    flat,
    write_day,
)

DAY = ("--start", str(MONDAY), "--end", str(MONDAY))
GOOD = bars(MONDAY)


def _write(raw: Path, name: str, delivered: RecordArray) -> None:
    path = write_day(raw, MONDAY, delivered=delivered)
    path.rename(path.with_name(f"{name}.dbn.zst"))


def _rows(answer: Answer) -> list[dict[str, str]]:
    assert (answer.exit_code, answer.err) == (0, "")
    return answer.rows


def test_the_partition_says_which_files_disagree_and_which_is_believed(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    _write(pipeline.raw, "a", GOOD)
    _write(pipeline.raw, "b", changed(GOOD, slice(3, 5), volume=GOOD["volume"][3:5] + 1))

    result = pipeline.materialize_one(MONDAY)

    assert result.success
    verdict = pipeline.evaluations(LEGACY)[partition_key(NQ, MONDAY)]
    assert not verdict.passed
    assert verdict.severity == dg.AssetCheckSeverity.WARN
    assert verdict.description == (
        f"2 of {BARS + 2} delivered bars were rejected; the others stand; "
        "where files disagree, b.dbn.zst is believed over a.dbn.zst for 2 minutes"
    )
    [materialized] = pipeline.materializations(LEGACY).values()
    assert materialized.metadata["disagreements"].value == 2
    overruled = _rows(trisignal.run("revisions", NQ, "--format", "csv"))
    assert [(row["ts"], row["kind"], row["volume"], row["file_name"]) for row in overruled] == [
        (f"{MONDAY}T00:{minute}:00Z", "superseded", str(volume), "a.dbn.zst")
        for minute, volume in zip((15, 20), GOOD["volume"][3:5].tolist(), strict=True)
    ]


def test_files_that_agree_are_one_delivery_and_no_warning(pipeline: Pipeline) -> None:
    _write(pipeline.raw, "a", GOOD)
    _write(pipeline.raw, "b", GOOD[: BARS // 2])

    pipeline.materialize_one(MONDAY)

    assert pipeline.evaluations(LEGACY)[partition_key(NQ, MONDAY)].passed
    [materialized] = pipeline.materializations(LEGACY).values()
    assert "disagreements" not in materialized.metadata
    assert pipeline.value("SELECT count(*) FROM market_bars_revisions") == 0


def test_files_that_arrive_in_any_order_leave_the_same(pipeline: Pipeline) -> None:
    deliveries = {
        "a": GOOD,
        "b": changed(GOOD, slice(3, 5), volume=1),
        "c": changed(changed(GOOD, 4, volume=2), 9, **flat(UNDEFINED_PRICE)),
    }
    left = []
    for arrival in itertools.permutations(deliveries):
        for name in arrival:
            _write(pipeline.raw, name, deliveries[name])
            pipeline.materialize_one(MONDAY, [RAW, LEGACY])
        left.append(
            (
                pipeline.results(),
                pipeline.query(
                    "SELECT ts, open, volume, file_name, file_sha256 FROM market_bars_revisions "
                    "WHERE kind = 'superseded' ORDER BY ts, file_name"
                ),
                pipeline.query(
                    "SELECT ts, open, rules, file_name, file_sha256 FROM quarantined_bars "
                    "WHERE released_at IS NULL ORDER BY ts"
                ),
            )
        )
        for name in arrival:
            (pipeline.raw / f"{name}.dbn.zst").unlink()
        pipeline.query(
            "TRUNCATE market_bars_ohlcv_1m, market_bars_ohlcv_1m_clean, bar_dates, signal_dates, "
            "bias_series_1m_v1, triangle_events_v1, signal_checkpoints, quarantined_bars"
        )
        pipeline.query("TRUNCATE market_bars_revisions")

    assert all(one == left[0] for one in left)
    assert len(left[0][1]) == 4
    assert len(left[0][2]) == 1


def test_rejected_bars_are_listed_as_delivered_until_they_are_released(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    bad = changed(changed(GOOD, 10, **flat(UNDEFINED_PRICE)), 20, high=GOOD["low"][20] - 1)
    _write(pipeline.raw, "day", bad)
    pipeline.materialize_one(MONDAY)

    listed = _rows(trisignal.run("quarantine", NQ, *DAY, "--format", "csv"))
    one_rule = _rows(
        trisignal.run("quarantine", NQ, "--rule", "UNDEFINED_PRICE", "--format", "csv")
    )
    other_days = _rows(trisignal.run("quarantine", NQ, "--end", "2024-06-23", "--format", "csv"))
    _write(pipeline.raw, "day", GOOD)
    pipeline.materialize_one(MONDAY)
    repaired = _rows(trisignal.run("quarantine", NQ, "--format", "csv"))
    released = _rows(trisignal.run("quarantine", NQ, "--released", "--format", "csv"))

    assert [(row["ts"], row["rules"], row["open"], row["file_name"]) for row in listed] == [
        (f"{MONDAY}T00:50:00Z", "UNDEFINED_PRICE", "", "day.dbn.zst"),
        (
            f"{MONDAY}T01:40:00Z",
            "OHLC_INTEGRITY",
            f"{GOOD['open'][20] / 1e9:.9f}".rstrip("0").rstrip("."),
            "day.dbn.zst",
        ),
    ]
    assert one_rule == listed[:1]
    assert other_days == repaired == []
    assert [row["ts"] for row in released] == [row["ts"] for row in listed]
    assert all(row["released_at"] for row in released)


@pytest.mark.parametrize("layer", ["legacy", "clean"])
@pytest.mark.parametrize("timeframe", ["1m", "1h"])
def test_bars_are_read_as_they_were_before_a_correction(
    pipeline: Pipeline, trisignal: QuickCommandLine, layer: str, timeframe: str
) -> None:
    pipeline.set(higher_timeframe_anchor="utc")
    asked = ("bars", NQ, "--tf", timeframe, *DAY, "--layer", layer, "--format", "csv")
    start = pipeline.value("SELECT clock_timestamp()")
    _write(pipeline.raw, "day", GOOD)
    pipeline.materialize_one(MONDAY)
    before = _rows(trisignal.run(*asked))
    moment = pipeline.value("SELECT clock_timestamp()")
    _write(pipeline.raw, "day", changed(GOOD, 7, volume=GOOD["volume"][7] + 1)[1:])
    pipeline.materialize_one(MONDAY)
    after = _rows(trisignal.run(*asked))

    assert after != before
    assert _rows(trisignal.run(*asked, "--as-of", moment.isoformat())) == before
    naive = moment.replace(tzinfo=None).isoformat()
    assert _rows(trisignal.run(*asked, "--as-of", naive)) == before
    assert _rows(trisignal.run(*asked, "--as-of", "2999-01-01T00:00:00Z")) == after
    assert _rows(trisignal.run(*asked, "--as-of", start.isoformat())) == []
    changes = _rows(trisignal.run("revisions", NQ, "--layer", layer, "--format", "csv"))
    assert [(row["ts"], row["kind"]) for row in changes] == [
        (f"{MONDAY}T00:00:00Z", "removed"),
        (f"{MONDAY}T00:35:00Z", "updated"),
    ]
    # The times it prints lead to the versions it lists.
    just_before = _rows(trisignal.run(*asked, "--as-of", changes[1]["valid_from"]))
    assert len(just_before) == len(before)


@pytest.mark.parametrize("command", ["quarantine", "revisions"])
def test_an_end_before_the_start_is_refused(trisignal: QuickCommandLine, command: str) -> None:
    answer = trisignal.run(command, NQ, "--start", "2024-06-25", "--end", "2024-06-24")

    assert answer.exit_code == 1
    assert "ends on 2024-06-24, before it starts on 2024-06-25" in answer.err


def test_a_time_that_is_none_is_refused(trisignal: QuickCommandLine) -> None:
    answer = trisignal.run("bars", NQ, "--tf", "1m", *DAY, "--as-of", "yesterday")

    assert answer.exit_code == 2
    assert "is not a time; write it as 2024-11-01T14:30:00Z" in answer.err
