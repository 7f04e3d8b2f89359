"""`trisignal gaps`: what it lists, and what it says of days that it can tell nothing of."""

from __future__ import annotations

import numpy as np

from trisignal_pipeline_tests.end_to_end.command_line import QuickCommandLine
from trisignal_pipeline_tests.pipeline import ASSETS, Pipeline
from trisignal_pipeline_tests.tiny_market import MONDAY, NQ, TUESDAY, WEDNESDAY, bars, write_day

WEEK = ("--start", "2024-06-22", "--end", str(WEDNESDAY), "--format", "csv")


def test_gaps_are_listed_and_days_that_nobody_judged_are_named(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    whole = bars(MONDAY)
    write_day(pipeline.raw, MONDAY, delivered=np.concatenate((whole[:100], whole[160:])))
    write_day(pipeline.raw, TUESDAY)
    pipeline.materialize(MONDAY, TUESDAY, ASSETS[:3])

    listed = trisignal.run("gaps", NQ, *WEEK, "--kind", "suspicious")
    whole_days = trisignal.run("gaps", NQ, "--start", str(MONDAY), "--end", str(TUESDAY))

    assert listed.exit_code == 0
    assert [(row["ts"], row["minutes"]) for row in listed.rows] == [
        (f"{MONDAY}T08:16:00Z", "304"),
    ]
    # Saturday is closed, and says nothing.
    assert "whose gaps are not known: 2, the first 2024-06-23;" in listed.err
    assert "not known" not in whole_days.err
