"""How good what is stored is: covered by the sessions' minutes, aligned, made again the same."""

from __future__ import annotations

import numpy as np

from trisignal_pipeline.api.application import build_app
from trisignal_pipeline.api.quality import MOST_DATES
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.api.running_api import Api, running
from trisignal_pipeline_tests.query.stored_market import HOLIDAY_WEEK, NQ

WEEK = {"symbol": NQ, "start": "2024-11-26T00:00:00Z", "end": "2024-12-04T00:00:00Z"}


def test_coverage_counts_the_minutes_of_sessions_not_those_of_the_clock(api: Api) -> None:
    answer = api.get("quality/coverage", **WEEK)
    found = answer.columns

    open_ = expected_minutes("cme_equity", HOLIDAY_WEEK.start, HOLIDAY_WEEK.end)
    trades = np.flatnonzero(open_)
    dates = list(HOLIDAY_WEEK)
    assert found["date"] == [str(dates[day]) for day in trades]  # no Saturday among them
    assert found["expected"] == open_[trades].tolist()
    assert found["expected"][2] == 1140  # Thanksgiving halts at noon in Chicago
    assert sum(found["bars"]) == api.get("bars", **WEEK).json["rows"]
    # Nobody has looked for gaps yet.
    assert answer.json["not_judged"] == len(trades)
    assert set(found["found"]) == {None}
    assert set(found["state"]) == {"complete"}


def test_coverage_names_dates_of_which_nothing_is_stored(api: Api) -> None:
    later = {**WEEK, "start": "2024-12-05T00:00:00Z", "end": "2024-12-08T00:00:00Z"}
    found = api.get("quality/coverage", **later).columns

    assert found["date"] == ["2024-12-05", "2024-12-06"]
    assert found["state"] == ["absent", "absent"]


def test_what_is_stored_is_aligned_and_deterministic(api: Api) -> None:
    aligned = api.get("quality/alignment", **WEEK).json
    made_again = api.get("quality/determinism", **WEEK).json

    assert aligned["aligned"] is True
    assert made_again["deterministic"] is True
    assert made_again["in_doubt"] is False
    assert sum(made_again["columns"]["minutes"]) == api.get("bias", **WEEK).json["rows"]
    assert sum(aligned["columns"]["triangles"]) == sum(made_again["columns"]["triangles"])


def test_a_change_that_no_run_made_is_found(own_week: Database) -> None:
    with running(build_app(own_week)) as api:
        tag = api.get("quality/alignment", **WEEK).headers["ETag"]
        assert api.get("quality/alignment", {"If-None-Match": tag}, **WEEK).status == 304
        with own_week.connect("test") as connection:
            connection.execute(
                "DELETE FROM bias_series_1m_v1 WHERE ts = (SELECT min(ts) FROM bias_series_1m_v1)"
            )
            connection.execute(
                "DELETE FROM triangle_events_v1 WHERE ts = (SELECT max(ts) FROM triangle_events_v1)"
            )
        aligned = api.get("quality/alignment", {"If-None-Match": tag}, **WEEK)
        made_again = api.get("quality/determinism", **WEEK).json

    assert aligned.status == 200
    assert aligned.json["aligned"] is False
    assert aligned.columns["bars_without_bias"][0] == 1
    assert made_again["deterministic"] is False
    assert made_again["columns"]["biases_that_differ"][0] == 1
    assert made_again["columns"]["triangles_that_differ"][-1] == 1


def test_a_date_that_is_touched_counts_whole(api: Api) -> None:
    part = {"symbol": NQ, "start": "2024-11-26T23:59:00Z", "end": "2024-11-27T00:01:00Z"}
    assert api.get("quality/alignment", **part).columns["date"] == ["2024-11-26", "2024-11-27"]


def test_too_many_dates_at_once_are_refused(api: Api) -> None:
    for path, most in MOST_DATES.items():
        asked = {**WEEK, "start": "1990-01-01T00:00:00Z"}
        refused = api.get(f"quality/{path}", **asked)
        assert refused.status == 422
        assert f"{most} at most" in refused.problem


def test_quality_comes_in_every_form(api: Api) -> None:
    for path in MOST_DATES:
        lines = api.get(f"quality/{path}", {"Accept": "text/csv"}, **WEEK).content.splitlines()
        assert lines[0].startswith(b'"date"')
        assert lines[1].startswith((b"2024-11-26", b'"2024-11-26'))
