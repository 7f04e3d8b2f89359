"""Runs launched in ways that Dagster takes and that can't give a right result: refused."""

from __future__ import annotations

import pytest

from trisignal_pipeline.errors import WrongRunError
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline_tests.pipeline import ASSETS, Pipeline
from trisignal_pipeline_tests.tiny_market import ES, MONDAY, NQ, TUESDAY, WEDNESDAY, write_days

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

WRONG = {
    "the backfill of a job": (
        {
            START: partition_key(NQ, MONDAY),
            END: partition_key(NQ, WEDNESDAY),
            "dagster/partition/symbol": NQ,
            "dagster/partition/date": str(WEDNESDAY),
        },
        "as the backfill of a job does",
    ),
    "no partition at all": ({}, "names neither dates nor a symbol"),
    "symbols in reverse order": (
        {START: partition_key(NQ, MONDAY), END: partition_key(ES, TUESDAY)},
        "reverse order",
    ),
    "dates in reverse order": (
        {START: partition_key(NQ, TUESDAY), END: partition_key(NQ, MONDAY)},
        "reverse order",
    ),
}


@pytest.mark.parametrize("way", WRONG)
def test_a_wrong_run_is_refused_and_writes_nothing(pipeline: Pipeline, way: str) -> None:
    tags, reason = WRONG[way]
    write_days(pipeline.raw, [MONDAY, TUESDAY, WEDNESDAY], ("NQ", "ES"))

    with pipeline.instance() as instance:
        for asset in ASSETS:
            with pytest.raises(WrongRunError, match=reason) as refused:
                pipeline.launch(instance, [asset], tags=dict(tags))
            assert "trisignal backfill" in str(refused.value)

    for asset in ASSETS:
        assert pipeline.materializations(asset) == {}
    assert all(stored.rows == 0 for stored in pipeline.results().values())
    assert pipeline.value("SELECT count(*) FROM data_ingest_runs") == 0
