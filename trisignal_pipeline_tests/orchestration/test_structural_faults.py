"""A structural fault on one day of a range: found, kept from what follows, and no other day's."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline_tests.pipeline import (
    ASSETS,
    BIAS,
    CHECKS_OF,
    CLEAN,
    LEGACY,
    RAW,
    TRIANGLES,
    Pipeline,
)
from trisignal_pipeline_tests.tiny_market import BARS, MONDAY, NQ, TUESDAY, WEDNESDAY, write_days

DATES = DateRange(MONDAY, WEDNESDAY)

TABLES = {
    LEGACY: "market_bars_ohlcv_1m",
    CLEAN: "market_bars_ohlcv_1m_clean",
    BIAS: "bias_series_1m_v1",
    TRIANGLES: "triangle_events_v1",
}

FAULTS = {
    "roll_sanity": (LEGACY, "NEW.contract = 'NQZ4'", {"SEVERAL_CONTRACTS": 13}),
    "agrees_with_legacy": (CLEAN, "NEW.volume = NEW.volume + 1", {"OTHER_VOLUME": 13}),
    "bias_on_every_bar": (BIAS, "RETURN NULL", {"NO_BIAS_ROW": 13}),
    "recomputation_agrees": (BIAS, "NEW.bias_1d = 'Bearish'", {"OTHER_BIAS": 13}),
    "triangles_at_the_flips": (TRIANGLES, "RETURN NULL", None),
}
"""For each check the table whose rows a trigger spoils on Tuesday from 12:00 to 13:00, how, and
what the check must count."""


def _spoil_tuesday_noon(pipeline: Pipeline, asset: str, how: str) -> None:
    """A fault of the database's own: what it keeps is not what it was given."""
    stamp = "1 minute" if asset == LEGACY else "0 minutes"
    pipeline.query(
        f"CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ "
        f"BEGIN {how}; RETURN NEW; END $$"
    )
    pipeline.query(
        f"CREATE TRIGGER spoil BEFORE INSERT ON {TABLES[asset]} FOR EACH ROW WHEN ("
        f"NEW.ts BETWEEN '{TUESDAY} 12:00Z'::timestamptz + interval '{stamp}' "
        f"AND '{TUESDAY} 13:00Z'::timestamptz + interval '{stamp}') EXECUTE FUNCTION spoil()"
    )


def _verdicts(pipeline: Pipeline) -> dict[tuple[str, str, str], dg.AssetCheckEvaluation]:
    """By asset, check and partition, as the event log has it."""
    return {
        (asset, check, key): evaluation
        for asset, checks in CHECKS_OF.items()
        for check in checks
        for key, evaluation in pipeline.evaluations(asset, check).items()
    }


def _assert_kept_as_told(
    pipeline: Pipeline, told: dict[tuple[str, str, str], dg.AssetCheckEvaluation]
) -> None:
    """The table has the verdicts of the event log, but for dates that were passed over."""
    kept = pipeline.query(
        "SELECT asset, check_name, date, passed, severity, description, failed_count "
        "FROM data_quality_results"
    )
    for asset, check, day, passed, severity, description, failed in kept:
        if check == "follows_the_lead_contract":
            continue
        evaluation = told[asset, check, partition_key(NQ, day)]
        assert (evaluation.passed, evaluation.severity.value) == (passed, severity)
        assert evaluation.description == description
        assert evaluation.metadata["failed"].value == failed
    assert len(kept) >= len(told) - 3 * len(CHECKS_OF)


@pytest.mark.parametrize("check", FAULTS)
def test_a_fault_on_one_day_costs_the_other_days_nothing(pipeline: Pipeline, check: str) -> None:
    asset, how, counted = FAULTS[check]
    write_days(pipeline.raw, DATES)
    _spoil_tuesday_noon(pipeline, asset, how)

    run = pipeline.materialize(MONDAY, WEDNESDAY)

    assert run.success, "one bad date must not stop the others"
    told = _verdicts(pipeline)
    assert set(told) == {
        (name, of_asset, partition_key(NQ, day))
        for name in ASSETS
        for of_asset in CHECKS_OF[name]
        for day in DATES
    }
    found = told[asset, check, partition_key(NQ, TUESDAY)]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert f"{TUESDAY}T12:" in str(found.metadata["failure_cases"].value)
    if counted is not None:
        assert found.metadata["failed_by_rule"].value == counted
    for day in (MONDAY, WEDNESDAY):
        for (name, other, key), evaluation in told.items():
            if key == partition_key(NQ, day):
                assert evaluation.passed, (name, other, key, evaluation.description)
    _assert_kept_as_told(pipeline, told)
    for table in ("market_bars_ohlcv_1m_clean", "bias_series_1m_v1"):
        whole = pipeline.query(
            f"SELECT (ts AT TIME ZONE 'UTC')::date, count(*) FROM {table} GROUP BY 1 ORDER BY 1"
        )
        assert {(day, BARS) for day in (MONDAY, WEDNESDAY)} <= set(whole)


def test_a_date_of_two_contracts_reaches_nothing_downstream_until_it_is_whole(
    pipeline: Pipeline,
) -> None:
    write_days(pipeline.raw, DATES)
    _spoil_tuesday_noon(pipeline, LEGACY, "NEW.contract = 'NQZ4'")

    pipeline.materialize(MONDAY, WEDNESDAY)

    stored = (
        "SELECT DISTINCT (ts AT TIME ZONE 'UTC')::date FROM market_bars_ohlcv_1m_clean ORDER BY 1"
    )
    passed_over = pipeline.evaluations(CLEAN)[partition_key(NQ, TUESDAY)]
    assert "its legacy bars are broken (roll_sanity)" in str(passed_over.description)
    assert pipeline.query(stored) == [(MONDAY,), (WEDNESDAY,)]
    assert pipeline.query("SELECT date FROM signal_dates ORDER BY date") == [
        (MONDAY,),
        (WEDNESDAY,),
    ]

    pipeline.query("DROP FUNCTION spoil CASCADE")
    pipeline.materialize(MONDAY, WEDNESDAY)

    assert pipeline.query(stored) == [(day,) for day in DATES]
    assert all(evaluation.passed for evaluation in _verdicts(pipeline).values())


def test_the_signal_reads_legacy_bars_where_clean_ones_disagree_with_them(
    pipeline: Pipeline,
) -> None:
    write_days(pipeline.raw, DATES)
    _spoil_tuesday_noon(pipeline, CLEAN, "NEW.volume = NEW.volume + 1")

    pipeline.materialize(MONDAY, WEDNESDAY)

    assert pipeline.query("SELECT date, source_table FROM signal_dates ORDER BY date") == [
        (MONDAY, TABLES[CLEAN]),
        (TUESDAY, TABLES[LEGACY]),
        (WEDNESDAY, TABLES[CLEAN]),
    ]
    assert all(
        evaluation.passed
        for (asset, _, _), evaluation in _verdicts(pipeline).items()
        if asset in (BIAS, TRIANGLES)
    )


def test_a_run_of_one_date_has_the_verdicts_of_a_range(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DATES)
    pipeline.materialize(MONDAY, WEDNESDAY)
    of_range = _verdicts(pipeline)

    pipeline.materialize_one(WEDNESDAY)

    of_one = _verdicts(pipeline)
    assert set(of_one) == set(of_range)
    for key, evaluation in of_one.items():
        assert evaluation.passed
        assert evaluation.metadata["rows"] == of_range[key].metadata["rows"]
    day = partition_key(NQ, WEDNESDAY)
    again = of_one[BIAS, "recomputation_agrees", day].metadata
    assert again["replayed_from"].value == f"the state of {MONDAY}"
    before = of_range[BIAS, "recomputation_agrees", day].metadata
    assert again["signal_fingerprint"] == before["signal_fingerprint"]


def test_a_date_whose_day_before_has_no_stored_signal_is_judged_all_the_same(
    pipeline: Pipeline,
) -> None:
    write_days(pipeline.raw, DATES)
    pipeline.materialize(MONDAY, WEDNESDAY, [RAW, LEGACY, CLEAN])
    pipeline.set(require_engulfing=True)

    pipeline.materialize_one(WEDNESDAY, [BIAS, TRIANGLES])

    for asset in (BIAS, TRIANGLES):
        for check in CHECKS_OF[asset]:
            [(key, evaluation)] = pipeline.evaluations(asset, check).items()
            assert key == partition_key(NQ, WEDNESDAY)
            assert evaluation.passed, (check, evaluation.description)
    stored = pipeline.value("SELECT count(*) FROM triangle_events_v1")
    assert evaluation.metadata["rows"].value == stored > 0


def test_a_wrong_saved_state_shows_on_the_date_that_went_on_from_it(pipeline: Pipeline) -> None:
    last = WEDNESDAY + timedelta(days=1)
    write_days(pipeline.raw, DateRange(MONDAY, last))
    pipeline.materialize(MONDAY, last)
    pipeline.query(
        "UPDATE signal_checkpoints c SET state = o.state FROM signal_checkpoints o "
        "WHERE c.date = %s AND o.date = %s",
        WEDNESDAY,
        MONDAY,
    )

    pipeline.materialize_one(last, [BIAS, TRIANGLES])

    found = pipeline.evaluations(BIAS, "recomputation_agrees")[partition_key(NQ, last)]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert f"replayed from the state of {TUESDAY}, the signal differs" in str(found.description)
    shown = found.metadata["failure_cases"]
    assert isinstance(shown, dg.TableMetadataValue)
    assert str(found.description).endswith(f"the first {shown.records[0].data['ts']}")
